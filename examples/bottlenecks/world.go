package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"time"
)

// A world is all that is not the service: its database, its dependencies, the
// collector of its traces, and its clients. It is another process, so its CPU
// is not the service's.
type world struct {
	db        *database
	deps      map[string]*dependency // by the host's name
	collector *collector
	load      *load
	child     *child       // the service
	cgroup    *cgroup      // the service's
	did       atomic.Int64 // how often the illness had an effect out here
	cores     int
	small     bool // a test: everything with little work
	rate      float64
	interval  time.Duration
	started   func() // called when the load begins, may be nil

	mu  sync.Mutex
	err error // the first that an illness met out here
}

// note counts an effect out here, and keeps an error.
func (w *world) note(err error) {
	if err == nil {
		w.did.Add(1)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

func (w *world) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// ask sends one request beside the load.
func (w *world) ask(r clientRoute) {
	w.load.ended.Go(func() { w.load.get(context.Background(), &r) })
}

// jitter is d, give or take a fifth.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// A dependency is a service that the service calls.
type dependency struct {
	srv   *http.Server
	l     net.Listener
	serve chan struct{}

	takes    time.Duration
	size     int          // of the answer, in bytes
	slow     atomic.Int64 // nanoseconds that are added
	fails    atomic.Int64 // of 100 requests
	capacity atomic.Int64 // requests at once, above which it refuses; 0: no limit
	running  atomic.Int64
	hanging  atomic.Pointer[chan struct{}]
	did      atomic.Int64 // answers that were slowed or refused
	asked    atomic.Int64
}

func (d *dependency) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := d.asked.Add(1)
	defer d.running.Add(-1)
	if running, most := d.running.Add(1), d.capacity.Load(); most > 0 && running > most {
		d.did.Add(1)
		http.Error(w, "too busy", http.StatusServiceUnavailable)
		return
	}
	if d.fails.Load() > n*37%100 { // 37 and 100 have no common divisor: spread evenly
		d.did.Add(1)
		http.Error(w, "out of order", http.StatusServiceUnavailable)
		return
	}
	if end := d.hanging.Load(); end != nil {
		d.did.Add(1)
		select {
		case <-*end:
		case <-r.Context().Done():
		}
	}
	takes := jitter(d.takes)
	if s := d.slow.Load(); s > 0 {
		d.did.Add(1)
		takes += jitter(time.Duration(s))
	}
	time.Sleep(takes)
	w.Write(bytes.Repeat([]byte("x"), d.size))
}

// newDependency serves on a port of loopback; with TLS as far away as far says:
// each flight of a new connection takes that long.
func newDependency(takes time.Duration, size int, far time.Duration) (*dependency, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("dependency: %w", err)
	}
	d := &dependency{l: l, takes: takes, size: size, serve: make(chan struct{})}
	d.srv = &http.Server{Handler: d, ErrorLog: quiet}
	if far > 0 {
		l = tls.NewListener(farListener{l, far}, &tls.Config{Certificates: []tls.Certificate{certificate()}})
	}
	go func() {
		d.srv.Serve(l)
		close(d.serve)
	}()
	return d, nil
}

// hang answers no request until release.
func (d *dependency) hang() {
	end := make(chan struct{})
	d.hanging.Store(&end)
}

func (d *dependency) release() {
	if end := d.hanging.Swap(nil); end != nil {
		close(*end)
	}
}

func (d *dependency) close() {
	d.release()
	d.srv.Close()
	<-d.serve
}

// certificate is the one that package httptest has for localhost and example.com.
var certificate = sync.OnceValue(func() tls.Certificate {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.StartTLS()
	defer s.Close()
	return s.TLS.Certificates[0]
})

// A farListener's connections begin as slowly as those over a long way do: the
// first flights of the client arrive late.
type farListener struct {
	net.Listener
	flight time.Duration
}

func (l farListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &farConn{Conn: c, flight: l.flight, left: 2}, nil
}

type farConn struct {
	net.Conn
	flight time.Duration
	left   int // only the handshake's goroutine reads while there are some
}

func (c *farConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.left > 0 && n > 0 {
		c.left--
		time.Sleep(c.flight)
	}
	return n, err
}

// A collector takes traces, and does not while it is dead. Its address stays.
type collector struct {
	l     net.Listener
	srv   *http.Server
	ended chan struct{}
	dead  atomic.Bool
	lost  atomic.Int64 // requests that it did not answer
}

func newCollector() (*collector, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("collector: %w", err)
	}
	c := &collector{l: l, ended: make(chan struct{})}
	c.srv = &http.Server{ErrorLog: quiet, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if c.dead.Load() {
			c.lost.Add(1)
			panic(http.ErrAbortHandler) // the connection ends without an answer
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	})}
	go func() {
		c.srv.Serve(l)
		close(c.ended)
	}()
	return c, nil
}

func (c *collector) close() {
	c.srv.Close()
	<-c.ended
}

// quiet swallows what net/http says of connections that break: they do here.
var quiet = log.New(io.Discard, "", 0)

// newWorld starts all but the service and the load.
func newWorld(cores int, small bool) (w *world, err error) {
	w = &world{cores: cores, small: small, deps: map[string]*dependency{}, load: newLoad()}
	defer func() {
		if err != nil {
			w.close()
			w = nil
		}
	}()
	if w.db, err = newDatabase(); err != nil {
		return w, err
	}
	for name, d := range map[string]struct {
		takes time.Duration
		size  int
		far   time.Duration
	}{
		"stock.internal":   {2 * time.Millisecond, 200, 0},
		"rates.internal":   {3 * time.Millisecond, 100, 0},
		"tax.internal":     {5 * time.Millisecond, 300, 0},
		"mail.internal":    {5 * time.Millisecond, 50, 0},
		"bank.example.com": {5 * time.Millisecond, 100, 30 * time.Millisecond},
	} {
		if w.deps[name], err = newDependency(d.takes, d.size, d.far); err != nil {
			return w, err
		}
	}
	w.collector, err = newCollector()
	return w, err
}

// close ends all. The error is that the service did not end well.
func (w *world) close() (err error) {
	w.load.end()
	if w.child != nil {
		err = w.child.end()
	}
	w.cgroup.remove()
	for _, d := range w.deps {
		if d != nil {
			d.close()
		}
	}
	if w.collector != nil {
		w.collector.close()
	}
	if w.db != nil {
		w.db.close()
	}
	return err
}

// acts counts what happened out here because of an illness.
func (w *world) acts() int64 {
	n := w.did.Load() + w.db.slowed.Load() + w.collector.lost.Load()
	for _, d := range w.deps {
		n += d.did.Load()
	}
	return n
}

// hosts tells the service where the names are that it calls.
func (w *world) hosts() map[string]string {
	out := map[string]string{}
	for name, d := range w.deps {
		out[name] = d.l.Addr().String()
	}
	return out
}
