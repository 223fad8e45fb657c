package observe

import (
	"context"
	"io"
	"iter"
	"sync"
	"sync/atomic"
	"time"
)

// A Channel is a Go channel whose items and waits are counted, so that it is
// seen which side waits for the other: senders that wait mean that the
// receivers are too slow, receivers that wait that there is nothing to do. It
// is shown as the queue of its name. A Channel must be made by NewChannel. Its
// methods may be called concurrently.
type Channel[T any] struct {
	items chan T
	all   *channels // nil: off
}

// NewChannel makes a channel for capacity items, 0 for one that hands over
// without holding any. Name is one of few; channels of one name are added up. A
// negative capacity panics, as it does in make. With a nil Telemetry it is a
// channel that is not counted.
func NewChannel[T any](t *Telemetry, name string, capacity int) *Channel[T] {
	c := &Channel[T]{items: make(chan T, capacity)}
	if t != nil {
		c.all = t.queues.channels(name)
		c.all.open(c)
	}
	return c
}

// Send sends v, and waits while there is no room, until ctx ends: then it
// returns ctx.Err() and v is not sent. Where there is room it is sent whatever
// ctx says. Like a Go channel it panics after Close.
func (c *Channel[T]) Send(ctx context.Context, v T) error {
	select {
	case c.items <- v:
		c.all.didSend()
		return nil
	default:
	}
	if c.all != nil {
		began := c.all.now()
		c.all.sending.begin(began)
		defer func() { c.all.sending.end(began, c.all.now(), 0) }()
	}
	select {
	case c.items <- v:
		c.all.didSend()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Receive returns the next item, and waits for it until ctx ends: then it
// returns ctx.Err(). After Close, when all items are taken, it returns io.EOF.
func (c *Channel[T]) Receive(ctx context.Context) (v T, err error) {
	ok := false
	select {
	case v, ok = <-c.items:
		return c.received(v, ok)
	default:
	}
	if c.all != nil {
		began := c.all.now()
		c.all.receiving.begin(began)
		defer func() { c.all.receiving.end(began, c.all.now(), 0) }()
	}
	select {
	case v, ok = <-c.items:
		return c.received(v, ok)
	case <-ctx.Done():
		return v, ctx.Err()
	}
}

func (c *Channel[T]) received(v T, ok bool) (T, error) {
	if !ok {
		if c.all != nil {
			c.all.forget(c)
		}
		return v, io.EOF
	}
	if c.all != nil {
		c.all.taken.Add(1)
	}
	return v, nil
}

// All returns the items until Close or until ctx ends.
//
//	for job := range jobs.All(ctx) { ... }
func (c *Channel[T]) All(ctx context.Context) iter.Seq[T] {
	return func(yield func(T) bool) {
		for {
			v, err := c.Receive(ctx)
			if err != nil || !yield(v) {
				return
			}
		}
	}
}

// Close says that nothing is sent any more; what was sent can still be
// received. A second call panics, as it does for a Go channel.
func (c *Channel[T]) Close() {
	close(c.items)
	if c.all != nil && len(c.items) == 0 {
		c.all.forget(c)
	}
}

func (c *Channel[T]) fill() (length, capacity int) { return len(c.items), cap(c.items) }

// channels are those of one name. Their totals outlive them.
type channels struct {
	started            time.Time
	sending, receiving waits
	added              atomic.Int64
	_                  [56]byte // senders and receivers are on different processors
	taken              atomic.Int64

	mu  sync.Mutex
	all map[filled]struct{}
}

type filled interface{ fill() (length, capacity int) }

// channels returns those of a name.
func (qs *queues) channels(name string) *channels {
	q := qs.named(name)
	q.mu.Lock()
	c, first := q.channels, q.channels == nil
	if first {
		c = &channels{started: qs.tel.started, all: map[filled]struct{}{}}
		q.channels = c
	}
	q.mu.Unlock()
	if first {
		qs.watch(q.name, c.depth)
	}
	return c
}

func (c *channels) open(one filled) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all[one] = struct{}{}
}

func (c *channels) forget(one filled) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.all, one)
}

// now is the time since the start, by the monotonic clock.
func (c *channels) now() time.Duration { return time.Since(c.started) }

func (c *channels) didSend() {
	if c != nil {
		c.added.Add(1)
	}
}

func (c *channels) depth(context.Context) (d Depth, err error) {
	d.Taken = c.taken.Load() // before Added: nothing is taken that was not added
	c.mu.Lock()
	for one := range c.all {
		length, capacity := one.fill()
		d.Length += int64(length)
		d.Capacity += int64(capacity)
	}
	c.mu.Unlock()
	d.Added = c.added.Load()
	return d, nil
}
