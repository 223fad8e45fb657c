package observe

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/tracing"
)

// sent returns how often each label set of the client's duration was observed:
// "GET example.org 443 200", and behind it the error type when there is one.
func sent(t testing.TB, tel *Telemetry) map[string]uint64 {
	t.Helper()
	counts := map[string]uint64{}
	for _, m := range family(t, tel, "http_client_request_duration_seconds") {
		l := map[string]string{}
		for _, p := range m.GetLabel() {
			l[p.GetName()] = p.GetValue()
		}
		key := strings.Join([]string{l["http_request_method"], l["server_address"], l["server_port"], l["http_response_status_code"], l["error_type"]}, " ")
		counts[strings.TrimSpace(key)] += m.GetHistogram().GetSampleCount()
	}
	return counts
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, body io.ReadCloser) roundTripper {
	return func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Body: body, Request: r, ProtoMajor: 1, ProtoMinor: 1}, nil
	}
}

// The trace goes on in the called service, over each protocol.
func TestTransportContinuesTheTrace(t *testing.T) {
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(protocol, func(t *testing.T) {
			tel, spans := collect(t, sdktrace.AlwaysSample())
			mux := http.NewServeMux()
			mux.HandleFunc("POST /items/{id}", func(w http.ResponseWriter, r *http.Request) {
				io.Copy(w, r.Body)
				if r.Proto != protocol {
					t.Errorf("the server saw %s", r.Proto)
				}
			})
			server := httptest.NewUnstartedServer(tel.Handler(mux))
			server.EnableHTTP2 = protocol == "HTTP/2.0"
			server.StartTLS()
			defer server.Close()
			client := server.Client()
			client.Transport = tel.Transport(client.Transport)

			r, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+"/items/42?token=hunter2&a=1", strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("X-Mine", "1")
			header := r.Header.Clone()
			resp, err := client.Transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil || string(body) != "body" {
				t.Errorf("body %q, %v", body, err)
			}
			resp.Body.Close()
			if !reflect.DeepEqual(r.Header, header) || resp.Request != r {
				t.Errorf("the caller's request became %v, resp.Request is it: %t", r.Header, resp.Request == r)
			}
			client.CloseIdleConnections()
			server.Close() // the handler has ended its span

			u, _ := url.Parse(server.URL)
			if got, want := sent(t, tel), map[string]uint64{"POST 127.0.0.1 " + u.Port() + " 200": 1}; !maps.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			got := spans()
			if len(got) != 2 {
				t.Fatalf("%d spans", len(got))
			}
			in, out := spanNamed(t, got, "POST /items/{id}"), spanNamed(t, got, "POST")
			if in.SpanContext.TraceID() != out.SpanContext.TraceID() || in.Parent.SpanID() != out.SpanContext.SpanID() || !in.Parent.IsRemote() || out.SpanKind != trace.SpanKindClient {
				t.Errorf("server span %v below %v, client span %v %v", in.SpanContext, in.Parent, out.SpanKind, out.SpanContext)
			}
			want := map[string]any{
				"http.request.method": "POST", "server.address": "127.0.0.1", "http.response.status_code": int64(200),
				"url.full": server.URL + "/items/42?token=REDACTED&a=1", "server.port": attributes(out)["server.port"],
			}
			if a := attributes(out); !maps.Equal(a, want) || fmt.Sprint(a["server.port"]) != u.Port() {
				t.Errorf("attributes %v, want %v", a, want)
			}
		})
	}
}

func TestTransportLabels(t *testing.T) {
	tel := start(t, Config{})
	request := func(method, rawURL string) *http.Request {
		u, err := url.Parse(rawURL)
		if err != nil {
			t.Fatal(err)
		}
		return &http.Request{Method: method, URL: u} // no Header, as http.Client would not send it
	}
	for _, c := range []struct {
		r      *http.Request
		status int
		want   string
	}{
		{request("", "http://a"), 200, "GET a 80 200"},
		{request("GET", "https://b/path"), 404, "GET b 443 404 404"},
		{request("HEAD", "https://b:8443/"), 304, "HEAD b 8443 304"},
		{request("BREW", "http://[::1]:81/"), 503, "_OTHER ::1 81 503 503"},
		{request("get", "http://user:pw@c/"), 200, "_OTHER c 80 200"},
		{request("GET", "ftp://d/"), 200, "GET d  200"},
	} {
		before := sent(t, tel)
		resp, err := tel.Transport(answer(c.status, http.NoBody)).RoundTrip(c.r)
		if err != nil || resp.StatusCode != c.status {
			t.Fatal(resp, err)
		}
		if got := sent(t, tel); got[c.want] != before[c.want]+1 || len(got) != len(before)+1 {
			t.Errorf("%s %s: got %v, want one %q more than %v", c.r.Method, c.r.URL, got, c.want, before)
		}
		if c.r.Header != nil {
			t.Error("the caller's request was changed")
		}
	}
}

