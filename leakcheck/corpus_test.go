package leakcheck_test

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/loadline-go/loadline/leakcheck"
)

var (
	corpusOnly    = flag.String("corpus", "", "run only the corpus programs whose name contains this")
	corpusVerbose = flag.Bool("corpus.v", false, "print every suspect of every window in which it is new")
	corpusCount   = flag.Bool("corpus.count", false, "never tell goroutines one from another")
	corpusRate    = flag.Int("corpus.rate", 4096, "runtime.MemProfileRate; at the default of a program, 524288, the result depends on chance")
)

// A corpusProgram is a small real program: its goroutines, memory, files and
// sockets are real, and only its time is compressed. It does in step what it
// would do in one minute.
type corpusProgram struct {
	name string
	// site is what the suspects must name, in Site, Creator, Kind or Group;
	// "" for programs that are healthy.
	site string
	// heap says that a window has garbage collections, and that the limit for
	// heap applies to it.
	heap bool
	// needs tells whether this machine can run the program; nil for all.
	needs func() bool
	start func(e *env) (step func())
}

// An env is what a program is given.
type env struct {
	t      *testing.T
	rnd    *rand.Rand
	window int
	due    map[int][]func()
	ends   []func()
	drains []func()
	wg     sync.WaitGroup
	// inFlight and requests are what Config.Load is told, if load is set.
	load               bool
	inFlight, requests int
}

// after calls f so many windows from now.
func (e *env) after(windows int, f func()) {
	e.due[e.window+max(windows, 1)] = append(e.due[e.window+max(windows, 1)], f)
}

// end calls f when the program has ended, so that the next begins without its
// leaks; the last come first.
func (e *env) end(f func()) { e.ends = append(e.ends, f) }

// drain calls f again and again when the program has ended, until all that
// e.wg has started has ended too.
func (e *env) drain(f func()) { e.drains = append(e.drains, f) }

func (e *env) finish() {
	for _, f := range slices.Backward(e.ends) {
		f()
	}
	ended := make(chan bool)
	go func() { e.wg.Wait(); close(ended) }()
	for {
		select {
		case <-ended:
			return
		case <-time.After(time.Millisecond):
			for _, f := range e.drains {
				for range 1000 {
					f()
				}
			}
		}
	}
}

// steady has the program serve as many requests in each window.
func (e *env) steady(step func()) func() {
	e.load = true
	return func() {
		e.requests += 600 + e.poisson(10)
		e.inFlight = e.poisson(3)
		step()
	}
}

// poisson returns a random number of events.
func (e *env) poisson(mean float64) int {
	n, l := 0, math.Exp(-mean)
	for x := e.rnd.Float64(); x > l; x *= e.rnd.Float64() {
		n++
	}
	return n
}

func (e *env) must(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

// closer returns a channel that is closed when the program has ended.
func (e *env) closer() chan struct{} {
	c := make(chan struct{})
	e.end(func() { close(c) })
	return c
}

// peer listens, and hands each accepted connection to serve, which must return
// when the connection is closed. All are closed when the program has ended.
func (e *env) peer(serve func(net.Conn)) (addr string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	e.must(err)
	var (
		mu    sync.Mutex
		conns []net.Conn
	)
	e.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			e.wg.Go(func() { serve(c); c.Close() })
		}
	})
	e.end(func() {
		ln.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			c.Close()
		}
	})
	return ln.Addr().String()
}

// A corpusResult is how the watcher did on one program.
type corpusResult struct {
	delay int // the window of the first report, 0 for none
	right bool
	first leakcheck.Suspect
}

func (p corpusProgram) run(t *testing.T, windows int) (r corpusResult) {
	e := &env{t: t, rnd: rand.New(rand.NewPCG(1, uint64(len(p.name)))), due: map[int][]func(){}}
	defer e.finish()
	step := p.start(e)
	var suspects []leakcheck.Suspect
	config := leakcheck.Config{
		MaxPause: time.Hour, // so that nothing depends on the machine's speed
		Ignore:   []string{"github.com/loadline-go/loadline/leakcheck_test.(*env).peer", "github.com/loadline-go/loadline/leakcheck_test.(*env).finish"},
	}
	if *corpusCount {
		config.MaxPause = 1
	}
	if e.load {
		config.Load = func() (int, uint64) { return e.inFlight, uint64(e.requests) }
	}
	w := leakcheck.NewStepper(config, func(s leakcheck.Suspect) { suspects = append(suspects, s) })
	for e.window = 1; e.window <= windows; e.window++ {
		for _, f := range e.due[e.window] {
			f()
		}
		delete(e.due, e.window)
		step()
		// Let what was started come to where it blocks. Nothing depends on it
		// that two windows more would not heal.
		time.Sleep(time.Millisecond)
		if p.heap {
			runtime.GC() // the profile shows what the last but one found
		}
		w.Window()
		for _, s := range suspects {
			if *corpusVerbose {
				t.Logf("%s, window %d: %s: %s (%s; %.2f)", p.name, e.window, s.Kind, s, s.Basis, s.Confidence)
			}
			if r.delay == 0 {
				r.delay, r.first, r.right = e.window, s, true
			}
			r.right = r.right && p.names(s)
		}
		suspects = suspects[:0]
		if r.delay > 0 && e.window >= r.delay+3 && !*corpusVerbose {
			break // what follows from the leak is reported by then, too
		}
	}
	return r
}

