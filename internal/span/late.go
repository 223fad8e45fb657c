package span

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// Late says which refused traces are exported after all when their local root ends. The zero value takes the defaults.
type Late struct {
	Slow          time.Duration // a root that took this long or longer; default 1 s, negative: never
	Factor        float64       // or longer than its route's recent p99 times this; default 3, negative: never
	Budget        float64       // traces kept per second, and at once; default 100, negative: none are kept
	SpansPerTrace int           // spans remembered per trace; default 128
	Traces        int           // traces remembered at once; default 4096
}

const (
	defaultSlow          = time.Second
	defaultFactor        = 3
	defaultBudget        = 100
	defaultSpansPerTrace = 128
	defaultTraces        = 4096

	// relativeFloor is the least duration that counts as slow relative to the route: below it, one garbage collection
	// or one wait for a processor makes the difference, which is not the route's doing.
	relativeFloor = 10 * time.Millisecond
	// maxRoutes bounds the routes that have a p99 of their own; the rest share one.
	maxRoutes = 1024
)

// late holds the decision and its accounts.
type late struct {
	Late
	routes atomic.Pointer[map[string]*Pace]
	mu     sync.Mutex // writers of routes, and the budget
	rest   Pace

	onSlow func(root *Span, route string, took time.Duration)

	tokens float64
	filled time.Time

	kept       atomic.Int64 // traces exported late
	overBudget atomic.Int64 // traces that would have been
}

func (l *late) init(c Late) {
	if c.Slow == 0 {
		c.Slow = defaultSlow
	}
	if c.Factor == 0 {
		c.Factor = defaultFactor
	}
	if c.Budget == 0 {
		c.Budget = defaultBudget
	}
	if c.SpansPerTrace <= 0 {
		c.SpansPerTrace = defaultSpansPerTrace
	}
	if c.Traces <= 0 {
		c.Traces = defaultTraces
	}
	l.Late = c
	l.tokens = c.Budget
	l.routes.Store(new(map[string]*Pace))
	l.rest.shared = true
}

// judge decides the fate of a root that has ended: why it is to be kept although it was refused, or "".
func (l *late) judge(w *Pace, s *Span, o *Outcome) (reason string) {
	slow := !o.Stream && !o.Job && l.Slow > 0 && s.took >= l.Slow
	if !o.Stream && l.Factor > 0 {
		if s.took >= relativeFloor && !slow {
			bound := w.p99.Load()
			slow = bound > 0 && float64(s.took) > float64(bound)*l.Factor
		}
		if s.id[7]&7 == 0 || w.count.Load() < paceLearn {
			w.observe(s.took)
		}
	}
	marks := s.marks.Load()
	if slow && l.onSlow != nil {
		l.onSlow(s, routeOf(s, o), s.took)
	}
	switch {
	case o.Panicked:
		reason = "panic"
	case s.failed(o):
		reason = "error"
	case marks&markKeep != 0:
		reason = "marked"
	case slow:
		reason = "slow"
	}
	if reason == "" || s.mode&modeSampled != 0 {
		return ""
	}
	if !l.spend() {
		l.overBudget.Add(1)
		return ""
	}
	return reason
}

// routeOf groups roots: by the edge's route, or else by name.
func routeOf(s *Span, o *Outcome) string {
	if o.Route != "" {
		return o.Route
	}
	return s.name // nothing writes it after the end
}

// spend takes one trace out of the budget.
func (l *late) spend() bool {
	if l.Budget < 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if !l.filled.IsZero() {
		l.tokens = min(max(l.Budget, 1), l.tokens+now.Sub(l.filled).Seconds()*l.Budget)
	}
	l.filled = now
	if l.tokens < 1 {
		return false
	}
	l.tokens--
	return true
}

// Pace returns what is known of a route, for Outcome.Pace. A nil Provider knows nothing.
func (p *Provider) Pace(route string) *Pace {
	if p == nil {
		return nil
	}
	return p.late.pace(route)
}

func (l *late) pace(route string) *Pace {
	old := *l.routes.Load()
	if w := old[route]; w != nil {
		return w
	}
	if len(old) >= maxRoutes { // without the lock: from here on every unknown route comes this way
		return &l.rest
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	old = *l.routes.Load()
	if w := old[route]; w != nil {
		return w
	}
	if len(old) >= maxRoutes {
		return &l.rest
	}
	next := make(map[string]*Pace, len(old)+1)
	for k, v := range old {
		next[k] = v
	}
	w := new(Pace)
	next[route] = w
	l.routes.Store(&next)
	return w
}

// Pace knows how long a route recently took: a histogram of four buckets an octave whose counts are halved as it fills,
// so that it forgets. After the first 1024 observations it is given one in eight, chosen by a byte of the random span ID,
// so that cores rarely write the same line.
type Pace struct {
	// What every request reads has a cache line to itself.
	p99        atomic.Int64 // nanoseconds, the upper edge of the bucket; 0: not known yet
	slowest    atomic.Int64 // nanoseconds that a recent trace must exceed
	stale      atomic.Int64 // the second from which it need not: one of the slowest is too old
	lastFailed atomic.Int64 // the millisecond of the last failed trace that was copied
	ring       atomic.Pointer[ring]
	_          [24]byte

	count   atomic.Uint32
	buckets [256]atomic.Uint32
	mu      sync.Mutex

	account account
	shared  bool // by the routes beyond maxRoutes; constant
}

const (
	paceLearn  = 1024 // observations that all count
	paceRefine = 128  // observations between two calculations; also the fewest that make a p99: one of a hundred
	paceFull   = 8192 // observations remembered, then halved
)

func (w *Pace) observe(d time.Duration) {
	w.buckets[bucketOf(d)].Add(1)
	if n := w.count.Add(1); n%paceRefine == 0 && w.mu.TryLock() {
		w.refine()
		w.mu.Unlock()
	}
}

// bucketOf returns 4*octave + quarter.
func bucketOf(d time.Duration) int {
	n := uint64(max(d, 1))
	octave := bits.Len64(n) - 1
	quarter := 0
	if octave >= 2 {
		quarter = int(n>>(octave-2)) & 3
	}
	return octave*4 + quarter
}

// upperOf returns the first duration above bucket i.
func upperOf(i int) int64 {
	octave, quarter := i/4, i%4
	if octave < 2 {
		return 8
	}
	return int64(4+quarter+1) << (octave - 2)
}

func (w *Pace) refine() {
	total := uint32(0)
	for i := range w.buckets {
		total += w.buckets[i].Load()
	}
	rest := total / 100 // observations allowed above
	p99 := int64(0)
	for i := len(w.buckets) - 1; i >= 0; i-- {
		n := w.buckets[i].Load()
		if n > rest {
			p99 = upperOf(i)
			break
		}
		rest -= n
	}
	w.p99.Store(p99)
	if total < paceFull {
		return
	}
	for i := range w.buckets {
		// A count added between the two steps is lost, which a p99 can bear.
		w.buckets[i].Store(w.buckets[i].Load() / 2)
	}
}
