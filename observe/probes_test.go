package observe

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/loadline-go/loadline/tracing"
)

func probes(t *testing.T, tel *Telemetry) map[string]uint64 {
	t.Helper()
	counts := map[string]uint64{}
	for labels, m := range family(t, tel, "observe_http_server_probes_total") {
		counts[labels] = uint64(m.GetCounter().GetValue())
	}
	return counts
}

func TestHandlerCountsProbesApart(t *testing.T) {
	exporter := &counted{}
	tel := start(t, Config{
		Probes:  []string{"/ping", "/readyz/start"},
		Tracing: tracing.Config{Exporter: exporter, Sampler: sdktrace.ParentBased(sdktrace.AlwaysSample())},
	})
	tel.Check(Check{Name: "db", Groups: []string{"start"}, Probe: func(ctx context.Context) error {
		return tracing.Do(ctx, "ask the database", func(context.Context) error { return nil })
	}})
	mux := itemsMux()
	for _, path := range []string{"/livez", "/readyz", "/readyz/{name}", "/metrics"} {
		mux.Handle(path, tel.Admin())
	}
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) {
		if tracing.ID(r.Context()) == "" {
			t.Error("records of a probe cannot be told from others")
		}
		http.Error(w, "ill", http.StatusServiceUnavailable)
	})
	mux.HandleFunc("/ping", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "pong") })
	h := tel.Handler(tel.Handler(mux))
	for _, path := range []string{
		"/livez", "/livez", "/readyz", "/readyz/start", "/metrics", "/healthz", "/ping", "/ping?full", // probes
		"/items/1", "/metricz", "/ping/1", "/", // others
	} {
		do(h, "GET", path)
	}
	equalCounts(t, probes(t, tel), map[string]uint64{
		"http_response_status_code=200 http_route=/livez":        2,
		"http_response_status_code=200 http_route=/readyz":       1,
		"http_response_status_code=200 http_route=/readyz/start": 1,
		"http_response_status_code=200 http_route=/metrics":      1,
		"http_response_status_code=503 http_route=/healthz":      1,
		"http_response_status_code=200 http_route=/ping":         2,
	})
	equalCounts(t, requests(t, tel), map[string]uint64{"GET 200 /items/{id}": 1, "GET 404 unmatched": 3})
	if err := tel.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := exporter.spans.Load(); n != 4 {
		t.Errorf("%d spans were exported, want those of the 4 requests", n)
	}
}

func TestProbesThatPanicOrEndTheirGoroutineAreCounted(t *testing.T) {
	tel := start(t, Config{Probes: []string{"/panic", "/abort", "/exit", "/gone"}})
	boom := errors.New("boom")
	mux := http.NewServeMux()
	mux.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { panic(boom) })
	mux.HandleFunc("/abort", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/exit", func(http.ResponseWriter, *http.Request) { runtime.Goexit() })
	mux.HandleFunc("/gone", func(http.ResponseWriter, *http.Request) {})
	h := tel.Handler(mux)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for path, want := range map[string]any{"/panic": boom, "/abort": http.ErrAbortHandler, "/exit": nil, "/gone": nil} {
		ended := make(chan any, 1)
		go func() {
			defer func() { ended <- recover() }()
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", path, nil))
		}()
		if p := <-ended; p != want {
			t.Errorf("%s: the panic went on as %v", path, p)
		}
	}
	equalCounts(t, probes(t, tel), map[string]uint64{
		"http_response_status_code=500 http_route=/panic": 1, "http_response_status_code=500 http_route=/abort": 1,
		"http_response_status_code=500 http_route=/exit": 1, "http_response_status_code=499 http_route=/gone": 1,
	})
	panics := family(t, tel, "observe_panics_total")
	if panics["http_route=/panic"].GetCounter().GetValue() != 1 || panics["http_route=/exit"].GetCounter().GetValue() != 1 || panics["http_route=/abort"] != nil {
		t.Errorf("panics: %v", panics)
	}
}

