package leakcheck

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"strings"
	"time"
)

// A Suspect is a group of goroutines that only grows while the program runs.
type Suspect struct {
	// Function, File and Line are where the goroutines are blocked, in code
	// outside the standard library if there is any on their stack.
	Function string
	File     string
	Line     int
	// Creator, CreatorFile and CreatorLine are the go statement.
	Creator     string
	CreatorFile string
	CreatorLine int
	// State is what the oldest of them waits for: "chan send".
	State string
	// Count is how many there are; PerHour is how many more each hour.
	Count   int
	PerHour float64
	// Since is when the first was seen, at the earliest when Watch began.
	Since time.Time
	// Stack is that of the oldest, innermost call first.
	Stack string
}

// String returns one line for a log.
func (s Suspect) String() string {
	return fmt.Sprintf("%d goroutines [%s] in %s (%s:%d), created by %s (%s:%d), %.3g more an hour since %s",
		s.Count, s.State, s.Function, s.File, s.Line, s.Creator, s.CreatorFile, s.CreatorLine, s.PerHour, s.Since.Format(time.RFC3339))
}

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
// A reading stops the world for about 10 µs per goroutine. Watch measures that
// and keeps to one [Config.MaxPause] in ten minutes by making the windows
// longer. While a single reading would exceed it, none is taken, and
// [Config.Unknown] is told.
//
// Watch never asks the runtime for proof, which may end the process (see
// [Config.NoProof]). A process may have any number of Watches, each with its
// own readings. A nil report is told nothing.
func Watch(ctx context.Context, c Config, report func(Suspect)) error {
	if err := c.validate(); err != nil {
		return fmt.Errorf("leakcheck: %w", err)
	}
	w := watcher{
		config:       c.withDefaults(),
		report:       report,
		reported:     map[string]int{},
		firstSeen:    map[string]time.Time{},
		perGoroutine: 10 * time.Microsecond,
	}
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
	config    Config
	report    func(Suspect)
	detector  detector
	reported  map[string]int // how many there were when the site was reported
	firstSeen map[string]time.Time
	// perGoroutine is how long a reading stops the world for each, as measured.
	perGoroutine time.Duration
}

// window takes one reading if it may, and returns when to take the next.
func (w *watcher) window() time.Duration {
	n := runtime.NumGoroutine()
	if predicted := w.pause(n); predicted > w.config.MaxPause {
		w.unknown(fmt.Errorf("reading %d goroutines would stop the program for about %v, more than Config.MaxPause %v",
			n, predicted.Round(time.Millisecond), w.config.MaxPause))
		// The windows so far and those to come are no row any more.
		w.detector = detector{}
		return w.config.Interval
	}
	begin := time.Now()
	text, truncated := tracebackText()
	w.measure(time.Since(begin), n)
	gs, err := parseTraceback(text)
	if truncated {
		err = errTruncated
	}
	if err != nil {
		w.unknown(fmt.Errorf("reading the goroutines' stacks: %w", err))
		return w.config.Interval
	}
	w.observe(gs)
	return w.next(n)
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

func (w *watcher) unknown(err error) {
	if w.config.Unknown != nil {
		w.config.Unknown(fmt.Errorf("leakcheck: %w", err))
	}
}

func (w *watcher) observe(gs []goroutine) {
	now := time.Now()
	var watched []*goroutine
	for i := range gs {
		if g := &gs[i]; i > 0 && !w.config.mayLive(g) { // the first is Watch's own
			watched = append(watched, g)
		}
	}
	found := w.detector.observe(watched)
	for key := range w.detector.sites {
		if _, ok := w.firstSeen[key]; !ok {
			w.firstSeen[key] = now
		}
	}
	maps.DeleteFunc(w.firstSeen, func(key string, _ time.Time) bool { return w.detector.sites[key] == nil })
	maps.DeleteFunc(w.reported, func(key string, _ int) bool { return w.detector.sites[key] == nil })
	for _, f := range found {
		count := len(f.site.born)
		if last, ok := w.reported[f.key]; ok && count < 2*last || f.site.sample == nil || w.report == nil {
			continue
		}
		w.reported[f.key] = count
		g := f.site.sample
		at := blockedIn(g.frames)
		w.report(Suspect{
			Function: plainName(at.fn), File: at.file, Line: at.line,
			Creator: plainName(g.creator.fn), CreatorFile: g.creator.file, CreatorLine: g.creator.line,
			State: g.state, Count: count, Since: w.firstSeen[f.key], Stack: stackText(g),
			PerHour: f.growth * hourly(now.Sub(w.firstSeen[f.key]), w.detector.window-f.site.since),
		})
	}
}

// hourly returns how many windows an hour has, by the mean of those so far.
func hourly(elapsed time.Duration, windows int) float64 {
	if elapsed <= 0 || windows < 2 {
		return 0
	}
	return float64(windows-1) / elapsed.Hours()
}

func stackText(g *goroutine) string {
	var b strings.Builder
	for _, f := range g.frames {
		fmt.Fprintf(&b, "%s\n\t%s\n", plainName(f.fn), f.position())
	}
	return b.String()
}
