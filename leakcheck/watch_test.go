package leakcheck

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A program is goroutines without code: what the detector would read of one.
type program struct {
	rnd   *rand.Rand
	next  int64
	alive []*goroutine
	died  map[int64]int // the window in which a goroutine is to end
	now   int
}

// start starts n goroutines at a site that last for so many windows; those of
// a leak last for ever.
func (p *program) start(n int, fn, state string, windows int) {
	for range n {
		p.next++
		p.alive = append(p.alive, &goroutine{
			id: p.next, state: state,
			frames:  []frame{{"example.com/shop." + fn, "/src/shop.go", 1}},
			creator: frame{"example.com/shop.serve", "/src/shop.go", 2},
		})
		p.died[p.next] = p.now + windows
	}
}

const forEver = math.MaxInt32

func (p *program) poisson(mean float64) int {
	n, l := 0, math.Exp(-mean)
	for x := p.rnd.Float64(); x > l; x *= p.rnd.Float64() {
		n++
	}
	return n
}

// run runs step for so many windows and returns the first window with a
// finding, or -1, and the function that it names.
func (p *program) run(windows, eachEvery int, step func(p *program)) (window int, fn string) {
	var d detector
	for p.now = range windows {
		if found := d.observe(p.reading(eachEvery, step)); len(found) > 0 {
			return p.now, found[0].site.about(0).Site.Function
		}
	}
	return -1, ""
}

// reading runs step and returns what there is then, with every eachEvery-th
// reading telling the members apart.
func (p *program) reading(eachEvery int, step func(p *program)) reading {
	step(p)
	kept := p.alive[:0:0]
	for _, g := range p.alive {
		if p.died[g.id] > p.now {
			kept = append(kept, g)
		}
	}
	p.alive = kept
	r := readingOf(goroutineGroups(p.alive))
	r.ended = 100 // there is always something that ends
	if eachEvery == 0 || p.now%eachEvery != 0 {
		r.each = false
		for key, t := range r.groups {
			if t.ids = nil; t.wide {
				delete(r.groups, key)
			}
		}
	}
	return r
}

// readingOf returns a reading that knows nothing but the groups.
func readingOf(groups map[string]*tally) reading {
	return reading{at: time.Now(), groups: groups, each: true, rate: math.NaN(), inFlight: math.NaN(), ended: math.NaN(), live: math.NaN()}
}

// traffic is what all programs do beside.
func traffic(p *program) {
	p.start(p.poisson(20), "request", "IO wait", 1)
	if p.now == 0 {
		p.start(8, "worker", "chan receive", forEver)
	}
}

