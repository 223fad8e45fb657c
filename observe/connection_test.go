package observe

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/loadline-go/loadline/observe/capture"
	"github.com/loadline-go/loadline/tracing"
)

// serverSide counts what a server says of its connections, by host and port.
type serverSide struct {
	mu                   sync.Mutex
	opened, open, closed int
}

func (s *serverSide) watch(_ net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case http.StateNew:
		s.opened++
		s.open++
	case http.StateClosed, http.StateHijacked:
		s.open--
		s.closed++
	}
}

func (s *serverSide) counts() (opened, open, closed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened, s.open, s.closed
}

// figures returns the value of every series of a metric, histograms as their
// count, by the label values that are given.
func figures(t testing.TB, tel *Telemetry, metric string, labels ...string) map[string]float64 {
	t.Helper()
	got := map[string]float64{}
	for _, m := range family(t, tel, metric) {
		var key []string
		for _, want := range labels {
			for _, p := range m.GetLabel() {
				if p.GetName() == want {
					key = append(key, p.GetValue())
				}
			}
		}
		got[strings.Join(key, " ")] += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	return got
}

func get(t testing.TB, c *http.Client, url string) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// What is said of connections is what the server says of them: opened, reused,
// in use, closed, for each protocol.
func TestConnectionsAreThoseThatTheServerSees(t *testing.T) {
	for _, protocol := range []string{"HTTP/1.1", "HTTPS/1.1", "HTTP/2.0"} {
		t.Run(protocol, func(t *testing.T) {
			tel := start(t, Config{})
			var side serverSide
			hold, held := make(chan struct{}), make(chan struct{}, 10)
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/hold" {
					w.WriteHeader(200)
					w.(http.Flusher).Flush()
					held <- struct{}{}
					<-hold
				}
				fmt.Fprint(w, "body of "+r.Proto)
			}))
			server.Config.ConnState = side.watch
			server.EnableHTTP2 = protocol == "HTTP/2.0"
			if protocol == "HTTP/1.1" {
				server.Start()
			} else {
				server.StartTLS()
			}
			defer server.Close()
			client := server.Client()
			client.Transport = tel.Transport(client.Transport)
			defer client.CloseIdleConnections()

			const requests, parallel = 5, 3
			for range requests {
				get(t, client, server.URL)
			}
			states := func() map[string]float64 { return figures(t, tel, clientConnections.Name, "http_connection_state") }
			if got, want := states(), map[string]float64{"active": 0, "idle": 1}; !maps.Equal(got, want) {
				t.Errorf("after %d requests in a row: %v, want %v", requests, got, want)
			}
			var all sync.WaitGroup
			for range parallel {
				all.Go(func() { get(t, client, server.URL+"/hold") })
			}
			for range parallel {
				<-held
			}
			_, open, _ := side.counts()
			if got := states(); got["active"]+got["idle"] != float64(open) || got["active"] < 1 || protocol != "HTTP/2.0" && got["active"] != parallel {
				t.Errorf("while %d requests are held: %v, the server has %d open", parallel, got, open)
			}
			close(hold)
			all.Wait()
			// net/http keeps two idle ones of a host; the server learns later that the rest is closed.
			eventually(t, "as many as the server has", func() bool {
				_, open, _ := side.counts()
				return maps.Equal(states(), map[string]float64{"active": 0, "idle": float64(open)})
			})
			opened, _, _ := side.counts()
			if got, want := figures(t, tel, clientUses.Name, "reused"), map[string]float64{"false": float64(opened), "true": float64(requests + parallel - opened)}; !maps.Equal(got, want) {
				t.Errorf("uses %v, want %v", got, want)
			}
			phase := figures(t, tel, clientPhase.Name, "phase")
			secure := 0
			if protocol != "HTTP/1.1" {
				secure = opened
			}
			for name, want := range map[string]int{"connect": opened, "tls": secure, "first_byte": requests + parallel, "body": requests + parallel} {
				if phase[name] != float64(want) {
					t.Errorf("%v times of %s, want %d: %v", phase[name], name, want, phase)
				}
			}
			if phase["wait"] < float64(opened) || phase["wait"] > requests+parallel {
				t.Errorf("%v waits for %d connections", phase["wait"], opened)
			}
			client.CloseIdleConnections()
			eventually(t, "all closed", func() bool {
				_, open, closed := side.counts()
				return open == 0 && figures(t, tel, clientConnectionDuration.Name)[""] == float64(closed)
			})
			if got, want := states(), map[string]float64{"active": 0, "idle": 0}; !maps.Equal(got, want) {
				t.Errorf("at the end: %v, want %v", got, want)
			}
		})
	}
}

