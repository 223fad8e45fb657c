package observe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/signal"
	"syscall"
	"time"
)

// Serve listens on srv.Addr and serves until ctx ends or the process gets
// SIGINT or SIGTERM, and then ends in the one right order: /readyz fails, the
// load balancer gets Config.DrainDelay to notice, running requests get
// Config.ShutdownTimeout to finish, what is left is closed, and the telemetry
// of all that is sent last, by Shutdown. A second signal ends the process at
// once. TLS is used when srv.TLSConfig has certificates.
//
// Serve returns nil after an orderly end. A nil Telemetry serves and ends in
// the same order, unobserved, with the default times. The handler is not
// wrapped: that is Handler's job.
func (t *Telemetry) Serve(ctx context.Context, srv *http.Server) error {
	delay, timeout := time.Duration(0), 10*time.Second
	if t != nil {
		delay, timeout = t.config.DrainDelay, t.config.ShutdownTimeout
	}
	addr := srv.Addr
	if addr == "" {
		addr = ":http"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return errors.Join(fmt.Errorf("observe: serve: %w", listenError(addr, err)), t.Shutdown(context.WithoutCancel(ctx)))
	}
	signals, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	served := make(chan error, 1)
	go func() {
		if srv.TLSConfig != nil && (len(srv.TLSConfig.Certificates) > 0 || srv.TLSConfig.GetCertificate != nil || srv.TLSConfig.GetConfigForClient != nil) {
			served <- srv.ServeTLS(l, "", "")
		} else {
			served <- srv.Serve(l)
		}
	}()

	select {
	case err := <-served: // the listener broke, or somebody shut srv down
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		} else {
			err = fmt.Errorf("observe: serve: %w", err)
		}
		return errors.Join(err, t.Shutdown(context.WithoutCancel(ctx)))
	case <-signals.Done():
	}
	stop() // from here on a second signal has its default effect: the process ends

	t.Drain()
	time.Sleep(delay)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	err = srv.Shutdown(end)
	if errors.Is(err, context.DeadlineExceeded) {
		srv.Close()
		err = fmt.Errorf("observe: serve: requests still running after %v were cut off", timeout)
	}
	<-served
	return errors.Join(err, t.Shutdown(context.WithoutCancel(ctx)))
}
