package observe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// do sends one request through h without a network.
func do(h http.Handler, method, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}

func equalCounts(t *testing.T, got, want map[string]uint64) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Errorf("counted %v\nwant    %v", got, want)
	}
}

func TestHandlerCountsByRoute(t *testing.T) {
	tel := start(t, Config{})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /items/{id}", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.PathValue("id")) })
	mux.HandleFunc("POST /items", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusCreated) })
	mux.HandleFunc("/any", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusBadGateway) })
	h := tel.Handler(mux)
	do(h, "GET", "/items/1")
	do(h, "GET", "/items/2")
	do(h, "POST", "/items")
	do(h, "DELETE", "/any")
	do(h, "BREW", "/any")
	do(h, "GET", "/nowhere")
	equalCounts(t, requests(t, tel), map[string]uint64{
		"GET 200 /items/{id}": 2,
		"POST 201 /items":     1,
		"502 DELETE 502 /any": 1,
		"502 _OTHER 502 /any": 1,
		"GET 404 unmatched":   1,
	})
}

func TestHandlerRouteSurvivesACopiedRequest(t *testing.T) {
	tel := start(t, Config{})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /users/{id}", func(w http.ResponseWriter, r *http.Request) {})
	type key struct{}
	copying := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, 1)))
		})
	}
	do(tel.Handler(copying(tel.Handler(mux))), "GET", "/users/1")
	do(copying(tel.Handler(mux)), "GET", "/users/1")

	inner := http.NewServeMux() // applied to one route of the mux
	inner.Handle("GET /users/{id}", tel.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	do(tel.Handler(copying(inner)), "GET", "/users/1")

	do(tel.Handler(copying(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { SetRoute(r.Context(), "GET /users/{id}") }))), "GET", "/users/1")
	equalCounts(t, requests(t, tel), map[string]uint64{"GET 200 /users/{id}": 4})
}

func TestHandlerKnowsTheRouteOfATimeout(t *testing.T) {
	tel := start(t, Config{})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	w := do(tel.Handler(http.TimeoutHandler(tel.Handler(mux), 50*time.Millisecond, "late")), "GET", "/slow")
	if w.Code != 503 || w.Body.String() != "late" {
		t.Errorf("answered %d %q", w.Code, w.Body)
	}
	equalCounts(t, requests(t, tel), map[string]uint64{"503 GET 503 /slow": 1})
}

func TestHandlerSaysOnceWhatHidesRoutes(t *testing.T) {
	var log lines
	tel := start(t, Config{Logger: log.logger()})
	h := tel.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	do(h, "GET", "/a")
	do(h, "GET", "/b")
	if n := strings.Count(log.String(), "tel.Handler(middleware(tel.Handler(mux)))"); n != 1 {
		t.Errorf("said %d times:\n%s", n, &log)
	}
}

func TestHandlerRecordsPanics(t *testing.T) {
	tel := start(t, Config{})
	boom := errors.New("boom")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /panic", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "begun"); panic(boom) })
	mux.HandleFunc("GET /abort", func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("GET /exit", func(w http.ResponseWriter, r *http.Request) { runtime.Goexit() })
	h := tel.Handler(mux)
	caught := func(target string) (p any) {
		done := make(chan any, 1)
		go func() {
			defer func() { done <- recover() }()
			do(h, "GET", target)
		}()
		return <-done
	}
	if p := caught("/panic"); p != boom {
		t.Errorf("the panic went on as %v", p)
	}
	if p := caught("/abort"); p != http.ErrAbortHandler {
		t.Errorf("the abort went on as %v", p)
	}
	caught("/exit")
	equalCounts(t, requests(t, tel), map[string]uint64{
		"panic GET 500 /panic": 1, "aborted GET 500 /abort": 1, "panic GET 500 /exit": 1,
	})
	if got := family(t, tel, "observe_panics_total")["http_route=/panic"].GetCounter().GetValue(); got != 1 {
		t.Errorf("observe_panics_total is %v, want 1", got)
	}
	for labels, m := range family(t, tel, "http_server_active_requests") {
		if m.GetGauge().GetValue() != 0 {
			t.Errorf("%s: %v requests in flight after all ended", labels, m.GetGauge().GetValue())
		}
	}
}

func TestHandlerCountsInFlight(t *testing.T) {
	tel := start(t, Config{})
	seen := -1.0
	do(tel.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = family(t, tel, "http_server_active_requests")["http_request_method=PUT url_scheme=http"].GetGauge().GetValue()
	})), "PUT", "/")
	if seen != 1 {
		t.Errorf("%v requests in flight, want 1", seen)
	}
}

