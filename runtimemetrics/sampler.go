package runtimemetrics

import (
	"context"
	"iter"
	"log/slog"
	"sync"
	"time"
)

// A Sampler reads the process at regular times, keeps the last readings and
// probes how late the process wakes up. The zero Sampler is ready to Run. Its
// methods may be called concurrently with Run; on a nil Sampler they do nothing
// and know nothing.
//
// Run uses one goroutine, the caller's. A Sampler must not be copied after its
// first use.
type Sampler struct {
	// Interval is the time between samples. Default 5 s.
	Interval time.Duration

	// Keep is the number of snapshots kept, at 5 KiB each. Default 61, which
	// with the default interval is five minutes.
	Keep int

	// Probe is the mean time between two wake-up probes, jittered by a half.
	// After one that was more than 10 ms late they come five times denser for 2 s,
	// at most for 10 s on end and a tenth of the time. Negative is off. Default
	// 250 ms: a wake-up costs 0.1 ms of CPU on a virtual machine, and six a second,
	// the most there can be for long, stay below 0.1 % of one.
	Probe time.Duration

	// MemoryLimitShare, when above 0, keeps GOMEMLIMIT at this share of the
	// cgroup's memory limit, also when that changes; 0.9 leaves a tenth to what
	// the runtime does not count. It is the program's limit that counts: where
	// GOMEMLIMIT is set in the environment or debug.SetMemoryLimit was called,
	// then or later, nothing is done. The last limit stays when Run ends.
	// Default 0, GOMEMLIMIT is left alone.
	MemoryLimitShare float64

	// OnSample, when set, is called in Run's goroutine after each sample but
	// the first. It must not block: it delays samples and probes. Default none.
	OnSample func(Delta)

	mu     sync.Mutex
	ring   []Snapshot
	next   int // where the next snapshot goes
	filled int
	wakeup Distribution
	cost   samplerCost
	reader *reader // Run's, which a Collector shares
}

// samplerCost is what Run did, and the time it was awake for it.
type samplerCost struct {
	running           bool
	sampling, probing time.Duration
	samples, probes   uint64
}

const (
	defaultInterval = 5 * time.Second
	defaultKeep     = 61
	defaultProbe    = 250 * time.Millisecond
)

// Run samples until ctx is done. The first sample is taken at once, the last
// when ctx ends. On Linux Run holds about twenty descriptors of /proc and the
// cgroup meanwhile, and one for each thread up to 64. A Sampler runs once: a
// second Run is the program's mistake and panics.
func (s *Sampler) Run(ctx context.Context) {
	if s == nil {
		return
	}
	interval, probe := s.begin()
	r := newReader(true)
	defer r.close()
	s.mu.Lock()
	s.reader = r
	s.mu.Unlock()
	limit := memoryLimiter{share: s.MemoryLimitShare}
	s.sample(r)
	limit.follow(s.last())
	if bad := r.missing(); len(bad) > 0 {
		slog.Debug("runtimemetrics: not available here, so left out", "sources", bad)
	}

	now := time.Now()
	nextSample := now.Add(interval)
	timer := time.NewTimer(interval)
	defer timer.Stop()
	for {
		wake, weight := nextSample, uint64(0)
		if probe.mean > 0 {
			var at time.Time
			if at, weight = probe.next(now); at.Before(wake) {
				wake = at
			}
		}
		timer.Reset(wake.Sub(now))
		select {
		case <-ctx.Done():
			s.sample(r)
			return
		case <-timer.C:
		}
		now = time.Now()
		if probe.mean > 0 {
			// The timer of a sample is as good a probe as any.
			late := now.Sub(wake)
			probe.woke(now, late)
			s.probed(late, weight)
		}
		if now.Before(nextSample) {
			s.spent(&s.cost.probing, now)
			continue
		}
		s.sample(r)
		limit.follow(s.last())
		s.report()
		s.spent(&s.cost.sampling, now)
		// Samples missed while the process stood still are gone.
		now = time.Now()
		for !nextSample.After(now) {
			nextSample = nextSample.Add(interval)
		}
	}
}

