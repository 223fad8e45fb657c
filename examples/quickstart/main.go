// Quickstart is a small shop under its own load: everything that package
// observe shows of a service, within seconds, on a machine with nothing but Go.
//
//	go run ./examples/quickstart
//
// This file is the wiring and shop.go the service; the rest makes the load and
// prints what a client sees.
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
	"time"

	"github.com/loadline-go/loadline/observe"
)

// serve runs the shop until ctx ends or the process is told to stop.
func serve(ctx context.Context, o options, stdout, stderr io.Writer) error {
	config := observe.Config{
		Service: o.service, AdminAddr: o.admin,
		SLOs: []observe.SLO{ // what is promised: one answer in ten may be late, one order in twenty fail
			{Name: "prompt", Objective: 0.90, Latency: 300 * time.Millisecond},
			{Name: "orders", Route: "POST /orders", Objective: 0.95},
		},
	}
	if o.leak {
		config.Leaks.Interval = time.Second // a judgement takes ten looks and more
	}
	tel, err := observe.Start(ctx, config)
	if err != nil {
		return err
	}
	defer tel.Shutdown(ctx) // for the early returns: Serve does it too
	slog.SetDefault(slog.New(tel.LogHandler(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: o.level}))))

	db, closeDB, err := openDB(ctx, tel)
	if err != nil {
		return err
	}
	defer closeDB()
	pay, closePay, err := openProvider(tel, o.pay)
	if err != nil {
		return err
	}
	defer closePay()

	shop := newShop(tel, db, pay)
	shop.leak = o.leak
	tel.Check(observe.Check{Name: "orders-db", Probe: db.PingContext})
	srv := &http.Server{
		Addr:              freeAddr(o.addr, stdout),
		Handler:           tel.Handler(shop.routes()),
		ReadHeaderTimeout: 5 * time.Second,
	}
	drive := startDrive(srv, tel, o, stdout)
	return errors.Join(tel.Serve(ctx, srv), drive.end())
}

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) }

// run is main without the process: it returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "quickstart:", err)
		return 2
	}
	if o.run > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.run)
		defer cancel()
	}
	if err := serve(ctx, o, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "quickstart:", err)
		return 1
	}
	return 0
}