func TestHandlerTellsAClientThatWentAwayFromAServerError(t *testing.T) {
	tel := start(t, Config{})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /silent", func(w http.ResponseWriter, r *http.Request) {})
	mux.HandleFunc("GET /error", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "", 500) })
	mux.HandleFunc("GET /done", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, path := range []string{"/silent", "/error", "/done"} {
		tel.Handler(mux).ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", path, nil))
	}
	equalCounts(t, requests(t, tel), map[string]uint64{
		"canceled GET 499 /silent": 1, "canceled GET 499 /error": 1, "GET 204 /done": 1,
	})
}

func TestHandlerMeasuresBodies(t *testing.T) {
	tel := start(t, Config{})
	h := tel.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "four")
		w.Write([]byte("5long"))
	}))
	chunked := httptest.NewRequest("POST", "/", io.MultiReader(strings.NewReader("chunked"))) // a length that nobody knows
	chunked.ContentLength = -1
	known := httptest.NewRequest("POST", "/", strings.NewReader("known length"))
	for _, r := range []*http.Request{chunked, known} {
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	labels := "http_request_method=POST http_route=unmatched url_scheme=http"
	if h := family(t, tel, "http_server_request_body_size_bytes")[labels].GetHistogram(); h.GetSampleCount() != 2 || h.GetSampleSum() != 7+12 {
		t.Errorf("request bodies: %v", h)
	}
	if h := family(t, tel, "http_server_response_body_size_bytes")[labels].GetHistogram(); h.GetSampleCount() != 2 || h.GetSampleSum() != 9+9 {
		t.Errorf("response bodies: %v", h)
	}
}

func TestHandlerKeepsStreamsOutOfTheLatency(t *testing.T) {
	tel := start(t, Config{})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		io.WriteString(w, "data: 1\n\n")
	})
	do(tel.Handler(mux), "GET", "/events")
	equalCounts(t, requests(t, tel), map[string]uint64{"GET 200 /events": 0})
	if n := family(t, tel, "observe_http_server_stream_duration_seconds")["http_request_method=GET http_route=/events url_scheme=http"].GetHistogram().GetSampleCount(); n != 1 {
		t.Errorf("%d streams, want 1", n)
	}
}

