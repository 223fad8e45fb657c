package observe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Serve listens on srv.Addr and serves until ctx ends or the process gets
// SIGINT or SIGTERM, and then ends in the one right order: /readyz fails, the
// load balancer gets Config.DrainDelay to notice, running requests get
// Config.ShutdownTimeout to finish, what is left is closed, and the telemetry
// of all that is sent last, by Shutdown. From then on these signals have their
// default effect again, for the whole program: a second one ends the process at
// once. TLS is used when srv.TLSConfig has certificates.
//
// Serve returns nil after an orderly end, also when somebody else shuts srv
// down. Telemetry that could not be sent is logged, not returned: a dead
// collector must not make the end of a service look like its failure; Shutdown,
// called again, returns it. A nil Telemetry serves and ends in the same order, unobserved, with the
// default times. The handler is not wrapped: that is Handler's job.
func (t *Telemetry) Serve(ctx context.Context, srv *http.Server) error {
	delay, timeout := time.Duration(0), 10*time.Second
	if t != nil {
		delay, timeout = t.config.DrainDelay, t.config.ShutdownTimeout
	}
	signals, stop := signal.NotifyContext(ctx, endSignals...)
	defer stop()
	addr := srv.Addr
	if addr == "" {
		addr = ":http"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return t.endWith(ctx, fmt.Errorf("observe: serve: %w", listenError(addr, err)))
	}
	served := make(chan error, 1)
	go func() {
		if srv.TLSConfig != nil && (len(srv.TLSConfig.Certificates) > 0 || srv.TLSConfig.GetCertificate != nil || srv.TLSConfig.GetConfigForClient != nil) {
			served <- srv.ServeTLS(l, "", "")
		} else {
			served <- srv.Serve(l)
		}
	}()

	var broke error
	select {
	case broke = <-served: // the listener broke, or somebody shut srv down; there may be requests running still
		t.Drain()
	case <-signals.Done():
		// Not stop, which would leave the program's own signal.NotifyContext, the
		// usual parent of ctx, to swallow the second signal.
		signal.Reset(endSignals...)
		t.Drain()
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
	return t.endWith(ctx, errors.Join(broke, endRequests(context.WithoutCancel(ctx), srv, timeout)))
}

var endSignals = []os.Signal{syscall.SIGINT, syscall.SIGTERM}

// endRequests lets running requests end, and cuts off those that do not in time.
func endRequests(ctx context.Context, srv *http.Server, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := srv.Shutdown(ctx)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		srv.Close()
		return fmt.Errorf("observe: serve: requests still running after %v were cut off", timeout)
	}
	return fmt.Errorf("observe: serve: %w", err)
}

// endWith ends the telemetry and returns err.
func (t *Telemetry) endWith(ctx context.Context, err error) error {
	if lost := t.Shutdown(context.WithoutCancel(ctx)); lost != nil {
		t.config.Logger.Warn("observe: not all telemetry was sent before the end", "err", oneLine(lost.Error()))
	}
	return err
}
