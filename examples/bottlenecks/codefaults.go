package main

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// What a route's own code does, and what its clients do.
var codePrograms = []program{
	{
		name:     "slow-route",
		what:     "A route sleeps for 300 ms, between tries of something that is long done.",
		seen:     "only /report is slow; no CPU, no lock, no call explains it; a goroutine dump shows it in time.Sleep",
		causes:   []string{"slow-route"},
		subjects: []string{"/report", "waitForRender"},
		service: func(s *service, f *fault) {
			s.on("/report", func(http.ResponseWriter, *http.Request) error {
				if f.sick() {
					waitForRender(300 * time.Millisecond)
				}
				return nil
			})
		},
	},
	{
		name:     "slow-poll",
		what:     "A route asks every 100 ms whether something is done that is long done, and heeds its context meanwhile.",
		seen:     "only /report is slow; a goroutine dump shows it in a select, as if it waited for a worker",
		causes:   []string{"slow-route"},
		subjects: []string{"/report", "pollForRender"},
		service: func(s *service, f *fault) {
			s.on("/report", func(_ http.ResponseWriter, r *http.Request) error {
				if f.sick() {
					return pollForRender(r.Context(), 3)
				}
				return nil
			})
		},
	},
	{
		name:     "panic-loop",
		what:     "A route panics with every request.",
		seen:     "500 for all of /search, and a stack in the log for each",
		causes:   []string{"panic-loop"},
		subjects: []string{"/search"},
		service: func(s *service, f *fault) {
			s.on("/search", func(w http.ResponseWriter, r *http.Request) error {
				if f.sick() {
					var found []string
					io.WriteString(w, found[len(r.URL.Path)-len("/search")])
				}
				return nil
			})
		},
	},
	{
		name:     "route-failing",
		what:     "A route refuses nearly half of its requests by mistake, with an error of its own.",
		seen:     "500 from /report at once; nothing that it calls fails, nothing panics",
		causes:   []string{"route-failing"},
		subjects: []string{"/report"},
		service: func(s *service, f *fault) {
			var n atomic.Int64
			s.on("/report", func(w http.ResponseWriter, r *http.Request) error {
				if n.Add(1)%5 < 2 && f.sick() {
					http.Error(w, "the year is not valid", http.StatusInternalServerError)
					return errAnswered
				}
				return nil
			})
		},
	},
	{
		name:   "traffic-surge",
		what:   "Many times the usual requests come, more than the cores can serve; each costs what it always did.",
		seen:   "requests a second went up first, CPU a request did not; then every core is busy and all routes are slow",
		causes: []string{"traffic-surge", "cpu-saturated"},
		service: func(s *service, f *fault) {
			s.on("", func(http.ResponseWriter, *http.Request) error {
				burn(3 * time.Millisecond)
				return nil
			})
		},
		world: func(w *world) (begin, end func()) {
			surge := float64(w.cores) / 0.003 * 1.1
			if w.small {
				surge = 50
			}
			return func() {
					w.did.Add(1)
					w.load.setRate(surge)
				}, func() {
					w.load.setRate(w.rate)
				}
		},
	},
}

//go:noinline
func waitForRender(d time.Duration) { time.Sleep(d) }

//go:noinline
func pollForRender(ctx context.Context, times int) error {
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for range times {
		select {
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
