package observe

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
	"weak"

	"github.com/prometheus/client_golang/prometheus"
)

// listeners is the connections of all servers that Serve runs, by the port they
// listen on. It is read at the scrape.
type listeners struct {
	states, accepted *prometheus.Desc
	handshakes       *vec[prometheus.Counter]

	mu     sync.Mutex
	byPort map[string]*connections
}

func newListeners(m *metrics) *listeners {
	ls := &listeners{
		states: desc(serverConnections), accepted: desc(serverAccepted),
		handshakes: m.counter(serverHandshakeFailures),
		byPort:     map[string]*connections{},
	}
	m.registry.MustRegister(ls)
	return ls
}

// follow makes srv, which is to serve on l, tell its connections. The server's
// own hook is called as before.
func (ls *listeners) follow(srv *http.Server, l net.Listener) {
	port := l.Addr().Network() // such as "unix"
	if _, p, err := net.SplitHostPort(l.Addr().String()); err == nil {
		port = p
	}
	ls.mu.Lock()
	c := ls.byPort[port]
	if c == nil { // two addresses may share a port
		c = &connections{port: port, handshakes: ls.handshakes}
		ls.byPort[port] = c
	}
	ls.mu.Unlock()
	next := srv.ConnState
	srv.ConnState = func(conn net.Conn, state http.ConnState) {
		c.changed(conn, state)
		if next != nil {
			next(conn, state)
		}
	}
}

// all returns the connections by port.
func (ls *listeners) all() (all []*connections) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, c := range ls.byPort {
		all = append(all, c)
	}
	return all
}

// Describe implements prometheus.Collector.
func (ls *listeners) Describe(ch chan<- *prometheus.Desc) { ch <- ls.states; ch <- ls.accepted }

// Collect implements prometheus.Collector.
func (ls *listeners) Collect(ch chan<- prometheus.Metric) {
	for _, c := range ls.all() {
		n := c.count()
		for state, name := range connectionStates {
			ch <- prometheus.MustNewConstMetric(ls.states, prometheus.GaugeValue, float64(n[state]), c.port, name)
		}
		ch <- prometheus.MustNewConstMetric(ls.accepted, prometheus.CounterValue, float64(c.accepted.Load()), c.port)
	}
}

// The states of http.ConnState in which a connection is open, by their numbers.
var connectionStates = [...]string{http.StateNew: "new", http.StateActive: "active", http.StateIdle: "idle", http.StateHijacked: "hijacked"}

// connections follows the connections of one port through http.Server.ConnState.
type connections struct {
	port       string
	handshakes *vec[prometheus.Counter]
	accepted   atomic.Int64
	open       sync.Map // identity to *atomic.Int32, an http.ConnState; without those that were taken over
	taken      taken
}

// identity is what a connection is found by: the pointer in the interface. A
// listener of the program's own may return connections that are no valid key
// of a map, and a wrapped connection would hide its methods from the program.
func identity(conn net.Conn) unsafe.Pointer { return (*[2]unsafe.Pointer)(unsafe.Pointer(&conn))[1] }

// changed is called twice a request. It only stores the state: what is asked
// once a scrape need not be counted at each change.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		c.accepted.Add(1)
		c.open.Store(identity(conn), new(atomic.Int32))
	case http.StateActive, http.StateIdle:
		if was, ok := c.open.Load(identity(conn)); ok {
			was.(*atomic.Int32).Store(int32(state))
		}
	case http.StateHijacked:
		c.open.Delete(identity(conn))
		c.taken.add(conn)
	case http.StateClosed:
		was, ok := c.open.LoadAndDelete(identity(conn))
		if ok && was.(*atomic.Int32).Load() == int32(http.StateNew) {
			if class := handshakeFailure(conn); class != "" {
				failed, _ := c.handshakes.with(c.port, class)
				failed.Inc()
			}
		}
	}
}

// count returns how many connections are in each state.
func (c *connections) count() (n [len(connectionStates)]int) {
	c.open.Range(func(_, state any) bool {
		n[state.(*atomic.Int32).Load()]++
		return true
	})
	n[http.StateHijacked] = c.taken.count()
	return n
}

// handshakeFailure returns the class of the error with which the TLS handshake
// of a closed connection failed, "" when there was none or it did not fail.
func handshakeFailure(conn net.Conn) string {
	c, ok := conn.(*tls.Conn)
	if !ok || c.ConnectionState().HandshakeComplete {
		return ""
	}
	err := c.HandshakeContext(context.Background()) // the connection is closed, so this returns what the handshake returned
	switch class := errorType(err); {
	case err == nil, errors.Is(err, net.ErrClosed): // by this end, when the server ended
		return ""
	case class == "_OTHER" && strings.HasPrefix(err.Error(), "tls: "): // no common version or cipher, a certificate that is missing
		return "tls"
	default:
		return class
	}
}

// taken is the connections that handlers took over (WebSockets). Nobody tells
// when these end, so they are asked. They are held weakly: the program may drop
// one without closing it.
type taken struct {
	mu    sync.Mutex
	open  []func() bool
	sweep int // the length at which the closed ones are thrown out though nobody asks
}

func (t *taken) add(conn net.Conn) {
	if c, ok := conn.(*tls.Conn); ok {
		conn = c.NetConn()
	}
	var open func() bool
	switch c := conn.(type) {
	case *net.TCPConn:
		open = isOpen(c)
	case *net.UnixConn:
		open = isOpen(c)
	default:
		return // of a listener of the program's own: nothing to ask
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open = append(t.open, open)
	if len(t.open) > t.sweep {
		t.throwOut()
		t.sweep = max(64, 2*len(t.open))
	}
}

func (t *taken) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.throwOut()
	return len(t.open)
}

func (t *taken) throwOut() {
	kept := t.open[:0]
	for _, open := range t.open {
		if open() {
			kept = append(kept, open)
		}
	}
	clear(t.open[len(kept):])
	t.open = kept
}

// isOpen returns a function that tells whether this end of conn is open still.
func isOpen[T any, P interface {
	*T
	syscall.Conn
}](conn P) func() bool {
	held := weak.Make((*T)(conn))
	return func() bool {
		c := P(held.Value())
		if c == nil {
			return false
		}
		raw, err := c.SyscallConn()
		return err == nil && raw.Control(func(uintptr) {}) == nil
	}
}
