package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/loadline-go/loadline/observe"
	"github.com/loadline-go/loadline/tracing"
)

// A worker confirms paid orders by mail, and adds up the day now and then.
type worker struct {
	tel       *observe.Telemetry
	store     *store
	providers *providers
	running   sync.WaitGroup
}

const (
	hands    = 4 // tasks at once
	idle     = 100 * time.Millisecond
	reckon   = 2 * time.Second
	patience = 200 * time.Millisecond // after a first failure, then longer
)

func newWorker(tel *observe.Telemetry, store *store, providers *providers) *worker {
	return &worker{tel: tel, store: store, providers: providers}
}

// start works until ctx ends; wait waits for the tasks at hand.
func (w *worker) start(ctx context.Context) {
	for range hands {
		w.running.Go(func() { w.confirm(ctx) })
	}
	w.running.Go(func() { w.closeDays(ctx) })
}

func (w *worker) wait() { w.running.Wait() }

// confirm takes tasks until ctx ends. A task that was taken is finished.
func (w *worker) confirm(ctx context.Context) {
	for ctx.Err() == nil {
		t, ok, err := w.store.take(ctx)
		if err != nil && ctx.Err() == nil {
			slog.ErrorContext(ctx, "no task could be taken", "err", err)
		}
		if !ok {
			sleep(ctx, idle)
			continue
		}
		w.do(tracing.Extract(context.WithoutCancel(ctx), t.headers), t)
	}
}

// do runs one task, in a trace that leads back to the request that paid.
func (w *worker) do(ctx context.Context, t task) {
	err := tracing.Do(ctx, "confirm", func(ctx context.Context) error {
		if err := w.providers.mail(ctx, t.order); err != nil {
			return err
		}
		return w.store.confirmed(ctx, t.order)
	})
	if err == nil {
		return
	}
	slog.WarnContext(ctx, "the task is put back", "order", t.order, "attempt", t.attempt, "err", err)
	if err := w.store.again(ctx, t.order, patience<<min(t.attempt, 8)); err != nil {
		slog.ErrorContext(ctx, "the task waits for its lease to end", "order", t.order, "err", err)
	}
}

// closeDays adds up the day every now and then.
func (w *worker) closeDays(ctx context.Context) {
	for ctx.Err() == nil {
		if err := w.store.closeDay(ctx, time.Now()); err != nil && ctx.Err() == nil {
			slog.ErrorContext(ctx, "the day was not added up", "err", err)
		}
		sleep(ctx, reckon)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
