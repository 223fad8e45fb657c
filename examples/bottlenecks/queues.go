package main

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/loadline-go/loadline/observe"
)

// Queues, channels and caches.
var queuePrograms = []program{
	{
		name:     "queue-growing",
		what:     "Each order now sends thirty mails, more than the workers can.",
		seen:     "the queue's length grows by the difference of arrival and service, all workers are busy, mails come late",
		causes:   []string{"queue-growing"},
		subjects: []string{"mails"},
		service: func(s *service, f *fault) {
			m := newMails(s, f, nil)
			s.on("/orders", func(http.ResponseWriter, *http.Request) error {
				n := 1
				if f.sick() {
					n = 30
				}
				m.add(n)
				return nil
			})
		},
		world: mailsTake20ms,
	},
	{
		name:     "queue-stalled",
		what:     "The workers of a queue are stuck, and nobody takes from it.",
		seen:     "nothing is taken from the queue while items arrive; the oldest is as old as the trouble",
		causes:   []string{"queue-stalled"},
		subjects: []string{"mails"},
		service: func(s *service, f *fault) {
			var stuck chan struct{}
			m := newMails(s, f, func() {
				if f.sick() {
					<-stuck
				}
			})
			f.begin = func() { stuck = make(chan struct{}) }
			f.end = func() { close(stuck) }
			s.on("/orders", func(http.ResponseWriter, *http.Request) error {
				m.add(1)
				return nil
			})
		},
		world: mailsTake20ms,
	},
	{
		name:     "channel-full",
		what:     "Every request puts a record into a channel whose reader has become slow.",
		seen:     "goroutines queue in a channel's send, the channel is full, the reader always busy",
		causes:   []string{"backpressure"},
		subjects: []string{"audit"},
		service: func(s *service, f *fault) {
			c := observe.NewChannel[string](s.tel, "audit", 16)
			var reading sync.WaitGroup
			ctx, stop := context.WithCancel(context.Background())
			reading.Go(func() {
				for range c.All(ctx) {
					if f.sick() {
						time.Sleep(1050 * time.Millisecond / usualRate)
					}
				}
			})
			f.close = func() {
				stop()
				reading.Wait()
			}
			s.on("", func(_ http.ResponseWriter, r *http.Request) error { return c.Send(r.Context(), r.URL.Path) })
		},
	},
	{
		name:     "cache-collapse",
		what:     "A cache forgets everything at once, again and again, and each price comes from the database.",
		seen:     "the hit ratio fell from 1 to 0; the database is asked for prices as often as /price is",
		causes:   []string{"cache-collapse"},
		subjects: []string{"prices"},
		service: func(s *service, f *fault) {
			s.on("/price", func(http.ResponseWriter, *http.Request) error {
				if f.sick() {
					s.prices.flush()
				}
				return nil
			})
		},
		world: func(w *world) (begin, end func()) {
			w.db.tables["prices"] = table{80 * time.Millisecond, 1}
			return nil, nil
		},
	},
}

func mailsTake20ms(w *world) (begin, end func()) {
	w.deps["mail.internal"].takes = 20 * time.Millisecond
	return nil, nil
}

// mails is a queue in memory with four workers, who send 200 a second at most.
type mails struct {
	s      *service
	before func() // a worker takes the next, may be nil

	mu           sync.Mutex
	waiting      []time.Time
	added, taken int64
	come         chan struct{} // has one when there may be some
}

func newMails(s *service, f *fault, before func()) *mails {
	m := &mails{s: s, before: before, come: make(chan struct{}, 1)}
	stopWatch := s.tel.Queue("mails", func(context.Context) (observe.Depth, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		d := observe.Depth{Length: int64(len(m.waiting)), Consumers: 4, Added: m.added, Taken: m.taken}
		if len(m.waiting) > 0 {
			d.Oldest = time.Since(m.waiting[0])
		}
		return d, nil
	})
	ctx, stop := context.WithCancel(context.Background())
	var working sync.WaitGroup
	for range 4 {
		working.Go(func() { m.work(ctx) })
	}
	f.close = func() {
		stop()
		working.Wait()
		stopWatch()
	}
	return m
}

func (m *mails) add(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range n {
		m.waiting = append(m.waiting, time.Now())
	}
	m.added += int64(n)
	m.wake()
}

func (m *mails) wake() {
	select {
	case m.come <- struct{}{}:
	default:
	}
}

func (m *mails) work(ctx context.Context) {
	for {
		if m.before != nil {
			m.before()
		}
		m.mu.Lock()
		var since time.Time
		if len(m.waiting) > 0 {
			since, m.waiting = m.waiting[0], m.waiting[1:]
			m.taken++
		}
		if len(m.waiting) > 0 {
			m.wake()
		}
		m.mu.Unlock()
		if since.IsZero() {
			select {
			case <-ctx.Done():
				return
			case <-m.come:
			}
			continue
		}
		if ctx.Err() != nil {
			return
		}
		m.s.tel.Run(ctx, observe.Job{Name: "send-mail", Queue: "mails", Enqueued: since}, func(ctx context.Context) error {
			return m.s.get(ctx, "http://mail.internal/send")
		})
	}
}
