package observe

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"weak"
)

// clones are the transports whose connections we count, by what they are clones
// of. They live as long as that.
type clones struct {
	mu  sync.Mutex
	all map[weak.Pointer[http.Transport]]*http.Transport
}

// clone returns the clone of t, nil where a clone would not do the same as t.
func (c *client) clone(t *http.Transport) *http.Transport {
	if runtime.GOOS == "js" || replacesHTTP(t) { // a dialer of its own keeps a browser's fetch from being used
		return nil
	}
	c.clones.mu.Lock()
	defer c.clones.mu.Unlock()
	key := weak.Make(t)
	if made := c.clones.all[key]; made != nil {
		return made
	}
	made := t.Clone()
	// A transport with a dialer of its own has no HTTP/2, unless it is asked for:
	// so it is, where t had it. After Clone, t has made up its mind.
	if _, ok := t.TLSNextProto["h2"]; ok && made.TLSNextProto == nil {
		made.ForceAttemptHTTP2 = true
	}
	if made.DialContext == nil {
		//lint:ignore SA1019 what a program still sets must go on working
		made.DialContext = withoutContext(made.Dial)
	}
	if made.DialContext == nil {
		made.DialContext = (&net.Dialer{}).DialContext
	}
	made.DialContext = c.dialer(made.DialContext)
	if made.DialTLSContext == nil {
		//lint:ignore SA1019 as above
		made.DialTLSContext = withoutContext(made.DialTLS)
	}
	if made.DialTLSContext != nil {
		made.DialTLSContext = c.dialer(made.DialTLSContext)
	}
	if c.clones.all == nil {
		c.clones.all = map[weak.Pointer[http.Transport]]*http.Transport{}
	}
	c.clones.all[key] = made
	runtime.AddCleanup(t, func(key weak.Pointer[http.Transport]) {
		c.clones.mu.Lock()
		defer c.clones.mu.Unlock()
		delete(c.clones.all, key)
	}, key)
	return made
}

// closeIdle closes the idle connections of all clones.
func (c *client) closeIdle(context.Context) error {
	c.clones.mu.Lock()
	defer c.clones.mu.Unlock()
	for _, t := range c.clones.all {
		t.CloseIdleConnections()
	}
	return nil
}

// replacesHTTP reports whether somebody registered a protocol of his own for
// http or https, which Clone would lose. The registrations are not exported;
// where they cannot be found there are taken to be none.
func replacesHTTP(t *http.Transport) (yes bool) {
	defer func() {
		if recover() != nil {
			yes = false
		}
	}()
	registered := reflect.ValueOf(t).Elem().FieldByName("altProto").FieldByName("v").Elem()
	for _, scheme := range registered.MapKeys() {
		of := registered.MapIndex(scheme).Elem().Type()
		for of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		switch s := scheme.String(); {
		case s != "http" && s != "https":
		case strings.HasPrefix(of.PkgPath(), "net/http"), strings.HasPrefix(of.PkgPath(), "golang.org/x/net/http2"):
		default:
			return true
		}
	}
	return false
}

type dialer = func(ctx context.Context, network, addr string) (net.Conn, error)

func withoutContext(dial func(network, addr string) (net.Conn, error)) dialer {
	if dial == nil {
		return nil
	}
	return func(_ context.Context, network, addr string) (net.Conn, error) { return dial(network, addr) }
}

// dialer returns dial with its parts measured and its connections counted.
func (c *client) dialer(dial dialer) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		l := &lookup{client: c}
		start := time.Now()
		made, err := dial(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{DNSStart: l.begin, DNSDone: l.end}), network, addr)
		if err != nil || made == nil {
			return made, err
		}
		c.tel.peers.sawConn(made, "the dependency "+addr)
		if _, ok := made.(*tls.Conn); ok {
			return made, nil // net/http must see that it is one
		}
		address, port, err := net.SplitHostPort(addr)
		if err != nil {
			address, port = addr, ""
		}
		now := time.Now()
		h := c.hosts.host(address, port).stats
		h.observe(phaseConnect, now.Sub(start)-l.took(), currentProcessor())
		k := &connection{host: h, connected: now}
		h.opened(k)
		w := &countedConn{Conn: made, connection: k}
		// Who forgets to close a connection has it closed by the garbage collector.
		runtime.AddCleanup(w, (*connection).close, k)
		return w, nil
	}
}

// lookup is the search for a host's addresses.
type lookup struct {
	client *client
	mu     sync.Mutex
	name   string
	start  time.Time
	sum    time.Duration
}

func (l *lookup) begin(info httptrace.DNSStartInfo) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.name, l.start = info.Host, time.Now()
}