// What the writer beneath can do, the wrapper can do, over real connections.
func TestWriterKeepsWhatNetHTTPOffers(t *testing.T) {
	tel := start(t, Config{})
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(strings.Repeat("x", 1<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /shape", func(w http.ResponseWriter, r *http.Request) {
		_, flush := w.(http.Flusher)
		_, hijack := w.(http.Hijacker)
		_, from := w.(io.ReaderFrom)
		_, push := w.(http.Pusher)
		rc := http.NewResponseController(w)
		fmt.Fprintln(w, flush, hijack, from, push, rc.SetWriteDeadline(time.Now().Add(time.Minute)) == nil, rc.Flush() == nil)
	})
	mux.HandleFunc("GET /early", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusTeapot)
	})
	mux.HandleFunc("GET /file", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) })
	mux.HandleFunc("GET /hijack", func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nhello")
	})

	get := func(t *testing.T, client *http.Client, url string) (*http.Response, string) {
		t.Helper()
		resp, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, strings.TrimSpace(string(body))
	}
	for _, test := range []struct {
		name, shape string
		wrap        func(http.Handler) http.Handler
		http2       bool
	}{
		{name: "HTTP1", shape: "true true true false true true"},
		{name: "HTTP2", shape: "true false false true true true", http2: true},
		{name: "TimeoutHandler", shape: "false false false true false false", wrap: func(h http.Handler) http.Handler { return http.TimeoutHandler(h, time.Minute, "") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := tel.Handler(mux)
			if test.wrap != nil {
				h = test.wrap(h)
			}
			srv := httptest.NewUnstartedServer(h)
			srv.EnableHTTP2 = test.http2
			if test.http2 {
				srv.StartTLS()
			} else {
				srv.Start()
			}
			defer srv.Close()
			if _, got := get(t, srv.Client(), srv.URL+"/shape"); got != test.shape {
				t.Errorf("Flusher, Hijacker, ReaderFrom, Pusher, SetWriteDeadline, Flush: %s, want %s", got, test.shape)
			}
			early := 0
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
				Got1xxResponse: func(code int, _ textproto.MIMEHeader) error { early = code; return nil },
			})
			req, _ := http.NewRequestWithContext(ctx, "GET", srv.URL+"/early", nil)
			resp, err := srv.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if test.wrap == nil && (resp.StatusCode != http.StatusTeapot || early != http.StatusEarlyHints) {
				t.Errorf("early hints: got %d and then %d", early, resp.StatusCode)
			}
			if resp, body := get(t, srv.Client(), srv.URL+"/file"); len(body) != 1<<20 || resp.StatusCode != 200 {
				t.Errorf("file: %d with %d bytes", resp.StatusCode, len(body))
			}
		})
	}
	srv := httptest.NewServer(tel.Handler(mux))
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /hijack HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
	answer, _ := io.ReadAll(bufio.NewReader(conn))
	if !strings.HasSuffix(string(answer), "hello") {
		t.Errorf("hijacked connection said %q", answer)
	}
	counts := requests(t, tel)
	if counts["GET 418 /early"] != 3 || counts["GET 200 /file"] != 3 {
		t.Errorf("counted %v", counts)
	}
	if _, ok := counts["GET 101 /hijack"]; ok && counts["GET 101 /hijack"] != 0 {
		t.Errorf("a hijacked connection is in the latency: %v", counts)
	}
}

// The label values come from the program, whatever clients send.
func TestHandlerBoundsWhatClientsChoose(t *testing.T) {
	tel := start(t, Config{})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /items/{id}", func(w http.ResponseWriter, r *http.Request) {})
	h := tel.Handler(mux)
	n := 20_000
	if testing.Short() {
		n = 1000
	}
	for i := range n {
		r := httptest.NewRequest("GET", fmt.Sprintf("/items/%d?q=%d", i, i), nil)
		switch i % 4 {
		case 1:
			r.URL.Path = fmt.Sprintf("/%d", i)
		case 2:
			r.Method = fmt.Sprintf("M%d", i)
		case 3:
			r.Host = fmt.Sprintf("host%d.example", i)
			r.Header.Set(fmt.Sprintf("X-%d", i), "v")
			r.Header.Set("Traceparent", fmt.Sprintf("00-%d", i))
			r.Header.Set("User-Agent", fmt.Sprint(i))
		}
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	if got := len(requests(t, tel)); got != 3 {
		t.Errorf("%d series, want 3: a match, no match, an unknown method: %v", got, requests(t, tel))
	}
	total := 0
	families, _ := tel.gatherer.Gather()
	for _, f := range families {
		total += len(f.GetMetric())
	}
	if total > 500 {
		t.Errorf("%d series in all", total)
	}
}

func TestNilTelemetryPassesEverythingThrough(t *testing.T) {
	var tel *Telemetry
	h := http.NotFoundHandler()
	if w := do(tel.Handler(h), "GET", "/"); w.Code != 404 {
		t.Error(w.Code)
	}
	if tel.Transport(nil) != http.DefaultTransport {
		t.Error("Transport is not the default one")
	}
	if err := tel.Call(t.Context(), "d", "o", func(context.Context) error { return io.EOF }); err != io.EOF {
		t.Error(err)
	}
	tel.Check(Check{})
	tel.Drain()
	NewCounter[struct{}](tel, Metric{}).Add(t.Context(), struct{}{}, 1)
	NewGauge[struct{}](tel, Metric{}).Set(struct{}{}, 1)
	NewHistogram[struct{}](tel, Metric{}).Observe(t.Context(), struct{}{}, 1)
	if tel.Registry() == nil || tel.AdminAddr() != "" {
		t.Error("Registry or AdminAddr")
	}
	if w := do(tel.Admin(), "GET", "/metrics"); w.Code != 404 {
		t.Error(w.Code)
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