// A transport that is cloned does what it did: its HTTP versions, its dialers,
// its proxy, its registered protocols.
func TestCloneOfATransportDoesTheSame(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	trust := server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	dialed := 0
	plainDial := func(network, addr string) (net.Conn, error) { dialed++; return net.Dial(network, addr) }
	tlsDial := func(network, addr string) (net.Conn, error) {
		dialed++
		return tls.Dial(network, addr, &tls.Config{RootCAs: trust})
	}
	withProtocols := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}, Protocols: new(http.Protocols)}
	withProtocols.Protocols.SetHTTP2(true)
	zero := &http.Transport{}
	zero.Clone() // makes up its mind for HTTP/2
	zero.TLSClientConfig.RootCAs = trust
	for _, c := range []struct {
		name  string
		base  *http.Transport
		proto string
		dials int
	}{
		{"nothing set", zero, "HTTP/2.0", 0},
		{"a TLS config", &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}}, "HTTP/1.1", 0},
		{"HTTP/2 forced", &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}, ForceAttemptHTTP2: true}, "HTTP/2.0", 0},
		{"HTTP/2 forbidden", &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}, ForceAttemptHTTP2: true, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}, "HTTP/1.1", 0},
		{"protocols", withProtocols, "HTTP/2.0", 0},
		//lint:ignore SA1019 programs still set it
		{"the old Dial", &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}, Dial: plainDial}, "HTTP/1.1", 1},
		//lint:ignore SA1019 programs still set it
		{"the old DialTLS", &http.Transport{DialTLS: tlsDial}, "HTTP/1.1", 1},
		{"DialTLSContext", &http.Transport{DialTLSContext: func(_ context.Context, network, addr string) (net.Conn, error) { return tlsDial(network, addr) }}, "HTTP/1.1", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			tel := start(t, Config{})
			dialed = 0
			client := &http.Client{Transport: tel.Transport(c.base)}
			defer client.CloseIdleConnections()
			resp, err := client.Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(body) != c.proto || dialed != c.dials {
				t.Errorf("%s with %d dials of the transport's, want %s with %d", body, dialed, c.proto, c.dials)
			}
			if got := figures(t, tel, clientUses.Name, "reused"); got["false"] != 1 {
				t.Errorf("uses %v", got)
			}
		})
	}

	tel := start(t, Config{})
	base := &http.Transport{}
	base.RegisterProtocol("mem", answer(204, http.NoBody))
	if resp, err := tel.Transport(base).RoundTrip(&http.Request{URL: &url.URL{Scheme: "mem", Host: "x"}, Header: http.Header{}}); err != nil || resp.StatusCode != 204 {
		t.Errorf("a protocol of its own: %v, %v", resp, err)
	}
	base = &http.Transport{}
	base.RegisterProtocol("https", answer(204, http.NoBody))
	if resp, err := tel.Transport(base).RoundTrip(&http.Request{URL: &url.URL{Scheme: "https", Host: "x"}, Header: http.Header{}}); err != nil || resp.StatusCode != 204 {
		t.Errorf("its own way to https: %v, %v", resp, err)
	}
	base = &http.Transport{}
	if a, b := tel.Transport(base).(*transport), tel.Transport(base).(*transport); a.next != b.next {
		t.Error("two pools of connections for one transport")
	}
}

// A transport that the program forgets is forgotten here, too.
func TestClonesEndWithTheirTransports(t *testing.T) {
	tel := start(t, Config{})
	for range 100 {
		tel.Transport(&http.Transport{})
	}
	eventually(t, "collected", func() bool {
		runtime.GC()
		tel.client.clones.mu.Lock()
		defer tel.client.clones.mu.Unlock()
		return len(tel.client.clones.all) < 10
	})
}

// The program's own hooks are called as before, and by nobody else's request.
func TestTransportKeepsTheHooksOfTheProgram(t *testing.T) {
	tel := start(t, Config{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "x") }))
	defer server.Close()
	var got []string
	add := func(s string) { got = append(got, s) }
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		GetConn:              func(string) { add("get") },
		ConnectStart:         func(string, string) { add("connect") },
		ConnectDone:          func(string, string, error) { add("connected") },
		GotConn:              func(i httptrace.GotConnInfo) { add(fmt.Sprint("got ", i.Reused)) },
		GotFirstResponseByte: func() { add("byte") },
	})
	token := &http.Client{Transport: tel.Transport(&http.Transport{})}
	defer token.CloseIdleConnections()
	base := &http.Transport{}
	withToken := roundTripper(func(r *http.Request) (*http.Response, error) {
		inner, _ := http.NewRequestWithContext(r.Context(), "GET", server.URL+"/token", nil)
		resp, err := token.Do(inner)
		if err != nil {
			return nil, err
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return base.RoundTrip(r)
	})
	defer base.CloseIdleConnections()
	for _, c := range []struct {
		next http.RoundTripper
		want string
	}{
		{&http.Transport{}, "get connect connected got false byte"},
		{withToken, "get connect connected got false byte get connect connected got false byte"},
	} {
		got = nil
		before := figures(t, tel, clientUses.Name, "reused")["false"]
		r, _ := http.NewRequestWithContext(ctx, "GET", server.URL, nil)
		resp, err := tel.Transport(c.next).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("got %s, want %s", s, c.want)
		}
		if n := figures(t, tel, clientUses.Name, "reused")["false"] - before; n != float64(strings.Count(c.want, "get")) {
			t.Errorf("%v connections were new", n)
		}
	}
}