func TestDetectorTruthTable(t *testing.T) {
	type row struct {
		name    string
		step    func(p *program)
		leak    bool
		windows int // within which a leak must be found; 0 for 40
		// uncountable leaks cannot be told from a ramp by counts alone.
		uncountable bool
	}
	rows := []row{
		{name: "early return: one send a window", leak: true, windows: 24, step: func(p *program) {
			p.start(p.poisson(1), "leak", "chan send", forEver)
		}},
		{name: "mutex never released: all requests", leak: true, windows: 14, step: func(p *program) {
			p.start(p.poisson(20), "leak", "sync.Mutex.Lock", forEver)
		}},
		{name: "lost context: some requests", leak: true, step: func(p *program) {
			p.start(p.poisson(3), "leak", "select", forEver)
		}},
		{name: "range over a channel that is never closed", leak: true, step: func(p *program) {
			p.start(p.poisson(1), "leak", "chan receive", forEver)
		}},
		{name: "sleep loops", leak: true, step: func(p *program) {
			p.start(p.poisson(2), "leak", "sleep", forEver)
		}},
		{name: "silent peers", leak: true, step: func(p *program) {
			p.start(p.poisson(2), "leak", "IO wait", forEver)
		}},
		{name: "one request in a hundred, in waves", leak: true, windows: 80, step: func(p *program) {
			p.start(p.poisson(0.5*(1+math.Sin(float64(p.now)/6))), "leak", "select", forEver)
		}},
		{name: "a slow leak", leak: true, windows: 100, step: func(p *program) {
			p.start(p.poisson(0.2), "leak", "chan receive", forEver)
		}},
		{name: "a leak among members that come and go", leak: true, windows: 60, uncountable: true, step: func(p *program) {
			p.start(p.poisson(10), "leak", "select", 1)
			p.start(p.poisson(2), "leak", "select", forEver)
		}},

		{name: "nothing but traffic", step: func(*program) {}},
		{name: "a pool that grows to its size", step: func(p *program) {
			if p.now < 15 {
				p.start(1, "pool", "chan receive", forEver)
			}
		}},
		{name: "long polls", step: func(p *program) { p.start(p.poisson(10), "poll", "select", 5) }},
		{name: "a websocket ramp with turnover", step: func(p *program) {
			for range p.poisson(float64(min(p.now, 60))) {
				p.start(1, "socket", "IO wait", 10+p.rnd.IntN(20))
			}
		}},
		{name: "a traffic ramp", step: func(p *program) {
			for range p.poisson(float64(p.now)) {
				p.start(1, "call", "select", 1+p.rnd.IntN(3))
			}
		}},
		{name: "a diurnal wave", step: func(p *program) {
			for range p.poisson(10 * (1 + math.Sin(float64(p.now)/20))) {
				p.start(1, "session", "IO wait", 8+p.rnd.IntN(8))
			}
		}},
		{name: "a batch that waits behind a lock", step: func(p *program) {
			if p.now%15 == 0 {
				p.start(40, "batch", "sync.Mutex.Lock", 12)
			}
		}},
		{name: "autoscaled workers", step: func(p *program) {
			if p.now%20 == 0 && p.now < 100 {
				p.start(4, "scaled", "chan receive", 70)
			}
		}},
		{name: "back-pressure", step: func(p *program) {
			for range p.poisson(5) {
				p.start(1, "producer", "chan send", 1+p.rnd.IntN(6))
			}
		}},
		{name: "deploy warm-up", step: func(p *program) {
			p.start(p.poisson(20*math.Exp(-float64(p.now)/6)), "warm", "chan receive", forEver)
		}},
	}
	for _, seen := range []struct {
		name      string
		eachEvery int // windows that tell the members apart; 0 for none
		longer    int // how many times the windows it may take
	}{{"each", 1, 1}, {"some", 10, 2}, {"counted", 0, 4}} {
		for _, r := range rows {
			if r.uncountable && seen.eachEvery == 0 {
				continue
			}
			t.Run(seen.name+"/"+r.name, func(t *testing.T) {
				var delays []int
				for seed := range uint64(4) {
					p := &program{rnd: rand.New(rand.NewPCG(seed, 7)), died: map[int64]int{}}
					limit := 150
					if r.leak {
						limit = r.windows
						if limit == 0 {
							limit = 40
						}
						limit *= seen.longer
					}
					at, fn := p.run(limit, seen.eachEvery, func(p *program) { traffic(p); r.step(p) })
					switch {
					case r.leak && (at < 0 || fn != "example.com/shop.leak"):
						t.Errorf("seed %d: found %q in window %d", seed, fn, at)
					case !r.leak && at >= 0:
						t.Errorf("seed %d: flagged %s in window %d", seed, fn, at)
					}
					delays = append(delays, at)
				}
				t.Logf("found in windows %v", delays)
			})
		}
	}
}

func TestWatchReportsALeakOnceAndWhenItDoubles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var (
			got      []Suspect
			watching sync.WaitGroup
			leaked   = make(chan bool)
			begin    = time.Now()
		)
		watching.Go(func() {
			if err := Watch(ctx, Config{MaxPause: time.Second}, func(s Suspect) { got = append(got, s) }); err != nil {
				t.Error(err)
			}
		})
		for range 60 {
			go send(leaked)
			time.Sleep(time.Minute)
		}
		cancel()
		watching.Wait()
		for range 60 {
			<-leaked
		}
		if len(got) < 2 || len(got) > 4 {
			t.Fatalf("got %d reports: %v", len(got), got)
		}
		s := got[0]
		const pkg = "github.com/loadline-go/loadline/leakcheck."
		if s.Kind != "goroutine" || s.Site.Function != pkg+"send" || !strings.Contains(s.Site.File, "watch_test.go") || s.Site.Line == 0 || s.State != "chan send" ||
			!strings.HasPrefix(s.Creator.Function, pkg+"TestWatchReports") || s.Creator.Line == 0 || !strings.Contains(s.Stack, pkg+"send") {
			t.Errorf("got %+v", s)
		}
		if math.Abs(s.PerHour-60) > 6 {
			t.Errorf("grows by %v an hour, want 60", s.PerHour)
		}
		if !strings.HasPrefix(s.String(), fmt.Sprintf("%d goroutines [chan send] in %ssend", s.Count, pkg)) {
			t.Errorf("printed as %s", s)
		}
		if d := s.Since.Sub(begin); d > 2*time.Minute {
			t.Errorf("first seen after %v", d)
		}
		if got[1].Count < 2*s.Count {
			t.Errorf("reported again at %d after %d", got[1].Count, s.Count)
		}
	})
}

