package observe

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

func status(url string) int {
	r, err := http.Get(url)
	if err != nil {
		return 0
	}
	defer r.Body.Close()
	io.Copy(io.Discard, r.Body)
	return r.StatusCode
}

// counted is an exporter that counts spans and notes the state at its end.
type counted struct {
	discard
	spans atomic.Int64
}

func (c *counted) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	c.spans.Add(int64(len(spans)))
	return nil
}

// serveOn serves srv on a free port of this machine until the test ends.
func serveOn(t *testing.T, tel *Telemetry, srv *http.Server) (addr, port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- tel.ServeListener(ctx, l, srv) }()
	t.Cleanup(func() {
		cancel()
		<-served
	})
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return l.Addr().String(), port
}

func TestServeFollowsConnections(t *testing.T) {
	tel := start(t, Config{ShutdownTimeout: time.Second})
	release := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /quick", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /slow", func(http.ResponseWriter, *http.Request) { <-release })
	mux.HandleFunc("GET /taken", func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		if _, ok := conn.(*net.TCPConn); !ok {
			t.Errorf("the handler got a %T", conn)
		}
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
		go func() { // the handler returns, the connection lives on
			defer conn.Close()
			io.Copy(io.Discard, conn)
		}()
	})
	var hooked atomic.Int64
	addr, port := serveOn(t, tel, &http.Server{
		Handler:   tel.Handler(mux),
		ConnState: func(_ net.Conn, s http.ConnState) { hooked.Add(1) },
	})
	states := func() string {
		n := family(t, tel, "observe_http_server_connections")
		var got []string
		for _, s := range connectionStates {
			got = append(got, fmt.Sprint(n["server_port="+port+" state="+s].GetGauge().GetValue()))
		}
		return strings.Join(got, " ")
	}
	become := func(want string) {
		t.Helper()
		got := ""
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			if got = states(); got == want {
				return
			}
		}
		t.Fatalf("new, active, idle, hijacked: %s, want %s", got, want)
	}
	dial := func(request string, answered bool) net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, request)
		if answered {
			if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		return c
	}
	become("0 0 0 0")
	const head = " HTTP/1.1\r\nHost: x\r\n\r\n"
	silent := dial("", false)
	become("1 0 0 0")
	kept := dial("GET /quick"+head, true)
	become("1 0 1 0")
	busy := dial("GET /slow"+head, false)
	become("1 1 1 0")
	upgraded := dial("GET /taken"+head, true)
	become("1 1 1 1")
	if n := family(t, tel, "observe_http_server_connections_accepted_total")["server_port="+port].GetCounter().GetValue(); n != 4 {
		t.Errorf("%v connections accepted, want 4", n)
	}
	upgraded.Close()
	become("1 1 1 0")
	silent.Close()
	become("0 1 1 0")
	io.WriteString(kept, "GET /quick HTTP/1.0\r\n\r\n") // ends the connection from an active state
	become("0 1 0 0")
	close(release)
	become("0 0 1 0")
	busy.Close()
	become("0 0 0 0")
	kept.Close()
	if hooked.Load() == 0 {
		t.Error("the server's own hook was not called")
	}
	if n := len(family(t, tel, "observe_http_server_tls_handshake_failures_total")); n != 0 {
		t.Errorf("%d handshake failures without TLS", n)
	}
}

// certificate is a self-signed one for 127.0.0.1, and a client configuration that trusts it.
func certificate(t *testing.T) (server, client *tls.Config) {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	return &tls.Config{Certificates: s.TLS.Certificates, MinVersion: tls.VersionTLS12},
		s.Client().Transport.(*http.Transport).TLSClientConfig
}

func TestServeCountsFailedTLSHandshakes(t *testing.T) {
	tel := start(t, Config{})
	server, trusting := certificate(t)
	var errors lines
	addr, port := serveOn(t, tel, &http.Server{
		Handler:   tel.Handler(itemsMux()),
		TLSConfig: server,
		ErrorLog:  log.New(&errors, "theirs: ", 0),
	})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trusting, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("https://" + addr + "/items/1")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.ProtoMajor != 2 {
		t.Errorf("answered over %s", resp.Proto)
	}

	attempt := func(f func(net.Conn)) {
		t.Helper()
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		f(c)
		c.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, c) // closed with something unread, it would be reset
		c.Close()
	}
	attempt(func(c net.Conn) { // shakes hands and asks nothing
		config := trusting.Clone()
		config.ServerName = "127.0.0.1"
		if err := tls.Client(c, config).Handshake(); err != nil {
			t.Error(err)
		}
	})
	attempt(func(net.Conn) {})
	attempt(func(c net.Conn) {
		io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
		io.Copy(io.Discard, c)
	})
	attempt(func(c net.Conn) { tls.Client(c, &tls.Config{ServerName: "example.com"}).Handshake() }) // does not trust the certificate
	attempt(func(c net.Conn) {                                                                      // one that is too old
		tls.Client(c, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}).Handshake()
	})
	failed := func(class string) float64 {
		return family(t, tel, "observe_http_server_tls_handshake_failures_total")["error_type="+class+" server_port="+port].GetCounter().GetValue()
	}
	eventually(t, "three handshakes failed for TLS and one by its end", func() bool { return failed("tls") == 3 && failed("eof") == 1 })
	eventually(t, "the connections are closed", func() bool {
		return family(t, tel, "observe_http_server_connections")["server_port="+port+" state=new"].GetGauge().GetValue() == 0
	})
	if n := len(family(t, tel, "observe_http_server_tls_handshake_failures_total")); n != 2 {
		t.Errorf("%d classes of failures, want 2", n)
	}
	if n := strings.Count(errors.String(), "theirs: http: TLS handshake error"); n != 4 {
		t.Errorf("the server's own log has %d lines of 4:\n%s", n, &errors)
	}
	if n := family(t, tel, "observe_http_server_connections")["server_port="+port+" state=idle"].GetGauge().GetValue(); n != 1 {
		t.Errorf("%v idle connections, want that of HTTP/2", n)
	}
}