func TestTransportErrorTypes(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	reset := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}))
	defer reset.Close()
	eof := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer eof.Close()
	release := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer slow.Close()
	defer close(release)
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	resolver := &net.DNSError{Err: "no such host", Name: "nowhere.invalid", IsNotFound: true}

	tel, spans := collect(t, sdktrace.AlwaysSample())
	base := &http.Transport{}
	defer base.CloseIdleConnections()
	for _, c := range []struct {
		name string
		url  string
		next http.RoundTripper
		ctx  func() (context.Context, func())
		want string
	}{
		{"refused", closed.URL, base, nil, "connection_refused"},
		{"dns", "http://nowhere.invalid", &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: resolver}
		}}, nil, "dns"},
		{"timeout", slow.URL, base, func() (context.Context, func()) {
			return context.WithTimeout(t.Context(), 10*time.Millisecond)
		}, "timeout"},
		{"header timeout", slow.URL, &http.Transport{ResponseHeaderTimeout: 10 * time.Millisecond}, nil, "timeout"},
		{"canceled", slow.URL, base, func() (context.Context, func()) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return ctx, cancel
		}, "canceled"},
		{"reset", reset.URL, base, nil, "connection_reset"},
		{"eof", eof.URL, base, nil, "eof"},
		{"unknown authority", secure.URL, base, nil, "tls"},
		{"not TLS", strings.Replace(eof.URL, "http:", "https:", 1), base, nil, "tls"},
		{"any", "http://host/", roundTripper(func(*http.Request) (*http.Response, error) { return nil, errBoom }), nil, "_OTHER"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := t.Context(), func() {}
			if c.ctx != nil {
				ctx, cancel = c.ctx()
			}
			defer cancel()
			r, err := http.NewRequestWithContext(ctx, "GET", c.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			before, had := sent(t, tel), len(spans())
			resp, err := tel.Transport(c.next).RoundTrip(r)
			if err == nil || resp != nil {
				t.Fatalf("%v, %v", resp, err)
			}
			if c.name == "any" && err != errBoom {
				t.Errorf("the caller got %v", err)
			}
			port := r.URL.Port()
			if port == "" {
				port = "80"
			}
			key := "GET " + r.URL.Hostname() + " " + port + "  " + c.want
			if got := sent(t, tel); got[key] != before[key]+1 {
				t.Errorf("%v: got %v, want one more of %q", err, got, key)
			}
			got := spans()
			if len(got) != had+1 {
				t.Fatalf("%d spans", len(got)-had)
			}
			s := got[had]
			if s.Status.Code != codes.Error || attributes(s)["error.type"] != c.want || len(s.Events) != 1 {
				t.Errorf("status %v, attributes %v, events %v", s.Status, attributes(s), s.Events)
			}
		})
	}
}

// brokenBody gives some bytes, and then err.
type brokenBody struct {
	err    error
	closed int
}

func (b *brokenBody) Read(p []byte) (int, error) { return copy(p, "x"), b.err }
func (b *brokenBody) Close() error               { b.closed++; return errBoom }

