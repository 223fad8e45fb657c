package leakcheck

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// watch runs step for so many windows under a load that is known to be
// 10 requests a second, and returns the suspects of each window.
func (p *program) watch(windows, eachEvery int, step func(p *program)) (looks [][]Suspect) {
	at := time.Now()
	w := newWatcher(Config{NoDescriptors: true}, nil, at)
	for p.now = range windows {
		w.windows++
		at = at.Add(time.Minute)
		r := p.reading(eachEvery, step)
		r.at, r.rate, r.inFlight = at, 10+p.rnd.Float64()/10, float64(p.poisson(3))
		w.judge("goroutine", &w.goroutines, r)
		var look []Suspect
		for _, s := range w.suspects {
			look = append(look, s.Suspect)
		}
		looks = append(looks, look)
	}
	return looks
}

func TestSuspectsAreWithdrawnWhenTheyAreRefuted(t *testing.T) {
	for _, tt := range []struct {
		name string
		step func(p *program)
		by   int // no suspect from this window on
	}{
		// The first of them end after 20 windows.
		{"sessions of 20 to 30 windows, from the start on", func(p *program) {
			p.start(1, "session", "chan receive", 20+p.rnd.IntN(10))
		}, 36},
		{"a pool that grows to its size", func(p *program) {
			if p.now < 24 {
				p.start(1, "pool", "chan receive", forEver)
			}
		}, 52},
	} {
		for _, eachEvery := range []int{1, 3} {
			t.Run(tt.name, func(t *testing.T) {
				p := &program{rnd: rand.New(rand.NewPCG(1, 7)), died: map[int64]int{}}
				first := -1
				for window, look := range p.watch(100, eachEvery, tt.step) {
					for _, s := range look {
						if first < 0 {
							first = window
						}
						if window >= tt.by {
							t.Fatalf("window %d: still %v (%s)", window, s, s.Basis)
						}
						if window >= tt.by-4 && (s.PerHour > 55 || !strings.Contains(s.Basis, "when suspected, ")) {
							t.Errorf("window %d: %v (%s)", window, s, s.Basis)
						}
					}
				}
				if first < 0 {
					t.Error("was never a suspect, so this shows nothing")
				}
			})
		}
	}
}

func TestSuspectsThatLeakAreKept(t *testing.T) {
	for _, tt := range []struct {
		name, state string
		step        func(p *program) int
	}{
		{"one a window", "select", func(p *program) int { return p.poisson(1) }},
		{"slowly", "chan receive", func(p *program) int { return p.poisson(0.25) }},
		{"in waves", "chan receive", func(p *program) int { return p.poisson(0.5 * (1 + math.Sin(float64(p.now)/6))) }},
		{"in bursts", "chan receive", func(p *program) int {
			if p.now%7 == 0 {
				return 3 + p.rnd.IntN(3)
			}
			return 0
		}},
		{"until a lock is held for ever", "sync.Mutex.Lock", func(p *program) int {
			if p.now < 15 {
				return 2
			}
			return 0
		}},
	} {
		for _, eachEvery := range []int{1, 3} {
			t.Run(tt.name, func(t *testing.T) {
				for seed := range uint64(5) {
					p := &program{rnd: rand.New(rand.NewPCG(seed, 7)), died: map[int64]int{}}
					first, end := -1, 140
					if tt.state == "sync.Mutex.Lock" {
						end = 40
					}
					for window, look := range p.watch(end, eachEvery, func(p *program) {
						traffic(p)
						p.start(tt.step(p), "leak", tt.state, forEver)
					}) {
						if len(look) > 0 && first < 0 {
							first = window
						}
						if first >= 0 && len(look) == 0 {
							t.Fatalf("seed %d: suspected in window %d, withdrawn in window %d", seed, first, window)
						}
					}
					if first < 0 {
						t.Errorf("seed %d: was never a suspect", seed)
					}
				}
			})
		}
	}
}