func (p corpusProgram) names(s leakcheck.Suspect) bool {
	for _, site := range strings.Split(p.site, "|") {
		if site != "" && strings.Contains(strings.Join([]string{s.Kind, s.Group, s.Site.Function, s.Creator.Function}, "\n"), site) {
			return true
		}
	}
	return false
}

// TestCorpus runs the detector on programs that leak and on healthy ones that
// look alike, and prints how it did:
//
//	go test ./leakcheck -run Corpus -v
//
// Each window does what a minute would do; a Watch's windows end by step
// instead of by the clock, so the result does not depend on the machine.
// The second half and the third set were written when the method was fixed; where
// they showed something that it did not know, such as what uses a connection, it
// was taught that.
func TestCorpus(t *testing.T) {
	defer func(rate int) { runtime.MemProfileRate = rate }(runtime.MemProfileRate)
	runtime.MemProfileRate = *corpusRate
	leakWindows, healthyWindows := 60, 64
	if testing.Short() || raceEnabled {
		healthyWindows = 45
	}
	var allDelays, allHeapDelays []int
	for _, half := range []struct {
		name     string
		programs []corpusProgram
	}{
		{"first half", slices.Concat(corpusLeaks, corpusHealthy)},
		{"second half", corpusSecond},
		{"third set", corpusThird},
	} {
		var (
			b                   strings.Builder
			leaks, found, right int
			healthy, flagged    int
			delays, heapDelays  []int
		)
		table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintf(table, "program\twindows\tkind\tconfidence\tfirst suspect\n")
		for _, p := range half.programs {
			if !strings.Contains(p.name, *corpusOnly) || p.needs != nil && !p.needs() {
				continue
			}
			windows := healthyWindows
			if p.site != "" {
				windows = leakWindows
			}
			r := p.run(t, windows)
			verdict := ""
			switch {
			case p.site == "" && r.delay == 0:
				healthy++
				verdict = "healthy"
			case p.site == "":
				healthy++
				flagged++
				verdict = fmt.Sprintf("FALSE ALARM: %s (%s)", r.first, r.first.Basis)
			case r.delay == 0:
				leaks++
				verdict = "MISSED"
			default:
				leaks++
				found++
				verdict = r.first.Site.Function + " " + r.first.Group
				if r.right {
					right++
				} else {
					verdict = "WRONG SITE: " + r.first.String()
				}
				if r.first.Kind == "heap" {
					heapDelays = append(heapDelays, r.delay)
				} else {
					delays = append(delays, r.delay)
				}
			}
			at := fmt.Sprint(r.delay)
			if r.delay == 0 {
				at = "-"
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%.2f\t%s\n", p.name, at, r.first.Kind, r.first.Confidence,
				strings.ReplaceAll(verdict, "github.com/loadline-go/loadline/leakcheck_test.", ""))
		}
		table.Flush()
		t.Logf("%s: %d of %d leaks found, %d with the right site; %d of %d healthy programs flagged; "+
			"median delay %d windows for goroutines and descriptors, %d for heap\n%s",
			half.name, found, leaks, right, flagged, healthy, middle(delays), middle(heapDelays), b.String())
		if *corpusCount {
			continue
		}
		if found*100 < leaks*95 || right < found || flagged > 0 {
			t.Errorf("%s: %d of %d leaks found, %d with the right site, %d healthy programs flagged", half.name, found, leaks, right, flagged)
		}
		allDelays, allHeapDelays = append(allDelays, delays...), append(allHeapDelays, heapDelays...)
	}
	if *corpusOnly == "" && !*corpusCount && (middle(allDelays) > 16 || middle(allHeapDelays) > 24) {
		t.Errorf("median delay %d windows for goroutines and descriptors, %d for heap", middle(allDelays), middle(allHeapDelays))
	}
}

func middle(delays []int) int {
	if len(delays) == 0 {
		return 0
	}
	slices.Sort(delays)
	return delays[len(delays)/2]
}
