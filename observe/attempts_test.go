package observe

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/loadline-go/loadline/tracing"
)

// retried returns the retries by what the attempt before ended with.
func retried(t testing.TB, tel *Telemetry) map[string]float64 {
	return figures(t, tel, clientRetries.Name, "server_address", "error_type")
}

// Retries are recognised in every way in which programs and libraries retry.
func TestRetriesAreAttemptsOfOneCall(t *testing.T) {
	unavailable := func(failures, status int) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if failures--; failures >= 0 {
				if status == 0 {
					return nil, errBoom
				}
				return answer(status, http.NoBody)(r)
			}
			return answer(200, http.NoBody)(r)
		})
	}
	again := func(r *http.Request) *http.Request { return r }
	anew := func(r *http.Request) *http.Request { // as a loop does that makes each attempt from the start
		r, _ = http.NewRequestWithContext(r.Context(), r.Method, r.URL.String(), nil)
		return r
	}
	for _, c := range []struct {
		name     string
		traced   bool
		failures int
		status   int
		next     func(*http.Request) *http.Request
		timeout  time.Duration // of the http.Client, which copies the request
		want     map[string]float64
		counts   []any
	}{
		{"the same request, 503", false, 2, 503, again, 0, map[string]float64{"host 503": 2}, []any{nil, int64(1), int64(2)}},
		{"the same request, an error", false, 2, 0, again, 0, map[string]float64{"host _OTHER": 2}, []any{nil, int64(1), int64(2)}},
		{"the same request, with a timeout", false, 2, 429, again, time.Minute, map[string]float64{"host 429": 2}, []any{nil, int64(1), int64(2)}},
		{"a new request of the same span", true, 2, 502, anew, 0, map[string]float64{"host 502": 2}, []any{nil, int64(1), int64(2)}},
		{"a new request of the same span, with a timeout", true, 1, 408, anew, time.Minute, map[string]float64{"host 408": 1}, []any{nil, int64(1), nil}},
		{"a new request of no span", false, 2, 503, anew, 0, map[string]float64{}, []any{nil, nil, nil}},
		{"an answer to a wrong question", true, 2, 404, again, 0, map[string]float64{}, []any{nil, nil, nil}},
		{"no failure", true, 0, 0, again, 0, map[string]float64{}, []any{nil, nil, nil}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tel, spans := collect(t, sdktrace.AlwaysSample())
			client := &http.Client{Transport: tel.Transport(unavailable(c.failures, c.status)), Timeout: c.timeout}
			run := func(ctx context.Context) error {
				r, _ := http.NewRequestWithContext(ctx, "GET", "http://host/path?a=1", nil)
				for range 3 {
					if resp, err := client.Do(r); err == nil {
						resp.Body.Close()
					}
					r = c.next(r)
				}
				return nil
			}
			if c.traced {
				tracing.Do(t.Context(), "call", run)
			} else {
				run(context.Background())
			}
			if got := retried(t, tel); !maps.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
			var counts []any
			for _, s := range spans() {
				if s.Name == "GET" {
					counts = append(counts, attributes(s)["http.request.resend_count"])
				}
			}
			if fmt.Sprint(counts) != fmt.Sprint(c.counts) {
				t.Errorf("got %v, want %v", counts, c.counts)
			}
		})
	}
}

// Another method, URL or span, or a failure of long ago, is another call.
func TestOtherCallsAreNoRetries(t *testing.T) {
	tel := start(t, Config{})
	out := tel.Transport(answer(503, http.NoBody))
	send := func(ctx context.Context, method, u string) {
		r, _ := http.NewRequestWithContext(ctx, method, u, nil)
		out.RoundTrip(r)
	}
	tracing.Do(t.Context(), "one", func(ctx context.Context) error {
		send(ctx, "GET", "http://host/a")
		send(ctx, "GET", "http://host/b")
		send(ctx, "GET", "http://host/a?x")
		send(ctx, "POST", "http://host/a")
		send(ctx, "BREW", "http://host/a")
		send(ctx, "MAKE", "http://host/a")
		send(ctx, "GET", "https://host/a")
		return nil
	})
	tracing.Do(t.Context(), "two", func(ctx context.Context) error { send(ctx, "GET", "http://host/a"); return nil })
	if got := retried(t, tel); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	a := &tel.client.attempts
	for k, at := range a.failed {
		at.at -= int64(2 * time.Minute)
		a.failed[k] = at
	}
	tracing.Do(t.Context(), "three", func(ctx context.Context) error {
		send(ctx, "GET", "http://host/a")
		for k, at := range a.failed {
			at.at -= int64(2 * time.Minute)
			a.failed[k] = at
		}
		send(ctx, "GET", "http://host/a")
		return nil
	})
	if got := retried(t, tel); len(got) != 0 {
		t.Errorf("after minutes: %v", got)
	}
}

