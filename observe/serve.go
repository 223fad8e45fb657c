package observe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Serve listens on srv.Addr and serves until ctx ends or the process gets
// SIGINT or SIGTERM, and then ends in the one right order: /readyz fails, the
// load balancer gets Config.DrainDelay to notice, running requests and the jobs
// of Run get Config.ShutdownTimeout to finish, what is left is closed, and the telemetry
// of all that is sent last, by Shutdown. From then on these signals have their
// default effect again, for the whole program: a second one ends the process at
// once. TLS is used when srv.TLSConfig has certificates.
//
// During the delay each answer ends its connection (Connection: close, GOAWAY):
// a client that keeps one open moves to another instance between two requests
// and not in the middle of one. What is running is logged when the end begins,
// every 5 s, and when it is over.
//
// More servers, such as one for internal clients, begin and end with the first.
// Serve sets the Handler and ConnState of each, keeping what was there; the
// handler is not observed by that: this is Handler's job. BaseContext of a
// server is told the listener, and so the port that an Addr ":0" got.
//
// The service manager whose socket NOTIFY_SOCKET names, such as systemd with
// Type=notify, is told when all servers listen (READY=1), when the end begins
// (STOPPING=1), and that the process is alive, when it asks for that with
// WATCHDOG_USEC (WATCHDOG=1).
//
// Serve returns nil after an orderly end, also when somebody else shuts srv
// down. Telemetry that could not be sent is logged, not returned: a dead
// collector must not make the end of a service look like its failure; Shutdown,
// called again, returns it. A nil Telemetry serves and ends in the same order, unobserved, with the
// default times.
func (t *Telemetry) Serve(ctx context.Context, srv *http.Server, more ...*http.Server) error {
	return t.serve(ctx, nil, append([]*http.Server{srv}, more...))
}

// ServeListener is Serve on a listener of the program's own, such as a Unix
// socket or one that systemd hands down; more listen on their own Addr. It
// closes l in the end, also when it fails.
func (t *Telemetry) ServeListener(ctx context.Context, l net.Listener, srv *http.Server, more ...*http.Server) error {
	return t.serve(ctx, l, append([]*http.Server{srv}, more...))
}

func (t *Telemetry) serve(ctx context.Context, first net.Listener, servers []*http.Server) error {
	delay, timeout := time.Duration(0), 10*time.Second
	if t != nil {
		delay, timeout = t.config.DrainDelay, t.config.ShutdownTimeout
	}
	signals, stop := signal.NotifyContext(ctx, endSignals...)
	defer stop()
	listeners, err := listen(first, servers)
	if err != nil {
		return t.endWith(ctx, fmt.Errorf("observe: serve: %w", err))
	}
	leaving := new(atomic.Bool)
	served := make(chan error, len(servers))
	for i, srv := range servers {
		l := listeners[i]
		if t != nil {
			t.listeners.follow(srv, l)
		}
		srv.Handler = &leaver{leaving: leaving, next: srv.Handler}
		go func() {
			if srv.TLSConfig != nil && (len(srv.TLSConfig.Certificates) > 0 || srv.TLSConfig.GetCertificate != nil || srv.TLSConfig.GetConfigForClient != nil) {
				served <- srv.ServeTLS(l, "", "")
			} else {
				served <- srv.Serve(l)
			}
		}()
	}
	manager := newManager()
	if err := manager.tell("READY=1"); err != nil && t != nil {
		t.config.Logger.Warn("observe: serve: the service manager cannot be told", "socket", manager.socket, "err", err)
	}
	defer manager.watch()()

	var broke error
	select {
	case broke = <-served: // the listener broke, or somebody shut srv down; there may be requests running still
		manager.tell("STOPPING=1")
		leaving.Store(true)
		t.Drain()
		t.logRunning("observe: a server has ended: ending", "err", broke)
	case <-signals.Done():
		// Not stop, which would leave the program's own signal.NotifyContext, the
		// usual parent of ctx, to swallow the second signal.
		signal.Reset(endSignals...)
		manager.tell("STOPPING=1")
		leaving.Store(true)
		t.Drain()
		t.logRunning("observe: ending", "cause", oneLine(context.Cause(signals).Error()), "delay", delay, "timeout", timeout)
		wait := time.NewTimer(delay)
		select {
		case broke = <-served:
		case <-wait.C:
		}
		wait.Stop()
	}
	if errors.Is(broke, http.ErrServerClosed) {
		broke = nil
	} else if broke != nil {
		broke = fmt.Errorf("observe: serve: %w", broke)
	}
	deadline := time.Now().Add(timeout)
	err = errors.Join(broke, t.endRequests(context.WithoutCancel(ctx), servers, timeout))
	t.endJobs(deadline)
	return t.endWith(ctx, err)
}

