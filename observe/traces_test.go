package observe

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

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

func TestWaterfallIsDrawn(t *testing.T) {
	var b strings.Builder
	now := time.Now()
	writeTrace(&b, span.Trace{
		ID: "4bf92f3577b34da6a3ce929d0e0e4736", Route: "GET /a", Start: now.Add(-3 * time.Second), Duration: 800 * time.Millisecond,
		Spans: []span.TraceSpan{
			{ID: "1", Name: "GET /a", Duration: 800 * time.Millisecond},
			{ID: "2", Parent: "1", Name: "SELECT", Offset: 200 * time.Millisecond, Duration: 400 * time.Millisecond, Attributes: map[string]string{"db.query.text": "select ?"}},
			{ID: "3", Parent: "2", Name: "late", Offset: 790 * time.Millisecond, Duration: time.Microsecond, Open: true},
		},
	}, now)
	want := `GET /a  800ms  not exported
trace 4bf92f3577b34da6a3ce929d0e0e4736  3s ago
       0µs    800ms  ████████████████████████████████  GET /a
     200ms    400ms  ········████████████████········    SELECT  select ?
     790ms      1µs  ·······························█      late  (still running)

`
	if b.String() != want {
		t.Errorf("drawn\n%s\nwant\n%s", b.String(), want)
	}
}

func TestBarStaysInItsFrame(t *testing.T) {
	for _, s := range []span.TraceSpan{
		{}, {Offset: -1, Duration: -1}, {Offset: time.Hour, Duration: time.Hour}, {Offset: 1, Duration: time.Hour}, {Duration: 1 << 62},
	} {
		for _, whole := range []time.Duration{0, 1, time.Second} {
			if n := len([]rune(bar(s, whole))); n != waterfall {
				t.Errorf("%+v of %v: %d characters", s, whole, n)
			}
		}
	}
}
