package observe

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/loadline-go/loadline/internal/span"
	"github.com/loadline-go/loadline/tracing"
)

func fromLocal(h http.Handler, target string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", target, nil)
	r.RemoteAddr, r.Host = "127.0.0.1:1", "localhost"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestTracesShowsFailedRequestsWithoutAnyExporter(t *testing.T) {
	tel := start(t, Config{Tracing: tracing.Config{Sampler: sdktrace.NeverSample()}})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		err := tel.Call(r.Context(), "mail", "send", func(context.Context) error { return errors.New("no\nroute <b>") })
		http.Error(w, err.Error(), 502)
	})
	do(tel.Handler(mux), "GET", "/orders/1?token=hunter2")

	w := fromLocal(tel.Admin(), "/debug/traces")
	for _, want := range []string{"GET /orders/{id}", "failed", "not exported", "send  mail", "ERROR", "no route <b>"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %q in\n%s", want, w.Body)
		}
	}
	var page struct{ Traces []span.Trace }
	if err := json.Unmarshal(fromLocal(tel.Admin(), "/debug/traces?format=json").Body.Bytes(), &page); err != nil {
		t.Fatal(err)
	}
	if len(page.Traces) != 1 || len(page.Traces[0].Spans) != 2 || !page.Traces[0].Failed {
		t.Errorf("traces: %+v", page.Traces)
	}
	if strings.Contains(w.Body.String(), "hunter2") {
		t.Errorf("a secret is on the page:\n%s", w.Body)
	}
	if body := fromLocal(tel.Admin(), "/debug/traces?trace=none").Body.String(); !strings.HasPrefix(body, "no traces yet") {
		t.Errorf("for a trace that is not there: %s", body)
	}
}