// The lookup of a name has a time and, where there is no such name, an error.
func TestLookupsAreMeasured(t *testing.T) {
	tel := start(t, Config{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	base := &http.Transport{}
	client := &http.Client{Transport: tel.Transport(base)}
	defer client.CloseIdleConnections()
	u, _ := url.Parse(server.URL)
	resp, err := client.Get("http://localhost:" + u.Port())
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got, want := figures(t, tel, dnsDuration.Name, "dns_question_name", "error_type"), map[string]float64{"localhost ": 1}; !maps.Equal(got, want) {
		t.Errorf("lookups %v, want %v", got, want)
	}
	resolver := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no server") }}
	client = &http.Client{Transport: tel.Transport(&http.Transport{DialContext: (&net.Dialer{Resolver: resolver}).DialContext})}
	if _, err := client.Get("http://name.invalid."); err == nil {
		t.Fatal("it was found")
	}
	if got := figures(t, tel, dnsDuration.Name, "dns_question_name", "error_type"); got["name.invalid. dns"] != 1 {
		t.Errorf("lookups %v", got)
	}
	if got := sent(t, tel)["GET name.invalid. 80  dns"]; got != 1 {
		t.Errorf("requests %v", sent(t, tel))
	}
}

// A request whose context has ended, and one for whose connection nobody waits
// any more, leave nothing behind.
func TestCanceledRequestsHoldNoConnection(t *testing.T) {
	tel := start(t, Config{})
	var side serverSide
	release := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	server.Config.ConnState = side.watch
	server.Start()
	defer server.Close()
	defer close(release)
	rt := tel.Transport(&http.Transport{})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range 20 {
		ctx := ended
		if i%2 == 0 {
			var done context.CancelFunc
			ctx, done = context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
			defer done()
		}
		r, _ := http.NewRequestWithContext(ctx, "GET", server.URL, nil)
		if _, err := rt.RoundTrip(r); !errors.Is(err, ctx.Err()) || err == nil {
			t.Errorf("%v", err)
		}
	}
	rt.(*transport).CloseIdleConnections()
	eventually(t, "none open", func() bool {
		_, open, _ := side.counts()
		got := figures(t, tel, clientConnections.Name, "http_connection_state")
		return open == 0 && got["active"] == 0 && got["idle"] == 0
	})
}

// A file goes into the socket on its short way, and an upgraded connection is
// in use until it is closed.
func TestConnectionKeepsItsAbilities(t *testing.T) {
	tel := start(t, Config{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			n, _ := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n)
			return
		}
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
	rt := tel.Transport(&http.Transport{}).(*transport)
	defer rt.CloseIdleConnections()
	var beneath net.Conn
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if _, ok := i.Conn.(io.ReaderFrom); !ok {
			t.Errorf("a %T reads from nothing", i.Conn)
		}
		beneath = i.Conn.(interface{ NetConn() net.Conn }).NetConn()
	}})
	r, _ := http.NewRequestWithContext(ctx, "POST", server.URL, strings.NewReader(strings.Repeat("x", 1<<20)))
	resp, err := rt.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(resp.Body); string(body) != fmt.Sprint(1<<20) {
		t.Errorf("%s bytes arrived", body)
	}
	resp.Body.Close()
	if _, ok := beneath.(*net.TCPConn); !ok {
		t.Errorf("beneath is a %T", beneath)
	}

	r, _ = http.NewRequest("GET", server.URL, nil)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "echo")
	if resp, err = rt.RoundTrip(r); err != nil {
		t.Fatal(err)
	}
	active := func() float64 { return figures(t, tel, clientConnections.Name, "http_connection_state")["active"] }
	rwc := resp.Body.(io.ReadWriteCloser)
	fmt.Fprintln(rwc, "hello")
	if line, err := bufio.NewReader(rwc).ReadString('\n'); line != "hello\n" || active() != 1 {
		t.Errorf("%q, %v; %v active", line, err, active())
	}
	rwc.Close()
	eventually(t, "closed", func() bool { return active() == 0 })
}

// Over a connection that is kept, hooks and all, a request that is not sampled
// costs three allocations more than a bare one.
func TestTransportAllocationsOverAConnection(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget")
	}
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	base := &http.Transport{DisableCompression: true}
	defer base.CloseIdleConnections()
	measure := func(rt http.RoundTripper) float64 {
		r, _ := http.NewRequest("GET", server.URL, nil)
		r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00") // the server reads one from both
		return allocations(1000, func() {
			resp, err := rt.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		})
	}
	rt := start(t, Config{Tracing: tracing.Config{Sampler: sdktrace.NeverSample()}, Captures: capture.Config{Dir: Off}}).Transport(base)
	defer rt.(*transport).CloseIdleConnections()
	var got, bare float64
	for range 5 { // the server, the sampler and the collector allocate meanwhile
		if bare, got = measure(base), measure(rt); got <= bare+3 {
			return
		}
	}
	t.Errorf("%v allocations, %v bare; the server's are among both", got, bare)
}