// Two servers of a process may listen on one port, of two addresses.
func TestServersOnOnePortAreOneSeries(t *testing.T) {
	ls := newListeners(newMetrics(2000, nil, new(lines).logger()))
	a, b := &http.Server{}, &http.Server{}
	for _, srv := range []*http.Server{a, b} {
		ls.follow(srv, fixedAddr{&net.TCPAddr{Port: 8080}})
	}
	ls.follow(&http.Server{}, fixedAddr{&net.UnixAddr{Name: "/run/x", Net: "unix"}})
	ca, cb := net.Pipe()
	defer ca.Close()
	defer cb.Close()
	a.ConnState(ca, http.StateNew)
	b.ConnState(cb, http.StateNew)
	a.ConnState(ca, http.StateActive)
	ports := map[string]int{}
	for _, c := range ls.all() {
		ports[c.port] = int(c.accepted.Load())
	}
	if len(ports) != 2 || ports["8080"] != 2 || ports["unix"] != 0 {
		t.Error(ports)
	}
}

type fixedAddr struct{ addr net.Addr }

func (l fixedAddr) Addr() net.Addr            { return l.addr }
func (l fixedAddr) Close() error              { return nil }
func (l fixedAddr) Accept() (net.Conn, error) { return nil, net.ErrClosed }

// A listener's connections may be anything, also what no map takes as a key.
func TestConnectionsOfAnyKindAreFollowed(t *testing.T) {
	c := &connections{handshakes: newMetrics(2000, nil, new(lines).logger()).counter(serverHandshakeFailures)}
	pipe, other := net.Pipe()
	defer pipe.Close()
	defer other.Close()
	conn := net.Conn(odd{pipe, nil})
	for _, state := range []http.ConnState{http.StateNew, http.StateActive, http.StateIdle, http.StateActive} {
		c.changed(conn, state)
		if n := c.count(); n[state] != 1 {
			t.Errorf("in state %v: %v", state, n)
		}
	}
	c.changed(conn, http.StateHijacked) // of a kind that cannot be asked
	c.changed(other, http.StateIdle)    // that nobody announced
	c.changed(other, http.StateClosed)
	if n := c.count(); n != [4]int{} {
		t.Error(n)
	}
}

type odd struct {
	net.Conn
	unhashable []int
}

// What handlers took over and dropped does not stay, though nobody scrapes.
func TestTakenConnectionsAreThrownOut(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var taken taken
	var open []net.Conn
	for i := range 300 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		taken.add(c)
		if i%100 == 0 {
			open = append(open, c)
		} else {
			c.Close()
		}
	}
	if n := len(taken.open); n > 150 {
		t.Errorf("%d are kept of 300, of which 3 are open", n)
	}
	if n := taken.count(); n != 3 {
		t.Errorf("%d are open, want 3", n)
	}
	for _, c := range open {
		c.Close()
	}
	if n := taken.count(); n != 0 {
		t.Errorf("%d are open after all were closed", n)
	}
}

// The hook runs twice a request.
func TestConnectionStateChangesDoNotAllocate(t *testing.T) {
	c := &connections{}
	conn, other := net.Pipe()
	defer conn.Close()
	defer other.Close()
	c.changed(conn, http.StateNew)
	if n := allocations(100, func() {
		c.changed(conn, http.StateActive)
		c.changed(conn, http.StateIdle)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkConnectionStates(b *testing.B) {
	c := &connections{}
	conn, other := net.Pipe()
	defer conn.Close()
	defer other.Close()
	c.changed(conn, http.StateNew)
	for b.Loop() {
		c.changed(conn, http.StateActive)
		c.changed(conn, http.StateIdle)
	}
}