func TestClientSpanEndsOnceWithTheBody(t *testing.T) {
	for _, c := range []struct {
		name      string
		status    int
		body      io.ReadCloser
		do        func(*http.Response)
		atHeader  int // spans ended when the header is there
		errorType any
	}{
		{"read to the end, then closed twice", 200, io.NopCloser(strings.NewReader("body")), func(r *http.Response) {
			io.ReadAll(r.Body)
			r.Body.Read(make([]byte, 1))
			r.Body.Close()
			r.Body.Close()
		}, 0, nil},
		{"closed early", 200, io.NopCloser(strings.NewReader("body")), func(r *http.Response) { r.Body.Close(); io.ReadAll(r.Body) }, 0, nil},
		{"closed by many", 200, io.NopCloser(strings.NewReader("body")), func(r *http.Response) {
			var all sync.WaitGroup
			for range 8 {
				all.Go(func() { r.Body.Close() })
			}
			all.Wait()
		}, 0, nil},
		{"broken off", 200, &brokenBody{err: io.ErrUnexpectedEOF}, func(r *http.Response) {
			if n, err := r.Body.Read(make([]byte, 9)); n != 1 || err != io.ErrUnexpectedEOF {
				t.Errorf("Read: %d, %v", n, err)
			}
			if err := r.Body.Close(); err != errBoom {
				t.Errorf("Close: %v", err)
			}
		}, 0, "eof"},
		{"failed status", 500, io.NopCloser(strings.NewReader("")), func(r *http.Response) { r.Body.Close() }, 0, "500"},
		{"http.NoBody", 204, http.NoBody, func(r *http.Response) {
			if r.Body != http.NoBody {
				t.Errorf("the body is a %T", r.Body)
			}
		}, 1, nil},
		{"nil body", 200, nil, func(r *http.Response) {
			if r.Body != nil {
				t.Errorf("the body is a %T", r.Body)
			}
		}, 1, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			tel, spans := collect(t, sdktrace.AlwaysSample())
			r, _ := http.NewRequest("GET", "http://host/", nil)
			resp, err := tel.Transport(answer(c.status, c.body)).RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(spans()); n != c.atHeader {
				t.Errorf("%d spans have ended with the header, want %d", n, c.atHeader)
			}
			c.do(resp)
			got := spans()
			if len(got) != 1 {
				t.Fatalf("%d spans have ended", len(got))
			}
			if e := attributes(got[0])["error.type"]; e != c.errorType {
				t.Errorf("error.type %v, want %v", e, c.errorType)
			}
		})
	}
}

// The metric of a response is not touched by what its body does.
func TestBrokenBodyIsNotASecondObservation(t *testing.T) {
	tel := start(t, Config{})
	r, _ := http.NewRequest("GET", "http://host/", nil)
	resp, _ := tel.Transport(answer(200, &brokenBody{err: errBoom})).RoundTrip(r)
	io.ReadAll(resp.Body)
	resp.Body.Close()
	if got, want := sent(t, tel), map[string]uint64{"GET host 80 200": 1}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestUpgradedConnectionKeepsItsBody(t *testing.T) {
	tel, spans := collect(t, sdktrace.AlwaysSample())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		rw.Flush()
		line, _ := rw.ReadString('\n')
		rw.WriteString(line)
		rw.Flush()
	}))
	defer server.Close()
	r, _ := http.NewRequest("GET", server.URL, nil)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "echo")
	base := &http.Transport{}
	resp, err := tel.Transport(base).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	rwc, ok := resp.Body.(io.ReadWriteCloser)
	if !ok {
		t.Fatalf("the body is a %T", resp.Body)
	}
	fmt.Fprintln(rwc, "hello")
	if line, err := bufio.NewReader(rwc).ReadString('\n'); line != "hello\n" {
		t.Errorf("%q, %v", line, err)
	}
	rwc.Close()
	if n := len(spans()); n != 1 {
		t.Errorf("%d spans", n)
	}
}

func TestTransportLetsPanicsPass(t *testing.T) {
	tel, spans := collect(t, sdktrace.AlwaysSample())
	r, _ := http.NewRequest("GET", "http://host/", nil)
	func() {
		defer func() {
			if p := recover(); p != errBoom {
				t.Errorf("recovered %v", p)
			}
		}()
		tel.Transport(roundTripper(func(*http.Request) (*http.Response, error) { panic(errBoom) })).RoundTrip(r)
	}()
	if got, want := sent(t, tel), map[string]uint64{"GET host 80  panic": 1}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if s := spans(); len(s) != 1 || s[0].Status.Code != codes.Error || attributes(s[0])["error.type"] != "panic" {
		t.Errorf("spans %v", s)
	}
}

