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
	confirmations = "confirmations" // the queue: the table of tasks
	queueSystem   = "sql"
	closing       = "close-day"

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
	stop := w.tel.Queue(confirmations, w.depth)
	for range hands {
		w.running.Go(func() { w.confirm(ctx) })
	}
	w.tel.Expect(closing, 3*reckon) // overdue when two were missed
	w.running.Go(func() { w.closeDays(ctx) })
	context.AfterFunc(ctx, stop)
}

func (w *worker) wait() { w.running.Wait() }

// depth tells how long the queue is, and how old.
func (w *worker) depth(ctx context.Context) (observe.Depth, error) {
	n, oldest, err := w.store.backlog(ctx)
	d := observe.Depth{Length: n, Consumers: hands}
	if n > 0 {
		d.Oldest = time.Since(oldest)
	}
	return d, err
}

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
		w.do(context.WithoutCancel(ctx), t)
	}
}

// do runs one task, as a job whose trace leads back to the request that paid.
// A task that fails is put back, and its failure is the job's.
func (w *worker) do(ctx context.Context, t task) {
	job := observe.Job{Name: "confirm", System: queueSystem, Queue: confirmations, Enqueued: t.enqueued, Attempt: t.attempt}
	w.tel.Run(tracing.Extract(ctx, t.headers), job, func(ctx context.Context) error {
		err := w.providers.mail(ctx, t.order)
		if err == nil {
			err = w.store.confirmed(ctx, t.order)
		}
		if err == nil {
			slog.InfoContext(ctx, "order confirmed", "order", t.order)
			return nil
		}
		slog.WarnContext(ctx, "the task is put back", "order", t.order, "attempt", t.attempt, "err", err)
		if err := w.store.again(ctx, t.order, patience<<min(t.attempt, 8)); err != nil {
			slog.ErrorContext(ctx, "the task waits for its lease to end", "order", t.order, "err", err)
		}
		return err
	})
}

// closeDays adds up the day every now and then.
func (w *worker) closeDays(ctx context.Context) {
	for ctx.Err() == nil {
		err := w.tel.Run(ctx, observe.Job{Name: closing}, func(ctx context.Context) error {
			return w.store.closeDay(ctx, time.Now())
		})
		if err != nil && ctx.Err() == nil {
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