func TestChecksMakeNoTracesOfTheirOwn(t *testing.T) {
	exporter := &counted{}
	tel := start(t, Config{Tracing: tracing.Config{Exporter: exporter}}) // samples all that nobody has refused
	tel.Check(Check{Name: "db", MaxAge: 1, Probe: func(ctx context.Context) error {
		return tracing.Do(ctx, "ask", func(context.Context) error { return nil })
	}})
	for range 3 {
		do(tel.Admin(), "GET", "/readyz")
	}
	if err := tel.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := exporter.spans.Load(); n != 0 {
		t.Errorf("%d spans of checks were exported", n)
	}
}

func TestStreamsHaveATimeToFirstByte(t *testing.T) {
	tel := start(t, Config{})
	const stays = 20 * time.Millisecond
	mux := http.NewServeMux()
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: 1\n\n")
		http.NewResponseController(w).Flush()
		time.Sleep(stays)
		io.WriteString(w, "data: 2\n\n")
		http.NewResponseController(w).Flush()
	})
	mux.HandleFunc("GET /poll", func(w http.ResponseWriter, r *http.Request) {
		SetStream(r.Context())
		time.Sleep(stays)
		io.WriteString(w, "news")
	})
	mux.HandleFunc("GET /socket", func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
		time.Sleep(stays)
	})
	mux.HandleFunc("GET /page", func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).Flush()
		io.WriteString(w, "an answer in two pieces is no stream")
	})
	srv := httptest.NewServer(tel.Handler(mux))
	defer srv.Close()
	for _, path := range []string{"/events", "/poll", "/socket", "/page"} {
		status(srv.URL + path)
	}
	http.DefaultClient.CloseIdleConnections()
	of := func(metric, path string) (n uint64, sum float64) {
		h := family(t, tel, metric)["http_request_method=GET http_route="+path+" url_scheme=http"].GetHistogram()
		return h.GetSampleCount(), h.GetSampleSum()
	}
	eventually(t, "all requests are counted", func() bool {
		n, _ := of("observe_http_server_stream_duration_seconds", "/socket")
		return n == 1 && requests(t, tel)["GET 200 /page"] == 1
	})
	for path, early := range map[string]bool{"/events": true, "/poll": false, "/socket": true} {
		lifetimes, life := of("observe_http_server_stream_duration_seconds", path)
		firsts, first := of("observe_http_server_stream_first_byte_seconds", path)
		if lifetimes != 1 || firsts != 1 {
			t.Errorf("%s: %d lifetimes and %d first bytes, want 1 of each", path, lifetimes, firsts)
		}
		if life < stays.Seconds() || first <= 0 || early && life-first < stays.Seconds() || !early && first != life {
			t.Errorf("%s: first byte after %v s, end after %v s", path, first, life)
		}
	}
	if n, _ := of("observe_http_server_stream_first_byte_seconds", "/page"); n != 0 {
		t.Error("a page is counted as a stream")
	}
	equalCounts(t, requests(t, tel), map[string]uint64{"GET 200 /page": 1, "GET 200 /events": 0, "GET 200 /poll": 0, "GET 101 /socket": 0})
}

// Over a real connection: the client goes away while the handler works.
func TestClientThatHangsUpIsNoServerError(t *testing.T) {
	tel := start(t, Config{})
	entered := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		http.Error(w, "the query was canceled", http.StatusInternalServerError)
	})
	srv := httptest.NewServer(tel.Handler(mux))
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	req, _ := http.NewRequestWithContext(ctx, "GET", srv.URL+"/slow", nil)
	if _, err := http.DefaultClient.Do(req); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	eventually(t, "counted as canceled", func() bool { return requests(t, tel)["canceled GET 499 /slow"] == 1 })
	equalCounts(t, requests(t, tel), map[string]uint64{"canceled GET 499 /slow": 1})
}
