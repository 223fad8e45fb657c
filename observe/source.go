package observe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// sources asks the functions that were given to Queue and Cache, every
// Config.Interval and never during a scrape: they may ask a server, and a
// server may not answer. It begins with the first of them.
type sources struct {
	tel      *Telemetry
	failures *vec[prometheus.Counter]
	ctx      context.Context
	stop     context.CancelFunc
	wg       sync.WaitGroup

	mu      sync.Mutex
	all     []asked
	running bool
	ended   bool
}

// asked is a source of any kind.
type asked interface{ ask(*sources) }

func newSources(t *Telemetry) *sources {
	s := &sources{tel: t, failures: t.metrics.counter(sourceFailures)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// add asks one at once, without waiting for its answer, and then again and again.
func (s *sources) add(one asked) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.all = append(s.all, one)
	if !s.running {
		s.running = true
		s.wg.Add(1)
		go s.run()
	}
	one.ask(s)
}

func (s *sources) remove(one asked) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = slices.DeleteFunc(s.all, func(a asked) bool { return a == one })
}

func (s *sources) run() {
	defer s.wg.Done()
	tick := time.NewTicker(s.tel.config.Interval)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		s.mu.Lock()
		all := slices.Clone(s.all)
		s.mu.Unlock()
		for _, one := range all {
			one.ask(s)
		}
	}
}

// end stops asking, and waits for the answers that are under way as long as ctx allows.
func (s *sources) end(ctx context.Context) error {
	s.stop()
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	gone := make(chan struct{})
	go func() { s.wg.Wait(); close(gone) }()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return errors.New("queues and caches: a function that was given to Queue or Cache does not heed its context")
	}
}

// A source is one function that tells the state of something.
type source[T any] struct {
	kind, name string
	read       func(context.Context) (T, error)

	mu    sync.Mutex
	busy  bool // it has not answered yet
	last  T
	known bool // last is the answer to the last question
	at    time.Time
}

// value is the last answer, unless the last question had none.
func (o *source[T]) value() (T, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last, o.known
}

// answered is when the last answer came.
func (o *source[T]) answered() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.at
}

// newest is when the last answer of any came.
func newest[T any](sources []*source[T]) (at time.Time) {
	for _, s := range sources {
		if t := s.answered(); t.After(at) {
			at = t
		}
	}
	return at
}

// ask asks on a goroutine of its own. While the last question has no answer
// there is no second one.
func (o *source[T]) ask(s *sources) {
	o.mu.Lock()
	busy := o.busy
	o.busy = true
	if busy {
		o.known = false
	}
	o.mu.Unlock()
	if busy {
		s.failed(o.kind, o.name, errors.New("it has not answered yet"))
		return
	}
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		// Less than the interval, so that one that heeds its context has answered when it is asked again.
		ctx, cancel := context.WithTimeout(s.ctx, s.tel.config.Interval*9/10)
		defer cancel()
		v, err := o.call(ctx)
		o.mu.Lock()
		o.busy = false
		o.last, o.known, o.at = v, err == nil, time.Now() // no value is better than an old one
		o.mu.Unlock()
		if err != nil {
			s.failed(o.kind, o.name, err)
		}
	}()
}

// call keeps a panic of the program's function from ending the process: no
// caller of its own could have recovered it here.
func (o *source[T]) call(ctx context.Context) (v T, err error) {
	returned := false
	defer func() {
		if p := recover(); !returned {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	v, err = o.read(ctx)
	returned = true
	return v, err
}

// failed counts and tells; it holds no lock, for the log handler may be anything.
func (s *sources) failed(kind, name string, err error) {
	if s.ctx.Err() != nil { // the end, not a failure
		return
	}
	n, _ := s.failures.with(kind, name)
	n.Inc()
	s.tel.warn("source "+kind+" "+name, "observe: the state of a "+kind+" is not known", kind, name, "err", oneLine(err.Error()))
}
