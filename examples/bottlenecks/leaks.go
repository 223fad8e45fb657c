package main

import (
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/loadline-go/loadline/observe"
)

// What only grows.
var leakPrograms = []program{
	{
		name:      "goroutine-leak",
		what:      "Each request of a route leaves a goroutine behind that waits for ever.",
		seen:      "go_goroutines climbs; a goroutine dump has thousands in feed.subscribe",
		causes:    []string{"goroutine-leak"},
		subjects:  []string{"subscribe", "feed"},
		intervals: 25,
		config:    lookOften,
		service: func(s *service, f *fault) {
			feed := &feed{}
			s.on("/light", func(http.ResponseWriter, *http.Request) error {
				if f.sick() {
					feed.subscribe()
				}
				return nil
			})
			f.end = feed.end
		},
	},
	{
		name:      "heap-leak",
		what:      "A list keeps what each request brings and forgets nothing; GOMEMLIMIT is minutes away.",
		seen:      "the live heap climbs after each collection; a heap profile is all history.remember",
		causes:    []string{"heap-leak"},
		subjects:  []string{"remember", "history"},
		intervals: 25,
		config:    lookOften,
		service: func(s *service, f *fault) {
			h := &history{}
			limit := debug.SetMemoryLimit(600 << 20)
			f.close = func() { debug.SetMemoryLimit(limit) }
			s.on("/light", func(http.ResponseWriter, *http.Request) error {
				if f.sick() {
					h.remember(64 << 10)
				}
				return nil
			})
			f.end = h.forget
		},
	},
	{
		name:      "descriptor-leak",
		what:      "A route opens a file with each request and does not close it.",
		seen:      "lsof lists the same file more often each second",
		causes:    []string{"descriptor-leak"},
		intervals: 25,
		config:    lookOften,
		service: func(s *service, f *fault) {
			name := filepath.Join(s.Dir, "template")
			var mu sync.Mutex
			var open []*os.File // else the collector would close them
			s.on("/price", func(http.ResponseWriter, *http.Request) error {
				if !f.sick() {
					return nil
				}
				file, err := os.OpenFile(name, os.O_RDONLY|os.O_CREATE, 0o600)
				if err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				open = append(open, file)
				return nil
			})
			f.end = func() {
				mu.Lock()
				defer mu.Unlock()
				for _, file := range open {
					file.Close()
				}
				open = nil
			}
		},
	},
	{
		name:    "memory-near-limit",
		what:    "Memory outside of Go's heap takes the container to 96 % of its limit.",
		seen:    "memory.current is just below memory.max; the next burst ends in an OOM kill",
		causes:  []string{"memory-near-limit"},
		limited: true,
		cannot:  cannotLimit,
		service: func(s *service, f *fault) {
			size := 300 << 20
			if s.Small {
				size = 4 << 20
			}
			var held []byte
			f.begin = func() {
				if b, err := offHeap(size); err == nil {
					held = b
					f.did.Add(1)
				}
			}
			f.end = func() { freeOffHeap(held) }
		},
		world: func(w *world) (begin, end func()) {
			return func() {
				if w.small {
					return
				}
				used, err := w.cgroup.memory()
				w.note(err)
				w.note(w.cgroup.limitMemory(used * 100 / 96)) // the service is told first: it is in use already
			}, nil
		},
	},
}

// lookOften looks for leaks each second: a verdict takes a dozen looks.
func lookOften(_ *service, c *observe.Config) { c.Leaks.Interval = time.Second }

type feed struct {
	mu      sync.Mutex
	stop    chan struct{}
	waiting sync.WaitGroup
}

//go:noinline
func (f *feed) subscribe() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stop == nil {
		f.stop = make(chan struct{})
	}
	stop := f.stop
	f.waiting.Go(func() { <-stop })
}

func (f *feed) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stop != nil {
		close(f.stop)
		f.stop = nil
		f.waiting.Wait()
	}
}

type history struct {
	mu   sync.Mutex
	kept [][]byte
}

//go:noinline
func (h *history) remember(size int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept = append(h.kept, make([]byte, size))
}

func (h *history) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept = nil
}