var endSignals = []os.Signal{syscall.SIGINT, syscall.SIGTERM}

// listen opens a listener for each server, or none: first, when it is given, is
// that of the first server.
func listen(first net.Listener, servers []*http.Server) (all []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range all {
				l.Close()
			}
		}
	}()
	if first != nil {
		all = append(all, first)
		servers = servers[1:]
	}
	for _, srv := range servers {
		addr := srv.Addr
		if addr == "" {
			addr = ":http"
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return all, listenError(addr, err)
		}
		all = append(all, l)
	}
	return all, nil
}

// leaver asks clients to leave while the service ends. http.Server can do it
// only by closing idle connections at once, into which a client may be sending
// its next request right then.
type leaver struct {
	leaving *atomic.Bool
	next    http.Handler
}

func (l *leaver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if l.leaving.Load() && r.Header["Upgrade"] == nil { // an upgrade needs its own Connection header, and ends the connection's life as one of requests
		w.Header().Set("Connection", "close")
	}
	if l.next == nil {
		http.DefaultServeMux.ServeHTTP(w, r)
		return
	}
	l.next.ServeHTTP(w, r)
}

// tellRunning is how often the log says what an end waits for.
const tellRunning = 5 * time.Second

// endRequests lets running requests end, and cuts off those that do not in time.
func (t *Telemetry) endRequests(ctx context.Context, servers []*http.Server, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	began := time.Now()
	errs := make([]error, len(servers))
	var wg sync.WaitGroup
	for i, srv := range servers {
		wg.Go(func() { errs[i] = srv.Shutdown(ctx) })
	}
	ended := make(chan struct{})
	go func() { wg.Wait(); close(ended) }()
	tick := time.NewTicker(tellRunning)
	defer tick.Stop()
	for waiting := true; waiting; {
		select {
		case <-ended:
			waiting = false
		case <-tick.C:
			t.logRunning("observe: waiting for requests to end")
		}
	}
	cut := false
	for i, err := range errs {
		switch {
		case err == nil:
		case ctx.Err() != nil && errors.Is(err, ctx.Err()):
			if !cut {
				t.logRunning("observe: cutting off requests", "timeout", timeout)
			}
			cut, errs[i] = true, nil
			servers[i].Close()
		default:
			errs[i] = fmt.Errorf("observe: serve: %w", err)
		}
	}
	if cut {
		errs = append(errs, fmt.Errorf("observe: serve: requests still running after %v were cut off", timeout))
	} else {
		t.logRunning("observe: all requests have ended", "took", time.Since(began).Round(time.Millisecond))
	}
	return errors.Join(errs...)
}

// logRunning logs how many requests the Handlers are serving and how many
// connections have one.
func (t *Telemetry) logRunning(msg string, args ...any) {
	if t == nil {
		return
	}
	busy := 0
	for _, c := range t.listeners.all() {
		busy += c.count()[http.StateActive]
	}
	t.config.Logger.Info(msg, append([]any{"requests", t.server.running(), "busy_connections", busy}, args...)...)
}

// endWith ends the telemetry and returns err.
func (t *Telemetry) endWith(ctx context.Context, err error) error {
	if lost := t.Shutdown(context.WithoutCancel(ctx)); lost != nil {
		t.config.Logger.Warn("observe: not all telemetry was sent before the end", "err", oneLine(lost.Error()))
	}
	return err
}
