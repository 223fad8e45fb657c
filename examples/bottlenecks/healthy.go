package main

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/loadline-go/loadline/observe"
)

// What looks like trouble and is none: nobody is to be woken up for it.
var healthyPrograms = []program{
	{
		name: "traffic-ramp",
		what: "The morning's traffic comes: three times as many requests within some intervals.",
		seen: "everything grows in step, latency does not",
		world: func(w *world) (begin, end func()) {
			var stop chan struct{}
			var running sync.WaitGroup
			return func() {
					stop = make(chan struct{})
					running.Go(func() {
						for step := 1; step <= 20; step++ {
							w.did.Add(1)
							w.load.setRate(w.rate * (1 + float64(step)/10))
							select {
							case <-stop:
								return
							case <-time.After(w.interval / 5):
							}
						}
					})
				}, func() {
					close(stop)
					running.Wait()
					w.load.setRate(w.rate)
				}
		},
	},
	{
		name:      "warm-up",
		what:      "After a start the first requests are slow, because everything is loaded when it is first needed.",
		seen:      "the first seconds are slow, and then never again",
		fromStart: true,
		service: func(s *service, f *fault) {
			began := time.Now()
			s.on("", func(http.ResponseWriter, *http.Request) error {
				left := 2*s.Interval - time.Since(began)
				if f.ill.Load() && left > 0 {
					f.did.Add(1)
					burn(time.Duration(float64(4*time.Millisecond) * left.Seconds() / (2 * s.Interval).Seconds()))
				}
				return nil
			})
		},
	},
	{
		name: "cache-fill",
		what: "A cache is emptied once, as with a deployment, and fills again with the next requests.",
		seen: "the hit ratio dips for an interval and comes back",
		service: func(s *service, f *fault) {
			f.begin = func() {
				f.did.Add(1)
				s.prices.flush()
			}
		},
	},
	{
		name: "batch-job",
		what: "A nightly job uses half a core in small pieces, and no request is slower for it.",
		seen: "CPU is high, latency is what it was",
		service: func(s *service, f *fault) {
			background(f, 1, func(stop <-chan struct{}) {
				s.tel.Run(context.Background(), observe.Job{Name: "nightly"}, func(context.Context) error {
					for {
						f.did.Add(1)
						burn(time.Millisecond)
						select {
						case <-stop:
							return nil
						case <-time.After(time.Millisecond):
						}
					}
				})
			})
		},
	},
	{
		name: "gc-busy",
		what: "A job allocates a hundred megabytes a second and lets go of them at once: many collections, all of them cheap.",
		seen: "ten collections a second and more, latency is what it was",
		service: func(s *service, f *fault) {
			background(f, 1, func(stop <-chan struct{}) {
				for {
					f.did.Add(1)
					encodeWide(1 << 20)
					select {
					case <-stop:
						return
					case <-time.After(10 * time.Millisecond):
					}
				}
			})
		},
	},
	{
		name: "rare-report",
		what: "A report that takes two seconds by design is asked for about once a minute, and always was.",
		seen: "one request of two seconds now and then, of one route, as every day",
		service: func(s *service, f *fault) {
			s.route("GET /year", func(w http.ResponseWriter, r *http.Request) error {
				f.did.Add(1)
				select {
				case <-r.Context().Done():
				case <-time.After(2 * time.Second):
				}
				return nil
			})
		},
		world: func(w *world) (begin, end func()) {
			year := clientRoute{method: "GET", path: "/year"}
			return func() { w.ask(year) }, nil
		},
	},
	{
		name: "idle",
		what: "Nobody asks for anything.",
		seen: "nothing happens",
		world: func(w *world) (begin, end func()) {
			return func() {
					w.did.Add(1)
					w.load.setRate(0)
				}, func() {
					w.load.setRate(w.rate)
				}
		},
	},
	{
		name: "single-client",
		what: "There is one client, who waits for each answer before the next request.",
		seen: "a handful of requests a second, quick ones",
		rate: 5,
		world: func(w *world) (begin, end func()) {
			w.load.most = 1
			return func() { w.did.Add(1) }, nil
		},
	},
	{
		name: "long-poll",
		what: "Clients wait for news on a route that answers after a second and a half at most, and says that it is a stream.",
		seen: "many requests under way that take long, by design",
		service: func(s *service, f *fault) {
			s.route("GET /news", func(w http.ResponseWriter, r *http.Request) error {
				observe.SetStream(r.Context())
				f.sick()
				select {
				case <-r.Context().Done():
				case <-time.After(1500 * time.Millisecond):
				}
				return nil
			})
		},
		world: func(w *world) (begin, end func()) {
			news := clientRoute{method: "GET", path: "/news", weight: 10}
			w.load.add(news)
			more := news
			more.weight = 30
			return func() { w.load.add(more) }, func() { w.load.add(news) }
		},
	},
	{
		name: "busy-and-fine",
		what: "Requests compute in small pieces and use more than half of all cores, as planned, without waiting.",
		seen: "CPU is high, latency is low",
		service: func(s *service, f *fault) {
			each := time.Duration(float64(s.Cores) * 0.5 / usualRate * float64(time.Second) / 4)
			s.on("", func(http.ResponseWriter, *http.Request) error {
				if f.sick() {
					burn(each)
				}
				return nil
			})
		},
		world: func(w *world) (begin, end func()) {
			return func() { w.load.setRate(4 * w.rate) }, func() { w.load.setRate(w.rate) }
		},
	},
	{
		name: "many-timers",
		what: "Some hundred goroutines wake up every 20 ms, and no request is slower for it.",
		seen: "many goroutines and wake-ups, latency is what it was",
		service: func(s *service, f *fault) {
			n := 300
			if s.Small {
				n = 10
			}
			background(f, n, func(stop <-chan struct{}) {
				f.did.Add(1)
				lookForWork(stop, 20*time.Millisecond)
			})
		},
	},
	{
		name: "bad-requests",
		what: "A scanner asks for pages that do not exist, as often as all others ask for what does.",
		seen: "half of all answers are 404, which is right",
		world: func(w *world) (begin, end func()) {
			scan := clientRoute{method: "GET", path: "/wp-login.php", weight: 100}
			none := scan
			none.weight = 0
			return func() {
					w.did.Add(1)
					w.load.add(scan)
					w.load.setRate(2 * w.rate)
				}, func() {
					w.load.add(none)
					w.load.setRate(w.rate)
				}
		},
	},
	{
		name: "queue-burst",
		what: "A newsletter puts two hundred mails into the queue at once, which are sent within seconds.",
		seen: "the queue jumps and is empty again",
		service: func(s *service, f *fault) {
			m := newMails(s, f, nil)
			f.begin = func() {
				f.did.Add(1)
				m.add(200)
			}
		},
		world: mailsTake20ms,
	},
}