// begin fills in the defaults and makes the ring.
func (s *Sampler) begin() (time.Duration, probe) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ring != nil {
		panic("runtimemetrics: Sampler.Run called twice")
	}
	keep := s.Keep
	if keep <= 0 {
		keep = defaultKeep
	}
	s.ring = make([]Snapshot, max(keep, 2))
	s.cost.running = true
	p := probe{mean: s.Probe}
	if p.mean == 0 {
		p.mean = defaultProbe
	}
	if p.mean < 0 {
		p.mean = 0
	}
	s.wakeup = Distribution{unknown: p.mean == 0}
	interval := s.Interval
	if interval <= 0 {
		interval = defaultInterval
	}
	return interval, p
}

func (s *Sampler) probed(late time.Duration, weight uint64) {
	s.mu.Lock()
	s.wakeup.counts[gridIndex(late)] += weight
	s.cost.probes++
	s.mu.Unlock()
}

func (s *Sampler) spent(on *time.Duration, since time.Time) {
	d := time.Since(since)
	s.mu.Lock()
	*on += d
	s.mu.Unlock()
}

// sample adds a reading to the ring. Reading takes its time and happens outside
// the lock.
func (s *Sampler) sample(r *reader) {
	var snap Snapshot
	r.read(&snap, false)
	s.mu.Lock()
	snap.Wakeup = s.wakeup
	s.ring[s.next] = snap
	s.next = (s.next + 1) % len(s.ring)
	s.filled = min(s.filled+1, len(s.ring))
	s.cost.samples++
	s.mu.Unlock()
}

func (s *Sampler) report() {
	if s.OnSample == nil {
		return
	}
	if d, ok := s.Latest(); ok {
		s.OnSample(d)
	}
}

// Latest returns the Delta between the last two samples, false before there
// are two.
func (s *Sampler) Latest() (Delta, bool) { return s.Last(0) }

// Last returns the Delta over about the last d: from the newest sample that is
// at least d older than the last one, or from the oldest kept, to the last.
// False means that there are not two samples yet.
func (s *Sampler) Last(d time.Duration) (Delta, bool) {
	if s == nil {
		return Delta{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.filled < 2 {
		return Delta{}, false
	}
	last := s.at(0)
	back := 1
	for back < s.filled-1 && last.Time.Sub(s.at(back).Time) < d {
		back++
	}
	delta := newDelta(s.at(back), last)
	delta.Headroom.After = timeToLimit(s.filled, func(i int) *Snapshot { return s.at(s.filled - 1 - i) })
	return delta, true
}

// Deltas yields the Delta of each interval that is kept, the oldest first. The
// sampler may go on meanwhile; the sequence is of the moment it began.
func (s *Sampler) Deltas() iter.Seq[Delta] {
	return func(yield func(Delta) bool) {
		if s == nil {
			return
		}
		s.mu.Lock()
		kept := make([]Snapshot, s.filled)
		for i := range kept {
			kept[i] = *s.at(len(kept) - 1 - i)
		}
		s.mu.Unlock()
		for i := 1; i < len(kept); i++ {
			d := newDelta(&kept[i-1], &kept[i])
			d.Headroom.After = timeToLimit(i+1, func(i int) *Snapshot { return &kept[i] })
			if !yield(d) {
				return
			}
		}
	}
}

// Read returns what a sample would hold now, the wake-ups so far among it. It is
// not kept, and the Sampler goes on as before. It may be called concurrently.
// Without a Sampler that runs it is what Read returns.
func (s *Sampler) Read() Snapshot {
	var snap Snapshot
	if s == nil {
		return Read()
	}
	s.mu.Lock()
	r := s.reader
	s.mu.Unlock()
	if r == nil {
		return Read()
	}
	r.read(&snap, false)
	s.mu.Lock()
	snap.Wakeup = s.wakeup
	s.mu.Unlock()
	return snap
}

// last returns the newest snapshot. Only Run calls it, so it stays.
func (s *Sampler) last() *Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at(0)
}

// at returns the snapshot taken back samples before the last. s.mu is held.
func (s *Sampler) at(back int) *Snapshot {
	return &s.ring[(s.next-1-back+2*len(s.ring))%len(s.ring)]
}

// when guards a part of the cost: unknown without a sampler.
func (c *samplerCost) when(value float64) float64 {
	if !c.running {
		return unknown
	}
	return value
}
