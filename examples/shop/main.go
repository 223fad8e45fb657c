// Shop is a service as they are: a web process that takes orders, a worker that
// confirms them, a database between them, a cache, and the payment and mail
// providers of somebody else, all of it observed.
//
//	go run ./examples/shop                                        both in one process, under load
//	go run ./examples/shop -role web -database /tmp/shop.db       or each in its own
//	go run ./examples/shop -role worker -database /tmp/shop.db
//
// Read main.go for the wiring, web.go and worker.go for what a request and a
// task do, business.go for what the business wants to know. store.go is the
// SQL, providers.go the world outside, and the rest makes the load and prints.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/loadline-go/loadline/observe"
)

// serve runs a process of the shop until ctx ends or it is told to stop.
func serve(ctx context.Context, o options, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	tel, err := observe.Start(ctx, observe.Config{Service: o.service(), AdminAddr: o.admin})
	if err != nil {
		return err
	}
	defer tel.Shutdown(ctx) // for the early returns: Serve does it too
	slog.SetDefault(slog.New(tel.LogHandler(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: o.level}))))

	store, err := openStore(ctx, tel, o.database)
	if err != nil {
		return err
	}
	defer store.close()
	providers, err := openProviders(tel, o.providers)
	if err != nil {
		return err
	}
	defer providers.close()
	tel.Check(observe.Check{Name: "database", Probe: store.ping})

	if o.role == "worker" {
		return serveWorker(ctx, tel, o, store, providers, stdout)
	}
	web := newWeb(tel, store, providers)
	srv := &http.Server{Addr: freeAddr(o.addr, stdout), Handler: tel.Handler(web.routes()), ReadHeaderTimeout: 5 * time.Second}
	w := newWorker(tel, store, providers)
	if o.role == "all" {
		w.start(ctx)
	}
	drive := startDrive(srv, tel, store, o, stdout)
	err = tel.Serve(ctx, srv)
	w.wait()
	return errors.Join(err, drive.end())
}

// serveWorker is the whole of a process without a server: the admin address
// tells that it is alive and ready.
func serveWorker(ctx context.Context, tel *observe.Telemetry, o options, store *store, providers *providers, stdout io.Writer) error {
	places(tel, "", stdout)
	w := newWorker(tel, store, providers)
	w.start(ctx)
	<-ctx.Done()
	tel.Drain()
	w.wait()
	return tel.Shutdown(ctx)
}

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) }

// run is main without the process: it returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "shop:", err)
		return 2
	}
	if o.run > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.run)
		defer cancel()
	}
	if err := serve(ctx, o, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "shop:", err)
		return 1
	}
	return 0
}