func send(c chan bool) { c <- true }

func TestWatchIgnoresByFunction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
		defer cancel()
		c := make(chan bool)
		go func() {
			for ctx.Err() == nil {
				go send(c)
				time.Sleep(time.Minute)
			}
		}()
		config := Config{Ignore: []string{"github.com/loadline-go/loadline/leakcheck.send"}, MaxPause: time.Second}
		if err := Watch(ctx, config, func(s Suspect) { t.Errorf("reported %v", s) }); err != nil {
			t.Error(err)
		}
		for {
			select {
			case <-c:
				continue
			case <-time.After(2 * time.Minute):
			}
			break
		}
	})
}

func TestWatchRefusesAConfigThatCannotWork(t *testing.T) {
	err := Watch(context.Background(), Config{Interval: -1, MaxPause: -1}, nil)
	if err == nil || !strings.Contains(err.Error(), "Config.Interval: -1ns is negative") || !strings.Contains(err.Error(), "Config.MaxPause") {
		t.Errorf("got %v", err)
	}
}

func TestDetectorForgetsSitesThatEnd(t *testing.T) {
	p := &program{rnd: rand.New(rand.NewPCG(1, 7)), died: map[int64]int{}}
	var d detector
	for p.now = range 50 {
		p.alive = nil
		p.start(maxSites/10, fmt.Sprint("site", p.now), "select", 1)
		for i, g := range p.alive {
			g.creator.fn += fmt.Sprint(i) // a site each
		}
		d.observe(readingOf(goroutineGroups(p.alive)))
		if len(d.sites) > maxSites {
			t.Fatalf("remembers %d sites", len(d.sites))
		}
	}
	for range 5 {
		d.observe(readingOf(nil))
	}
	if len(d.sites) != 0 {
		t.Errorf("remembers %d sites of a program without goroutines", len(d.sites))
	}
}

// A program whose every goroutine has a stack of its own.
func TestDetectorIsBoundedAndSaysSo(t *testing.T) {
	var d detector
	groups := map[string]*tally{}
	for i := range 100_000 {
		groups[fmt.Sprint("\nsite", i)] = &tally{size: 1, ids: []uint64{uint64(i)}, about: func(uint64) Suspect { return Suspect{} }}
	}
	for range 3 {
		d.observe(readingOf(groups))
	}
	if len(d.sites) != maxSites || d.omitted != 100_000-maxSites {
		t.Errorf("remembers %d sites and tells of %d that it omits", len(d.sites), d.omitted)
	}
	var c stackCache[int]
	for i := range 3 * maxStacks {
		c.of([32]uintptr{uintptr(i + 1)}, func([]frame) int { return i })
	}
	if len(c.all) > maxStacks {
		t.Errorf("remembers %d stacks", len(c.all))
	}
}

// A leak among many sites that come and go must not be told to be none.
func TestDetectorFindsALeakAmongManySites(t *testing.T) {
	p := &program{rnd: rand.New(rand.NewPCG(1, 7)), died: map[int64]int{}}
	at, fn := p.run(40, 1, func(p *program) {
		p.start(2, "leak", "select", forEver)
		for i := range 100 {
			p.start(1, fmt.Sprint("once", p.now, "x", i), "select", 1)
		}
	})
	if fn != "example.com/shop.leak" {
		t.Errorf("found %q in window %d", fn, at)
	}
}
