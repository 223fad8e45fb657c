package leakcheck

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"strings"
	"time"
)

// Watch reads the program's goroutines once a window until ctx ends, and
// calls report, on its own goroutine, for each group that leaks: once, and
// again when it has doubled. It returns nil when ctx has ended, and an error
// at once if c cannot work.
//
// A group leaks if its old members never end while new ones grow old, and the
// growth neither levels off nor falls back. That takes 10 windows where the
// goroutines are blocked in a way that nobody is for long on purpose (a send,
// a mutex, a WaitGroup), and 24 where they wait for input, time or work: pools,
// ramps and long polls wait in the same way.
//
// Open descriptors are judged in the same way: files by directory, connections
// by peer, pipes and the like by kind; those in CLOSE_WAIT in 10 windows, for
// the peer has gone and we have not closed. Listeners, mapped files, and accepted
// connections whose peer is there are not judged. Reading them stops nobody; of
// many it is done less often, so that it takes a thousandth of a core at most.
// Other systems than Linux do not tell, and the [Look] says so.
//
// A reading of goroutines stops the world for about 10 µs per goroutine. Watch measures that
// and keeps to one [Config.MaxPause] in ten minutes by making the windows
// longer. While a single reading would exceed it, none is taken, and
// the [Look] says so.
//
// Watch never asks the runtime for proof, which may end the process (see
// [Config.NoProof]). A process may have any number of Watches, each with its
// own readings. A nil report is told nothing.
func Watch(ctx context.Context, c Config, report func(Suspect)) error {
	if err := c.validate(); err != nil {
		return fmt.Errorf("leakcheck: %w", err)
	}
	if !c.NoDescriptors {
		c.Sources = append(newOpenFiles(c.ignoresPath).sources(), c.Sources...)
	}
	w := newWatcher(c, report)
	timer := time.NewTimer(w.config.Interval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			timer.Reset(w.window())
		}
	}
}

// pauseEvery is how often one pause of Config.MaxPause may be made.
const pauseEvery = 10 * time.Minute

type watcher struct {
	config     Config
	report     func(Suspect)
	windows    int
	goroutines detector
	sources    []detector
	reported   map[string]int // how many there were when the site was reported
	// perGoroutine is how long a reading stops the world for each, as measured.
	perGoroutine time.Duration
}

func newWatcher(c Config, report func(Suspect)) *watcher {
	return &watcher{
		config:       c.withDefaults(),
		report:       report,
		sources:      make([]detector, len(c.Sources)),
		reported:     map[string]int{},
		perGoroutine: 10 * time.Microsecond,
	}
}

// window takes the readings that it may, and returns when to take the next.
func (w *watcher) window() time.Duration {
	begin := time.Now()
	w.windows++
	look := Look{At: begin, Windows: w.windows, Next: w.config.Interval}
	unknown := func(err error) { look.Unknown = append(look.Unknown, fmt.Errorf("leakcheck: %w", err)) }
	n := runtime.NumGoroutine()
	if gs, err := w.read(n); err != nil {
		unknown(err)
	} else {
		look.Next = w.next(n)
		look.Suspects = w.suspects("goroutine", &w.goroutines, goroutineGroups(gs))
	}
	for i, s := range w.config.Sources {
		open, err := s.Open()
		if err != nil {
			unknown(fmt.Errorf("what is open of kind %s: %w", s.Kind, err))
			continue
		}
		look.Suspects = append(look.Suspects, w.suspects(s.Kind, &w.sources[i], memberGroups(s.Kind, open))...)
	}
	look.Cost = time.Since(begin)
	if w.config.Looked != nil {
		w.config.Looked(look)
	}
	return look.Next
}

// read returns the goroutines that Watch is to watch.
func (w *watcher) read(n int) ([]*goroutine, error) {
	if predicted := w.pause(n); predicted > w.config.MaxPause {
		// The windows so far and those to come are no row any more.
		w.goroutines = detector{}
		return nil, fmt.Errorf("reading %d goroutines would stop the program for about %v, more than Config.MaxPause %v",
			n, predicted.Round(time.Millisecond), w.config.MaxPause)
	}
	begin := time.Now()
	text, truncated := tracebackText()
	w.measure(time.Since(begin), n)
	gs, err := parseTraceback(text)
	if truncated {
		err = errTruncated
	}
	if err != nil {
		return nil, fmt.Errorf("reading the goroutines' stacks: %w", err)
	}
	var watched []*goroutine
	for i := range gs {
		if g := &gs[i]; i > 0 && !w.config.mayLive(g) { // the first is Watch's own
			watched = append(watched, g)
		}
	}
	return watched, nil
}

// next returns when the pauses are within the budget again.
func (w *watcher) next(goroutines int) time.Duration {
	share := float64(w.pause(goroutines)) / float64(w.config.MaxPause)
	return max(w.config.Interval, time.Duration(share*float64(pauseEvery)))
}

func (w *watcher) pause(goroutines int) time.Duration {
	return time.Duration(goroutines) * w.perGoroutine
}

// measure follows a rise at once and a fall slowly. The time includes waiting
// for the world to stop, so it is too long rather than too short. With few
// goroutines it says nothing about each.
func (w *watcher) measure(took time.Duration, goroutines int) {
	if goroutines < 100 {
		return
	}
	each := took / time.Duration(goroutines)
	w.perGoroutine = max(each, w.perGoroutine*9/10, time.Microsecond)
}

// suspects lets d judge, reports what is new, and returns all that it found.
func (w *watcher) suspects(kind string, d *detector, groups map[string]*tally) (all []Suspect) {
	for _, f := range d.observe(groups) {
		if f.site.about == nil {
			continue
		}
		s := f.site.about(f.site.oldest)
		s.Count, s.Since = len(f.site.born), f.site.first
		s.PerHour = f.growth * hourly(time.Since(s.Since), d.window-f.site.since)
		all = append(all, s)
		key := kind + "\n" + f.key
		if last, ok := w.reported[key]; (!ok || s.Count >= 2*last) && w.report != nil {
			w.reported[key] = s.Count
			w.report(s)
		}
	}
	maps.DeleteFunc(w.reported, func(key string, _ int) bool {
		key, ok := strings.CutPrefix(key, kind+"\n")
		return ok && d.sites[key] == nil
	})
	return all
}

// hourly returns how many windows an hour has, by the mean of those so far.
func hourly(elapsed time.Duration, windows int) float64 {
	if elapsed <= 0 || windows < 2 {
		return 0
	}
	return float64(windows-1) / elapsed.Hours()
}

func stackText(frames []frame) string {
	var b strings.Builder
	for _, f := range frames {
		fmt.Fprintf(&b, "%s\n\t%s\n", plainName(f.fn), f.position())
	}
	return b.String()
}
