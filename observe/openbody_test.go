package observe

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/loadline-go/loadline/tracing"
)

// forgets opens a body and leaves it.
func forgets(t testing.TB, rt http.RoundTripper, r *http.Request) *http.Response {
	t.Helper()
	resp, err := rt.RoundTrip(r)
	if err != nil {
		t.Error(err)
	}
	return resp
}

// A body that is neither read nor closed for a minute is found, with where it
// was opened; one that is closed, read slowly or being read is not.
func TestForgottenBodiesAreFound(t *testing.T) {
	tel := start(t, Config{Tracing: tracing.Config{Sampler: sdktrace.NeverSample()}})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		fmt.Fprint(w, "a body")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	base := &http.Transport{}
	out := tel.Transport(base)
	defer func() {
		out.(*transport).CloseIdleConnections()
		server.CloseClientConnections()
		server.Close()
	}()
	request := func(path string) *http.Request {
		r, _ := http.NewRequestWithContext(WithTemplate(t.Context(), path), "GET", server.URL+path, nil)
		return r
	}
	mux := http.NewServeMux()
	var left []*http.Response
	mux.HandleFunc("GET /route/{id}", func(w http.ResponseWriter, r *http.Request) {
		left = append(left, forgets(t, out, request("/forgotten").WithContext(WithTemplate(r.Context(), "/forgotten"))))
	})
	for range 3 {
		tel.Handler(mux).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/route/7", nil))
	}
	closed := forgets(t, out, request("/closed"))
	closed.Body.Close()
	slow := forgets(t, out, request("/slow"))
	waiting := forgets(t, out, request("/waiting"))
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { io.Copy(io.Discard, waiting.Body) })
	defer waiting.Body.Close()
	eventually(t, "it reads", func() bool {
		return waiting.Body.(*outgoing).watched.reads.Load()%2 == 1 && waiting.Body.(*outgoing).watched.reads.Load() > 1
	})

	now := time.Now()
	total := func() map[string]float64 { return figures(t, tel, clientUnclosed.Name, "url_template") }
	if got := tel.client.bodies.unclosed(now.Add(50 * time.Second)); len(got) != 0 {
		t.Errorf("too early: %+v", got)
	}
	slow.Body.Read(make([]byte, 2))
	got := tel.client.bodies.unclosed(now.Add(61 * time.Second))
	if len(got) != 1 {
		t.Fatalf("found %+v", got)
	}
	u := got[0]
	if u.Method != "GET" || u.Address != "127.0.0.1" || !strings.HasSuffix(server.URL, ":"+u.Port) || u.Template != "/forgotten" || u.Route != "GET /route/{id}" || u.Total != 3 || u.Open != 3 || u.Stack != nil {
		t.Errorf("found %+v", u)
	}
	if got, want := total(), map[string]float64{"/forgotten": 3}; !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
	// The next of the kind tells the line.
	tel.Handler(mux).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/route/7", nil))
	slow.Body.Read(make([]byte, 2))
	later := time.Now().Add(130 * time.Second)
	got = tel.client.bodies.unclosed(later)
	if len(got) != 1 || got[0].Total != 4 || got[0].Stack == nil {
		t.Fatalf("found %+v", got)
	}
	frames, found := runtime.CallersFrames(got[0].Stack), false
	for more := true; more && !found; {
		var f runtime.Frame
		f, more = frames.Next()
		found = strings.HasSuffix(f.Function, "observe.forgets")
	}
	if !found {
		t.Error("the stack does not hold the function that opened it")
	}
	// Closed after all, and read at last but not to the end.
	for _, r := range left {
		r.Body.Close()
		r.Body.Close()
	}
	got = tel.client.bodies.unclosed(later.Add(2 * time.Minute))
	if len(got) != 2 || got[0].Template != "/slow" || got[0].Open != 1 || got[1].Open != 0 || got[1].Total != 4 {
		t.Errorf("found %+v", got)
	}
	slow.Body.Close()
	if got := tel.client.bodies.unclosed(later.Add(2 * time.Minute)); got[0].Open != 0 || got[1].Open != 0 {
		t.Errorf("found %+v", got)
	}
}

// The list of open bodies holds what is open and no more, whoever closes when.
func TestOpenBodiesAreListedOnce(t *testing.T) {
	tel := start(t, Config{})
	out := tel.Transport(roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("x"))}, nil
	}))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			var kept []*http.Response
			for range 300 {
				r, _ := http.NewRequest("GET", "http://host/", nil)
				kept = append(kept, forgets(t, out, r))
				tel.client.bodies.unclosed(time.Now().Add(2 * time.Minute))
				if len(kept) > 5 {
					io.Copy(io.Discard, kept[0].Body)
					kept[3].Body.Close()
					kept = append(kept[1:3], kept[4:]...)
				}
			}
			for _, r := range kept {
				r.Body.Close()
			}
		})
	}
	all.Wait()
	for i := range tel.client.bodies.shards {
		if l := &tel.client.bodies.shards[i]; l.first != nil || l.last != nil {
			t.Error("a body is listed that is closed")
		}
	}
	for _, u := range tel.client.bodies.unclosed(time.Now()) {
		if u.Open != 0 {
			t.Errorf("%d are open", u.Open)
		}
	}
	if got, want := figures(t, tel, clientPhase.Name, "phase"), 8.*300; got["body"] != want {
		t.Errorf("%v bodies, want %v", got["body"], want)
	}
}

// Places are bounded, and so are the series.
func TestForgottenBodiesAreBounded(t *testing.T) {
	tel := start(t, Config{MaxSeries: 20})
	out := tel.Transport(roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("x"))}, nil
	}))
	const n = 500
	for i := range n {
		r, _ := http.NewRequestWithContext(WithTemplate(t.Context(), fmt.Sprint("/", i)), "GET", fmt.Sprintf("http://host%d/", i), nil)
		forgets(t, out, r)
	}
	got, sum := tel.client.bodies.unclosed(time.Now().Add(2*time.Minute)), int64(0)
	for _, u := range got {
		sum += u.Open
	}
	if len(got) != maxPlaces+1 || sum != n {
		t.Errorf("%d bodies in %d places", sum, len(got))
	}
	if series := figures(t, tel, clientUnclosed.Name, "server_address", "url_template"); len(series) > 23 {
		t.Errorf("%d series", len(series))
	}
}