// A storm of failures is remembered in bounded memory.
func TestAttemptsAreBounded(t *testing.T) {
	tel := start(t, Config{})
	out := tel.Transport(answer(500, http.NoBody))
	for i := range 3 * maxAttempts {
		out.RoundTrip(&http.Request{URL: &url.URL{Scheme: "http", Host: "host", Path: fmt.Sprint("/", i)}})
	}
	if n := len(tel.client.attempts.failed); n != maxAttempts {
		t.Errorf("%d failures are remembered", n)
	}
}

// A redirected request is the second sending, and not a retry.
func TestRedirectsAreResendings(t *testing.T) {
	tel, spans := collect(t, sdktrace.AlwaysSample())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := strings.TrimPrefix(r.URL.Path, "/"); n < "2" {
			http.Redirect(w, r, "/"+string(n[0]+1), http.StatusFound)
		}
	}))
	defer server.Close()
	client := &http.Client{Transport: tel.Transport(&http.Transport{})}
	defer client.CloseIdleConnections()
	resp, err := client.Get(server.URL + "/0")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	var counts []any
	for _, s := range spans() {
		counts = append(counts, attributes(s)["http.request.resend_count"])
	}
	if want := []any{nil, int64(1), int64(2)}; fmt.Sprint(counts) != fmt.Sprint(want) || len(retried(t, tel)) != 0 {
		t.Errorf("got %v, want %v; retries %v", counts, want, retried(t, tel))
	}
}

// A template names the requests of a context, in the metric and on the span.
func TestTemplates(t *testing.T) {
	tel, spans := collect(t, sdktrace.AlwaysSample())
	out := tel.Transport(answer(200, io.NopCloser(strings.NewReader(""))))
	templates := func() map[string]float64 { return figures(t, tel, clientDuration.Name, "url_template") }
	send := func(ctx context.Context) {
		r, _ := http.NewRequestWithContext(ctx, "GET", "http://host/users/42", nil)
		resp, _ := out.RoundTrip(r)
		resp.Body.Close()
	}
	send(t.Context())
	ctx := WithTemplate(t.Context(), "/users/{id}")
	for range 2 {
		send(ctx)
	}
	timed, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	send(timed)
	send(WithTemplate(timed, ""))
	send(WithTemplate(t.Context(), "/"+strings.Repeat("\xff", 1000)))
	got := templates()
	if got[""] != 2 || got["/users/{id}"] != 3 || len(got) != 3 {
		t.Errorf("got %v", got)
	}
	named := 0
	for _, s := range spans() {
		if s.Name == "GET /users/{id}" && attributes(s)["url.template"] == "/users/{id}" {
			named++
		}
	}
	if named != 3 {
		t.Errorf("%d spans are named", named)
	}
}

// A template that is the path itself costs no memory without end.
func TestTemplatesAreBounded(t *testing.T) {
	tel := start(t, Config{MaxSeries: 50})
	out := tel.Transport(answer(200, http.NoBody))
	for i := range 2000 {
		r, _ := http.NewRequestWithContext(WithTemplate(t.Context(), fmt.Sprint("/users/", i)), "GET", "http://host/", nil)
		out.RoundTrip(r)
	}
	if n := len(figures(t, tel, clientDuration.Name, "url_template")); n > 56 {
		t.Errorf("%d series", n)
	}
	host := tel.client.hosts.of(&url.URL{Scheme: "http", Host: "host"})
	if n := len(*host.known.read.Load()); n > 50 {
		t.Errorf("%d are remembered", n)
	}
}
