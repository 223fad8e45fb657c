package main

import (
	"net/http"
	"time"
)

// What goes wrong between the service and those it calls.
var dependencyPrograms = []program{
	{
		name:     "dependency-slow",
		what:     "A dependency takes 200 ms instead of 2.",
		seen:     "its calls are slow from connection to first byte; only the routes that call it are slow",
		causes:   []string{"dependency-slow"},
		subjects: []string{"stock.internal"},
		world: func(w *world) (begin, end func()) {
			d := w.deps["stock.internal"]
			return func() { d.slow.Store(int64(200 * time.Millisecond)) }, func() { d.slow.Store(0) }
		},
	},
	{
		name:     "dependency-failing",
		what:     "A dependency refuses six requests of ten, quickly.",
		seen:     "503 from one host, and as many errors of the routes that call it",
		causes:   []string{"dependency-failing"},
		subjects: []string{"stock.internal"},
		world: func(w *world) (begin, end func()) {
			d := w.deps["stock.internal"]
			return func() { d.fails.Store(60) }, func() { d.fails.Store(0) }
		},
	},
	{
		name:     "dependency-hanging",
		what:     "A dependency takes requests and does not answer them; their callers give up after ten seconds.",
		seen:     "requests pile up in calls of one host; none of them ends for a while",
		causes:   []string{"dependency-slow", "dependency-failing"},
		subjects: []string{"stock.internal"},
		world: func(w *world) (begin, end func()) {
			d := w.deps["stock.internal"]
			return func() { d.hang() }, func() { d.release() }
		},
	},
	{
		name:     "call-loop",
		what:     "A route asks a dependency for thirty things one by one, each as quick as ever.",
		seen:     "calls a request went from one to thirty",
		causes:   []string{"n-plus-one"},
		subjects: []string{"/search", "stock.internal"},
		service: func(s *service, f *fault) {
			s.on("/search", func(_ http.ResponseWriter, r *http.Request) error {
				n := 1
				if f.sick() {
					n = 30
				}
				for range n {
					if err := s.get(r.Context(), "http://stock.internal/item"); err != nil {
						return err
					}
				}
				return nil
			})
		},
	},
	{
		name:     "retry-storm",
		what:     "A dependency that fails is asked again up to eight times without a pause, which keeps it failing.",
		seen:     "four times as many calls as requests, most of them refused, and some requests fail at last",
		causes:   []string{"retry-storm"},
		subjects: []string{"tax.internal"},
		service: func(s *service, f *fault) {
			s.on("/orders", func(_ http.ResponseWriter, r *http.Request) (err error) {
				for range 8 {
					if err = s.get(r.Context(), "http://tax.internal/rate"); err == nil {
						return nil
					}
				}
				return err
			})
		},
		world: func(w *world) (begin, end func()) {
			d := w.deps["tax.internal"]
			return func() { d.fails.Store(80) }, func() { d.fails.Store(0) }
		},
	},
	{
		name:     "connection-churn",
		what:     "Connections to a distant dependency are no longer kept, so each call connects and shakes hands anew.",
		seen:     "as many new connections as calls; most of a call's time is its TLS handshake",
		causes:   []string{"connection-churn"},
		subjects: []string{"bank.example.com"},
		service: func(s *service, f *fault) {
			h := func(_ http.ResponseWriter, r *http.Request) error {
				req, err := http.NewRequestWithContext(r.Context(), "GET", "https://bank.example.com/balance", nil)
				if err != nil {
					return err
				}
				req.Close = f.sick()
				return s.do(req)
			}
			s.on("/orders", h)
			s.on("/price", h)
		},
	},
}