// What a faulty RoundTripper returns reaches the caller as it is.
func TestTransportBearsFaultyRoundTrippers(t *testing.T) {
	tel := start(t, Config{})
	r, _ := http.NewRequest("GET", "http://host/", nil)
	nothing := roundTripper(func(*http.Request) (*http.Response, error) { return nil, nil })
	if resp, err := tel.Transport(nothing).RoundTrip(r); resp != nil || err != nil {
		t.Errorf("%v, %v", resp, err)
	}
	body := &brokenBody{}
	both := roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: body}, errBoom
	})
	if resp, err := tel.Transport(both).RoundTrip(r); resp == nil || resp.Body != body || err != errBoom {
		t.Errorf("%v, %v", resp, err)
	}
	if _, err := tel.Transport(nil).RoundTrip(&http.Request{}); err == nil || !strings.Contains(err.Error(), "nil Request.URL") {
		t.Errorf("without a URL: %v", err)
	}
	var typedNil *net.OpError
	bad := roundTripper(func(*http.Request) (*http.Response, error) { return nil, typedNil })
	if _, err := tel.Transport(bad).RoundTrip(r); err != error(typedNil) {
		t.Errorf("a nil pointer in an error: %T", err)
	}
}

// A client that chooses the host costs no memory without end.
func TestHostsAreBounded(t *testing.T) {
	tel := start(t, Config{MaxSeries: 50})
	transport := tel.Transport(answer(200, http.NoBody))
	long := strings.Repeat("a", 300)
	for i := range 2000 {
		for _, u := range []*url.URL{
			{Scheme: "http", Host: fmt.Sprintf("tenant%d.example.com", i)},
			{Scheme: "http", Host: fmt.Sprintf("%s%d", long, i)},
			{Scheme: "http", Host: fmt.Sprintf("one:%d", 1000000+i)},
			{Scheme: fmt.Sprintf("s%d", i), Host: "one"},
			{Scheme: "http", Host: "one" + strings.Repeat("\xff", i)},
		} {
			if _, err := transport.RoundTrip(&http.Request{URL: u}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := len(sent(t, tel)); n > 56 {
		t.Errorf("%d series", n)
	}
	if n := len(*tel.client.hosts.aliases.read.Load()); n > 150 { // two schemes, and a host with and without its port
		t.Errorf("%d names of hosts are remembered", n)
	}
	if n := len(tel.client.hosts.all); n > 50 {
		t.Errorf("%d hosts are remembered", n)
	}
}

func TestTransportSendsTheBaggageThatIsAllowed(t *testing.T) {
	tel := start(t, Config{Tracing: tracing.Config{Baggage: []string{"tenant"}}})
	bag, err := baggage.Parse("tenant=blue,secret=hunter2")
	if err != nil {
		t.Fatal(err)
	}
	r, _ := http.NewRequestWithContext(baggage.ContextWithBaggage(t.Context(), bag), "GET", "http://host/", nil)
	tel.Transport(roundTripper(func(out *http.Request) (*http.Response, error) {
		if got := out.Header.Get("Baggage"); got != "tenant=blue" {
			t.Errorf("baggage %q", got)
		}
		return nil, errBoom
	})).RoundTrip(r)
	if len(r.Header) != 0 {
		t.Errorf("the caller's header became %v", r.Header)
	}
}

func TestTransportTwiceCountsOnce(t *testing.T) {
	tel := start(t, Config{})
	r, _ := http.NewRequest("GET", "http://host/", nil)
	tel.Transport(tel.Transport(answer(200, http.NoBody))).RoundTrip(r)
	if got, want := sent(t, tel), map[string]uint64{"GET host 80 200": 1}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestNilTelemetryTransport(t *testing.T) {
	var tel *Telemetry
	if got := tel.Transport(nil); got != http.DefaultTransport {
		t.Errorf("got a %T", got)
	}
	next := &http.Transport{}
	if got := tel.Transport(next); got != http.RoundTripper(next) {
		t.Errorf("got a %T", got)
	}
}

// A retrying client takes its request back after the response and changes it;
// a span that is kept late tells the address that was called.
func TestClientSpanTellsTheAddressThatWasCalled(t *testing.T) {
	tel, spans := collect(t, sdktrace.NeverSample())
	h := tel.Handler(http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		r, _ := http.NewRequestWithContext(in.Context(), "BREW", "http://first/path", nil)
		resp, err := tel.Transport(answer(200, io.NopCloser(strings.NewReader("")))).RoundTrip(r)
		if err != nil {
			t.Error(err)
		}
		resp.Body.Close()
		r.URL.Host, r.URL.Path, r.Method = "second", "/other", "GET"
		w.WriteHeader(500)
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	a := attributes(spanNamed(t, spans(), "_OTHER"))
	if a["server.address"] != "first" || a["url.full"] != "http://first/path" || a["http.request.method_original"] != "BREW" {
		t.Errorf("attributes %v", a)
	}
}

// Call returns what f returned, and lets its panic pass.
func TestCallLeavesErrorsAlone(t *testing.T) {
	tel, spans := collect(t, sdktrace.AlwaysSample())
	for _, want := range []error{nil, errBoom, context.Canceled, fmt.Errorf("x: %w", context.DeadlineExceeded)} {
		if got := tel.Call(t.Context(), "mail", "send", func(ctx context.Context) error {
			if !trace.SpanContextFromContext(ctx).IsSampled() {
				t.Error("no span in the context")
			}
			return want
		}); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	func() {
		defer func() {
			if p := recover(); p != errBoom {
				t.Errorf("recovered %v", p)
			}
		}()
		tel.Call(t.Context(), "mail", "send", func(context.Context) error { panic(errBoom) })
	}()
	got := map[string]uint64{}
	for labels, m := range family(t, tel, dependencyDuration.Name) {
		got[labels] = m.GetHistogram().GetSampleCount()
	}
	want := map[string]uint64{}
	for _, e := range []string{"", "_OTHER", "canceled", "timeout", "panic"} {
		want["dependency=mail error_type="+e+" operation=send"] = 1
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	var errs []string
	for _, s := range spans() {
		a := attributes(s)
		if a["peer.service"] != "mail" || s.Name != "send" || (s.Status.Code == codes.Error) != (a["error.type"] != nil) {
			t.Errorf("%s: %v, %v", s.Name, a, s.Status)
		}
		errs = append(errs, fmt.Sprint(a["error.type"]))
	}
	if want := []string{"<nil>", "_OTHER", "canceled", "timeout", "panic"}; !slices.Equal(errs, want) {
		t.Errorf("got %v, want %v", errs, want)
	}
}

func TestNilTelemetryCalls(t *testing.T) {
	ctx := t.Context()
	if err := (*Telemetry)(nil).Call(ctx, "mail", "send", func(got context.Context) error {
		if got != ctx {
			t.Error("another context")
		}
		return errBoom
	}); err != errBoom {
		t.Error(err)
	}
}

func TestTransportAllocations(t *testing.T) {
	resp := &http.Response{StatusCode: 200, Body: http.NoBody}
	quick := roundTripper(func(*http.Request) (*http.Response, error) { return resp, nil })
	r, _ := http.NewRequest("GET", "http://inventory:8080/items/42", nil)
	for _, c := range []struct {
		name    string
		sampler sdktrace.Sampler
		above   float64
	}{
		{"not sampled", sdktrace.NeverSample(), 3},
		{"sampled", sdktrace.AlwaysSample(), 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			transport := start(t, Config{Tracing: tracing.Config{Sampler: c.sampler, Exporter: discard{}}}).Transport(quick)
			got := allocations(1000, func() {
				if _, err := transport.RoundTrip(r); err != nil {
					t.Fatal(err)
				}
			})
			if got > c.above {
				t.Errorf("%v allocations above bare, want at most %v", got, c.above)
			}
		})
	}
}

func BenchmarkTransport(b *testing.B) {
	run := func(name string, sampler sdktrace.Sampler, request bool) {
		b.Run(name, func(b *testing.B) {
			var transport http.RoundTripper = roundTripper(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 200, Body: &brokenBody{}}, nil
			})
			r, _ := http.NewRequest("GET", "http://inventory:8080/items/42", nil)
			h := func(next func(*http.Request)) { next(r) }
			if sampler != nil {
				tel := start(b, Config{Tracing: tracing.Config{Sampler: sampler, Exporter: discard{}}})
				transport = tel.Transport(transport)
				if request {
					in, w := httptest.NewRequest("GET", "/", nil), &quietWriter{http.Header{}}
					h = func(next func(*http.Request)) {
						tel.Handler(http.HandlerFunc(func(_ http.ResponseWriter, in *http.Request) { next(r.WithContext(in.Context())) })).ServeHTTP(w, in)
					}
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				h(func(r *http.Request) {
					resp, err := transport.RoundTrip(r)
					if err != nil {
						b.Fatal(err)
					}
					resp.Body.Close()
				})
			}
		})
	}
	run("bare", nil, false)
	run("notsampled", sdktrace.NeverSample(), false)
	run("sampled", sdktrace.AlwaysSample(), false)
	run("notsampled in a request", sdktrace.NeverSample(), true)
	run("sampled in a request", sdktrace.AlwaysSample(), true)
}
