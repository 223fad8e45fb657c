package observe

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Depth is the state of a queue at one moment. A field that is zero, and
// always has been, is taken for one that is not known, and shows nothing;
// Length is always shown.
type Depth struct {
	// Length is how many items wait.
	Length int64

	// Capacity is how many may.
	Capacity int64

	// Unacked is how many items were handed out and are not done, where the
	// queue knows: RabbitMQ's unacknowledged, Redis' pending.
	Unacked int64

	// Consumers is how many take from the queue.
	Consumers int64

	// Oldest is how long the first of those that wait has been waiting.
	Oldest time.Duration

	// Added and Taken are how many items have ever been put into the queue and
	// taken from it: totals that only grow. Their rates are those of arrival and
	// service.
	Added, Taken int64
}

// Queue watches a queue: depth is called every Config.Interval, and once at
// first, on a goroutine of its own and never by a scrape, so it may ask a
// server. Its context ends before the next call. When it fails, panics or has
// not answered, the queue's values are absent until it does again, the failure
// is counted in observe_source_failures_total and logged at most once a minute.
//
//	stop := tel.Queue("orders", func(ctx context.Context) (observe.Depth, error) {
//		n, err := rdb.LLen(ctx, "orders").Result()
//		return observe.Depth{Length: n}, err
//	})
//
// Name is one of few. Queues of one name are added up, of their oldest items
// the oldest counts. Instances of a service that watch the same queue of a
// server each tell all of it: take the maximum over instances, not the sum.
//
// The function that is returned ends it; a second call does nothing. A nil
// Telemetry, or a nil depth, watches nothing.
func (t *Telemetry) Queue(name string, depth func(context.Context) (Depth, error)) (stop func()) {
	if t == nil || depth == nil {
		return func() {}
	}
	return t.queues.watch(name, depth)
}

// queues shows the last known depths at the scrape.
type queues struct {
	tel   *Telemetry
	names *vec[*namedQueue]

	mu  sync.Mutex
	all map[string]*namedQueue

	length, capacity, unacked, consumers, oldest, added, taken, blocked *prometheus.Desc
}

// namedQueue is all that was registered under one name.
type namedQueue struct {
	name     string
	channels *channels // those of NewChannel; nil: none

	mu      sync.Mutex
	sources []*source[Depth]
	seen    Depth // what was ever not zero
}

func newQueues(t *Telemetry) *queues {
	q := &queues{
		tel: t, all: map[string]*namedQueue{},
		length: desc(queueLength), capacity: desc(queueCapacity), unacked: desc(queueUnacked), consumers: desc(queueConsumers),
		oldest: desc(queueOldest), added: desc(queueAdded), taken: desc(queueTaken), blocked: desc(queueBlocked),
	}
	q.names = newVec(t.metrics, queueLength, q.add)
	t.metrics.register(queueLength, q)
	return q
}

// named finds a queue by name. Names without number share the one called "other".
func (qs *queues) named(name string) *namedQueue {
	q, _ := qs.names.with(clip(name, maxName))
	return q
}

// add makes the queue of a name that has been admitted.
func (qs *queues) add(names ...string) *namedQueue {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	q, ok := qs.all[names[0]]
	if !ok {
		q = &namedQueue{name: names[0]}
		qs.all[q.name] = q
	}
	return q
}

func (qs *queues) watch(name string, depth func(context.Context) (Depth, error)) (stop func()) {
	q := qs.named(name)
	s := &source[Depth]{kind: "queue", name: q.name, read: depth}
	q.mu.Lock()
	q.sources = append(q.sources, s)
	q.mu.Unlock()
	qs.tel.sources.add(s)
	return func() {
		qs.tel.sources.remove(s)
		q.mu.Lock()
		defer q.mu.Unlock()
		q.sources = slices.DeleteFunc(q.sources, func(o *source[Depth]) bool { return o == s })
	}
}

// depth adds up what is known; ok is false when nothing is. Seen tells which
// fields mean something.
func (q *namedQueue) depth() (sum, seen Depth, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, s := range q.sources {
		d, known := s.value()
		if !known {
			continue
		}
		ok = true
		sum.Length += d.Length
		sum.Capacity += d.Capacity
		sum.Unacked += d.Unacked
		sum.Consumers += d.Consumers
		sum.Added += d.Added
		sum.Taken += d.Taken
		sum.Oldest = max(sum.Oldest, d.Oldest)
	}
	q.seen.Capacity |= sum.Capacity
	q.seen.Unacked |= sum.Unacked
	q.seen.Consumers |= sum.Consumers
	q.seen.Added |= sum.Added
	q.seen.Taken |= sum.Taken
	q.seen.Oldest |= sum.Oldest
	return sum, q.seen, ok
}

// answered is when the last depth came.
func (q *namedQueue) answered() time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	return newest(q.sources)
}

// list returns the queues by name, so that it does not depend on the moment.
func (qs *queues) list() []*namedQueue {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	return slices.SortedFunc(maps.Values(qs.all), func(a, b *namedQueue) int { return strings.Compare(a.name, b.name) })
}

// channel returns the channels of that name, nil where there are none.
func (q *namedQueue) channel() *channels {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.channels
}

// Describe implements prometheus.Collector.
func (qs *queues) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{qs.length, qs.capacity, qs.unacked, qs.consumers, qs.oldest, qs.added, qs.taken, qs.blocked} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (qs *queues) Collect(ch chan<- prometheus.Metric) {
	for _, q := range qs.list() {
		send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, kind, v, append([]string{q.name}, labels...)...)
		}
		if d, seen, ok := q.depth(); ok {
			send(qs.length, prometheus.GaugeValue, float64(d.Length))
			for _, f := range []struct {
				desc    *prometheus.Desc
				kind    prometheus.ValueType
				v, seen int64
				unit    float64
			}{
				{qs.capacity, prometheus.GaugeValue, d.Capacity, seen.Capacity, 1},
				{qs.unacked, prometheus.GaugeValue, d.Unacked, seen.Unacked, 1},
				{qs.consumers, prometheus.GaugeValue, d.Consumers, seen.Consumers, 1},
				{qs.oldest, prometheus.GaugeValue, int64(d.Oldest), int64(seen.Oldest), 1e9},
				{qs.added, prometheus.CounterValue, d.Added, seen.Added, 1},
				{qs.taken, prometheus.CounterValue, d.Taken, seen.Taken, 1},
			} {
				if f.seen != 0 {
					send(f.desc, f.kind, float64(f.v)/f.unit)
				}
			}
		}
		if c := q.channel(); c != nil {
			now := c.now()
			send(qs.blocked, prometheus.CounterValue, c.sending.seconds(now), "send")
			send(qs.blocked, prometheus.CounterValue, c.receiving.seconds(now), "receive")
		}
	}
}
