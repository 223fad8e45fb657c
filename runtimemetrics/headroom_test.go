package runtimemetrics

import (
	"context"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"
)

const mib = 1 << 20

// history makes a sampler that has kept n snapshots, one in 5 s, of what
// memory makes of each.
func history(n int, memory func(i int, s *Snapshot)) *Sampler {
	s := &Sampler{ring: make([]Snapshot, max(n, 2))}
	begin := time.Now()
	for i := range n {
		snap := plain(begin.Add(time.Duration(i) * 5 * time.Second))
		memory(i, &snap)
		s.ring[i] = snap
		s.filled++
	}
	s.next = n % len(s.ring)
	return s
}

func TestTimeToTheLimitFollowsAKnownLeak(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for name, c := range map[string]struct {
		memory func(i int, s *Snapshot)
		want   time.Duration
	}{
		"a steady leak of 1 MiB/s": {func(i int, s *Snapshot) {
			s.Container.MemoryWorkingSet = float64(100*mib + i*5*mib)
			s.Container.MemoryLimit = 1024 * mib
		}, (1024 - 100 - 300) * time.Second},
		"a noisy leak of 1 MiB/s": {func(i int, s *Snapshot) {
			s.Container.MemoryWorkingSet = 100*mib + float64(i)*5*mib + random.NormFloat64()*5*mib
			s.Container.MemoryLimit = 1024 * mib
		}, (1024 - 100 - 300) * time.Second},
		"a leak under saw teeth": {func(i int, s *Snapshot) {
			s.Container.MemoryWorkingSet = 100*mib + float64(i)*5*mib + float64(i%5)*8*mib
			s.Container.MemoryLimit = 1024 * mib
		}, (1024 - 100 - 300) * time.Second},
		"a live heap that grows to GOMEMLIMIT": {func(i int, s *Snapshot) {
			s.Memory.HeapLive, s.Memory.Stack, s.Memory.Overhead = float64(100*mib+i/3*15*mib), mib, 9*mib
			s.Memory.Limit = 1024 * mib
		}, (1024 - 110 - 300) * time.Second},
		"flat": {func(i int, s *Snapshot) {
			s.Container.MemoryWorkingSet, s.Container.MemoryLimit = 100*mib, 1024*mib
		}, 0},
		"saw teeth": {func(i int, s *Snapshot) {
			s.Container.MemoryWorkingSet, s.Container.MemoryLimit = 100*mib+float64(i%10)*30*mib, 1024*mib
		}, 0},
		"noise": {func(i int, s *Snapshot) {
			s.Container.MemoryWorkingSet, s.Container.MemoryLimit = 100*mib+random.NormFloat64()*5*mib, 1024*mib
		}, 0},
		"shrinking": {func(i int, s *Snapshot) {
			s.Container.MemoryWorkingSet, s.Container.MemoryLimit = float64(800*mib-i*mib), 1024*mib
		}, 0},
		"growing, but not within a day": {func(i int, s *Snapshot) {
			s.Container.MemoryWorkingSet, s.Container.MemoryLimit = float64(100*mib+i*4096), 1024*mib
		}, 0},
		"no limit": {func(i int, s *Snapshot) { s.Container.MemoryWorkingSet = float64(i * mib) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			d, ok := history(61, c.memory).Latest()
			if !ok {
				t.Fatal("no delta")
			}
			got := d.Headroom.After
			if c.want == 0 && got != 0 || math.Abs(float64(got-c.want)) > .1*float64(c.want) {
				t.Errorf("the limit is reached after %v, want %v", got, c.want)
			}
		})
	}
}

func TestTimeToTheLimitNeedsSamples(t *testing.T) {
	d, _ := history(trendLeast-1, func(i int, s *Snapshot) {
		s.Container.MemoryWorkingSet, s.Container.MemoryLimit = float64(i*mib), 1024*mib
	}).Latest()
	if d.Headroom.After != 0 {
		t.Errorf("%d samples are enough to foresee %v", trendLeast-1, d.Headroom.After)
	}
}