func (l *lookup) end(info httptrace.DNSDoneInfo) {
	class := ""
	if info.Err != nil {
		class = errorType(info.Err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.start.IsZero() {
		return
	}
	took := time.Since(l.start)
	l.sum += took
	l.start = time.Time{}
	t, _ := l.client.dns.with(clip(l.name, maxHost), class)
	t.own.observe(took.Seconds(), currentProcessor())
}

func (l *lookup) took() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sum
}

// connection is what is known of a connection that is open.
type connection struct {
	host      *clientHost
	connected time.Time
	state     atomic.Int64 // the requests that are under way on it, below connectionClosed while it is open
}

// connectionClosed is far above any number of requests on one connection.
const connectionClosed = 1 << 40

func (k *connection) acquire() { k.state.Add(1) }
func (k *connection) release() { k.state.Add(-1) }

// close counts the end of the connection, once.
func (k *connection) close() {
	if k.state.Or(connectionClosed)&connectionClosed != 0 {
		return
	}
	h := k.host
	h.mu.Lock()
	delete(h.open, k)
	h.mu.Unlock()
	h.observeLife(time.Since(k.connected))
}

func (h *clientHost) opened(k *connection) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open == nil {
		h.open = map[*connection]struct{}{}
	}
	h.open[k] = struct{}{}
}

// connections returns how many are open, and whether there ever was one.
func (h *clientHost) connections() (active, idle int, ever bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k := range h.open {
		if k.state.Load() > 0 {
			active++
		} else {
			idle++
		}
	}
	return active, idle, h.open != nil
}

// countedConn is a connection that net/http uses.
type countedConn struct {
	net.Conn
	connection *connection
}

func (c *countedConn) Close() error {
	err := c.Conn.Close()
	c.connection.close()
	return err
}

// NetConn returns the connection beneath.
func (c *countedConn) NetConn() net.Conn { return c.Conn }

// ReadFrom keeps a file on its short way into a socket.
func (c *countedConn) ReadFrom(r io.Reader) (int64, error) {
	if to, ok := c.Conn.(io.ReaderFrom); ok {
		return to.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{c.Conn}, r)
}

// hooks tell a request which connection it got. Those of net/http's transport
// are used again: it calls GotConn before RoundTrip returns.
type hooks struct {
	trace    httptrace.ClientTrace
	theirs   *httptrace.ClientTrace // the program's own, which trace calls too; nil in one that is reusable
	reusable bool

	mu     sync.Mutex
	start  time.Time
	conn   *connection
	known  bool
	reused bool
	waited time.Duration // for a connection; 0 when an idle one was at hand
}

func newHooks() *hooks {
	h := &hooks{}
	h.trace.GotConn = h.got
	return h
}

// clientTrace is asked for by whoever makes a connection for the request.
func (o *outgoing) clientTrace() *httptrace.ClientTrace {
	if h := o.hooks.Load(); h != nil {
		return &h.trace
	}
	var h *hooks
	theirs, _ := o.span.Value(clientTraceKey).(*httptrace.ClientTrace)
	if theirs != nil {
		// A request made on the way of another one is none of that one's business.
		if outer, ok := o.span.Value(outgoingKey{}).(*outgoing); ok && &outer.hooks.Load().trace == theirs {
			theirs = outer.hooks.Load().theirs
		}
	}
	if theirs != nil {
		h = newHooks()
		h.theirs = theirs
		httptrace.WithClientTrace(httptrace.WithClientTrace(context.Background(), theirs), &h.trace) // makes h call theirs, too
	} else {
		h = o.host.client.hooks.Get().(*hooks)
		h.reusable = true
	}
	h.start = o.span.StartTime()
	if !o.hooks.CompareAndSwap(nil, h) {
		h = o.hooks.Load()
	}
	return &h.trace
}

func (h *hooks) got(info httptrace.GotConnInfo) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conn != nil { // a connection that was found broken, and another one
		h.conn.release()
		h.conn = nil
	}
	h.known, h.reused, h.waited = true, info.Reused, 0
	if !info.WasIdle {
		h.waited = time.Since(h.start)
	}
	c := info.Conn
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if counted, ok := c.(*countedConn); ok {
		h.conn = counted.connection
		h.conn.acquire()
		if !info.Reused && !info.WasIdle && info.Conn != net.Conn(counted) {
			h.conn.host.observe(phaseTLS, time.Since(h.conn.connected), currentProcessor())
		}
	}
}

// result returns what got was told, and hands over the connection.
func (h *hooks) result() (known bool, conn *connection) {
	h.mu.Lock()
	defer h.mu.Unlock()
	conn, h.conn = h.conn, nil
	return h.known, conn
}

// reset makes h ready for another request.
func (h *hooks) reset() {
	h.start, h.known, h.reused, h.waited, h.reusable = time.Time{}, false, false, 0, false
}
