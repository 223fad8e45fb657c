package main

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// What waits for another goroutine.
var lockPrograms = []program{
	{
		name:     "lock-convoy",
		what:     "Every request computes for some milliseconds while it holds a lock that all share.",
		seen:     "goroutines queue in sync.Mutex.Lock; the mutex profile names ledger.post; only one core is busy",
		causes:   []string{"lock-contention"},
		subjects: []string{"ledger"},
		service: func(s *service, f *fault) {
			l := &ledger{}
			s.on("", func(http.ResponseWriter, *http.Request) error {
				d := 50 * time.Microsecond
				if f.sick() {
					d = 700 * time.Millisecond / usualRate
				}
				l.post(d)
				return nil
			})
		},
	},
	{
		name:     "lock-io",
		what:     "A request to a dependency, which is as fast as ever, is made while holding a lock that all requests take.",
		seen:     "goroutines queue in sync.Mutex.Lock while the holder waits for a socket; CPU is low, the dependency quick",
		causes:   []string{"lock-held-io"},
		subjects: []string{"taxBook"},
		world:    taxTakes8ms,
		service: func(s *service, f *fault) {
			b := &taxBook{s: s}
			s.on("", func(_ http.ResponseWriter, r *http.Request) error {
				if f.sick() {
					return b.fetchLocked(r.Context())
				}
				return b.fetch(r.Context())
			})
		},
	},
	{
		name:     "lock-writer",
		what:     "Settings are read anew again and again, from a slow place, while the lock is held that all readers take.",
		seen:     "goroutines queue in sync.RWMutex.RLock; the writer waits in settings.reload; CPU is low",
		causes:   []string{"lock-held-io", "lock-contention"},
		subjects: []string{"settings"},
		service: func(s *service, f *fault) {
			c := &settings{}
			s.on("", func(http.ResponseWriter, *http.Request) error {
				c.read()
				return nil
			})
			background(f, 1, func(stop <-chan struct{}) {
				for {
					f.did.Add(1)
					c.reload(250 * time.Millisecond)
					select {
					case <-stop:
						return
					case <-time.After(150 * time.Millisecond):
					}
				}
			})
		},
	},
	{
		name:     "worker-pool",
		what:     "A pool of sixteen workers has lost all but one, and every request needs one.",
		seen:     "goroutines queue in a channel operation of renderers.acquire; no lock, no CPU, and what the workers call is quick",
		causes:   []string{"backpressure"},
		subjects: []string{"renderers", "GET /", "POST /"},
		world:    taxTakes8ms,
		service: func(s *service, f *fault) {
			p := make(renderers, 16)
			s.on("", func(_ http.ResponseWriter, r *http.Request) error {
				if err := p.acquire(r.Context()); err != nil {
					return err
				}
				defer p.release()
				f.sick()
				return s.get(r.Context(), "http://tax.internal/render")
			})
			f.begin = func() {
				for range cap(p) - 1 {
					p.acquire(context.Background())
				}
			}
			f.end = func() {
				for range cap(p) - 1 {
					p.release()
				}
			}
		},
	},
	{
		name:     "logging-lock",
		what:     "What the log is written to has become slow, and the logger's lock is held meanwhile.",
		seen:     "goroutines queue in the lock of slog's handler; the holder waits in Write",
		causes:   []string{"logging-lock", "lock-held-io"},
		subjects: []string{"slog", "log"},
		service: func(s *service, f *fault) {
			r, w := io.Pipe()
			var reading sync.WaitGroup
			reading.Go(func() {
				for lines := bufio.NewScanner(r); lines.Scan(); {
					if f.sick() {
						time.Sleep(750 * time.Millisecond / usualRate)
					}
				}
			})
			f.close = func() {
				w.Close()
				reading.Wait()
			}
			logger := slog.New(s.tel.LogHandler(slog.NewJSONHandler(w, nil)))
			s.on("", func(_ http.ResponseWriter, r *http.Request) error {
				logger.InfoContext(r.Context(), "request", "path", r.URL.Path)
				return nil
			})
		},
	},
}

// taxTakes8ms lets one caller at a time serve nine tenths of the usual rate.
func taxTakes8ms(w *world) (begin, end func()) {
	w.deps["tax.internal"].takes = 8 * time.Millisecond
	return nil, nil
}

type ledger struct {
	mu    sync.Mutex
	posts int
}

//go:noinline
func (l *ledger) post(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	burn(d)
	l.posts++
}

type settings struct {
	mu    sync.RWMutex
	count int
}

//go:noinline
func (c *settings) read() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.count
}

//go:noinline
func (c *settings) reload(takes time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	time.Sleep(takes)
	c.count++
}

type taxBook struct {
	s  *service
	mu sync.Mutex
}

func (b *taxBook) fetch(ctx context.Context) error {
	return b.s.get(ctx, "http://tax.internal/book")
}

//go:noinline
func (b *taxBook) fetchLocked(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fetch(ctx)
}

// renderers are slots: who has put something in may render.
type renderers chan struct{}

//go:noinline
func (p renderers) acquire(ctx context.Context) error {
	select {
	case p <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p renderers) release() { <-p }