func TestHeadroomIsOfTheNearestLimit(t *testing.T) {
	for _, c := range []struct {
		name   string
		memory func(*Snapshot)
		by     string
		ratio  float64
	}{
		{"none", func(*Snapshot) {}, "", unknown},
		{"host alone", func(s *Snapshot) { s.Host.MemoryTotal, s.Host.MemoryAvailable = 1000, 250 }, "host", .25},
		{"cgroup before host", func(s *Snapshot) {
			s.Host.MemoryTotal, s.Host.MemoryAvailable = 1000, 250
			s.Container.MemoryWorkingSet, s.Container.MemoryLimit = 90, 100
		}, "cgroup", .1},
		{"GOMEMLIMIT before cgroup", func(s *Snapshot) {
			s.Container.MemoryWorkingSet, s.Container.MemoryLimit = 90, 200
			s.Memory.HeapLive, s.Memory.Stack, s.Memory.Overhead, s.Memory.Limit = 80, 8, 8, 100
		}, "gomemlimit", .04},
		{"over the limit", func(s *Snapshot) {
			s.Container.MemoryWorkingSet, s.Container.MemoryLimit = 300, 200
		}, "cgroup", 0},
	} {
		s := plain(time.Now())
		c.memory(&s)
		h := newHeadroom(&s)
		if h.By != c.by || math.Abs(h.Ratio-c.ratio) > 1e-9 || Known(h.Ratio) != Known(c.ratio) {
			t.Errorf("%s: %v by %q, want %v by %q", c.name, h.Ratio, h.By, c.ratio, c.by)
		}
	}
}

func TestMemoryLimitFollowsTheCgroupButNeverTheUser(t *testing.T) {
	if os.Getenv("GOMEMLIMIT") != "" {
		t.Skip("GOMEMLIMIT is set")
	}
	initial := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(initial)
	in := func(limit float64) *Snapshot {
		s := plain(time.Now())
		s.Container.MemoryLimit = limit
		return &s
	}
	expect := func(want int64) {
		t.Helper()
		if got := debug.SetMemoryLimit(-1); got != want {
			t.Errorf("GOMEMLIMIT is %d, want %d", got, want)
		}
	}

	off := memoryLimiter{}
	off.follow(in(1 << 30))
	expect(initial)

	m := memoryLimiter{share: .75}
	m.follow(in(unknown))
	expect(initial)
	m.follow(in(1 << 20)) // absurdly small
	expect(initial)
	m.follow(in(1 << 30))
	expect(3 << 28)
	m.follow(in(1 << 31))
	expect(3 << 29)
	debug.SetMemoryLimit(1 << 33) // the user's own
	m.follow(in(1 << 30))
	expect(1 << 33)

	late := memoryLimiter{share: .75} // and the user was first
	late.follow(in(1 << 30))
	expect(1 << 33)
}

// The runtime is real here and time is not, so that the rate of the leak is
// known exactly.
func TestTimeToTheLimitFollowsARealLeak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const step = 256 << 10 // in 5 s
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		runtime.GC()
		now := Read()
		defer debug.SetMemoryLimit(debug.SetMemoryLimit(int64(now.Memory.HeapLive) + 200*mib))
		var leak [][]byte
		var last Delta
		s := &Sampler{Probe: -1, OnSample: func(d Delta) {
			last = d
			leak = append(leak, make([]byte, step))
			runtime.GC()
		}}
		s.Run(ctx)
		used, limit := usage(&last.Now, "gomemlimit")
		want := time.Duration((limit - used) / step * float64(5*time.Second))
		if got := last.Headroom.After; math.Abs(float64(got-want)) > .1*float64(want) {
			t.Errorf("the limit is reached after %v, want %v", got, want)
		}
		runtime.KeepAlive(leak)
	})
}
