package leakcheck

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// A timerStack is the call that made timers, as the memory profile has it.
type timerStack [32]uintptr

// timerSite is what is to be said of the timers of one stack.
type timerSite struct {
	skip     bool // not a timer that runs a function, or a library's own
	deadline bool // of a context
	frames   []frame
}

// pending are the timers that have not fired, by stack. The runtime keeps no
// list of timers that a program may read. But it refers to those that have not
// fired, and the memory profile, when it takes every allocation, tells which
// survived a garbage collection, and where they were made.
type pending map[timerStack]int

var timers struct {
	mu      sync.Mutex
	records []runtime.MemProfileRecord
	sites   stackCache[*timerSite]
	last    int // how many the last reading found
	// blamed is how many of a stack some test was blamed for.
	blamed pending
}

// recordTimers has the memory profile take every allocation from now on. It
// does not go back: profiles whose rate changes again and again mean nothing,
// and whoever reads the rate meanwhile would race with that.
func recordTimers() {
	timers.mu.Lock()
	defer timers.mu.Unlock()
	if runtime.MemProfileRate != 1 {
		runtime.MemProfileRate = 1
	}
}

// readTimers returns the timers that have not fired. Exactly leaves out those
// that were stopped and that the runtime has still to forget, which costs some
// more.
func readTimers(exactly bool) (pending, error) {
	timers.mu.Lock()
	defer timers.mu.Unlock()
	if rate := runtime.MemProfileRate; rate != 1 {
		return nil, fmt.Errorf("runtime.MemProfileRate was set to %d, and so not every timer is known", rate)
	}
	all := pending{}
	if exactly {
		dropStopped(timers.last)
	}
	runtime.GC()
	for {
		n, ok := runtime.MemProfile(timers.records[:cap(timers.records)], false)
		if ok {
			timers.records = timers.records[:n]
			break
		}
		timers.records = make([]runtime.MemProfileRecord, n+n/8+64)
	}
	for i := range timers.records {
		r := &timers.records[i]
		if s := timers.sites.of(r.Stack0, newTimerSite); !s.skip {
			all[r.Stack0] += int(r.InUseObjects())
		}
	}
	timers.last = 0
	for _, n := range all {
		timers.last += n
	}
	return all, nil
}

func newTimerSite(frames []frame) *timerSite {
	for len(frames) > 0 && inRuntime(frames[0].fn) {
		frames = frames[1:]
	}
	// The channel of a ticker or of time.After keeps nothing alive since Go
	// 1.23, and whoever waits for it is a goroutine.
	if len(frames) < 3 || frames[0].fn != "time.newTimer" || frames[1].fn != "time.AfterFunc" {
		return &timerSite{skip: true}
	}
	s := &timerSite{frames: frames[2:]}
	for len(s.frames) > 1 && inRuntime(s.frames[len(s.frames)-1].fn) {
		s.frames = s.frames[:len(s.frames)-1]
	}
	for len(s.frames) > 1 && strings.HasPrefix(s.frames[0].fn, "context.") {
		s.frames, s.deadline = s.frames[1:], true
	}
	maker := s.frames[0].fn
	s.skip = isStandard(maker) || slices.ContainsFunc(timerMakers, func(fn string) bool { return names(fn, maker) })
	return s
}

// timerMakers keep timers on purpose for what they keep on purpose, as the
// standard library does for kept-alive connections.
var timerMakers = []string{
	"golang.org/x/net/http2",
	"github.com/loadline-go/loadline/leakcheck.dropStopped",
}

// dropStopped has the runtime forget the timers that were stopped. It keeps
// these in the heap of a processor until more than a quarter of that heap are
// stopped ones and a goroutine is scheduled there. So every processor gets some
// more of them, and goroutines.
func dropStopped(others int) {
	each := min(64+others, 10_000)
	var wg sync.WaitGroup
	for range 2 * runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for range 4 {
				stopped := make([]*time.Timer, each)
				for i := range stopped {
					stopped[i] = time.AfterFunc(time.Hour, func() {})
				}
				for _, t := range stopped {
					t.Stop()
				}
				runtime.Gosched()
			}
		})
	}
	wg.Wait()
}

// timersSince returns the timers that have come since then, without those that
// a test was blamed for.
func (c Config) timersSince(then, blamed pending, exactly bool) (pending, error) {
	now, err := readTimers(exactly)
	if err != nil {
		return nil, err
	}
	timers.mu.Lock()
	defer timers.mu.Unlock()
	for stack := range now {
		now[stack] -= then[stack] + timers.blamed[stack] - blamed[stack]
		if now[stack] <= 0 || c.ignores(&goroutine{frames: timers.sites.of(stack, newTimerSite).frames}) {
			delete(now, stack)
		}
	}
	return now, nil
}

// blamedTimers returns how many of each stack tests were blamed for so far.
func blamedTimers() pending {
	timers.mu.Lock()
	defer timers.mu.Unlock()
	return maps.Clone(timers.blamed)
}

func blameTimers(left pending) {
	timers.mu.Lock()
	defer timers.mu.Unlock()
	if timers.blamed == nil {
		timers.blamed = pending{}
	}
	for stack, n := range left {
		timers.blamed[stack] += n
	}
}

// timersLeft waits until those that belong says are wanted have fired or were
// stopped, or nothing changes any more, and describes those that are left.
func (c Config) timersLeft(then, blamed pending, test string, belongs func(frames []frame) bool) (lines []string, err error) {
	var left pending
	lines, err = c.untilClosed(func() ([]string, error) {
		now, err := c.timersSince(then, blamed, len(left) > 0)
		if err != nil {
			return nil, err
		}
		var lines []string
		left = pending{}
		for stack, n := range now {
			timers.mu.Lock()
			s := timers.sites.of(stack, newTimerSite)
			timers.mu.Unlock()
			if belongs(s.frames) {
				left[stack] = n
				lines = append(lines, s.describe(test, n))
			}
		}
		return lines, nil
	})
	blameTimers(left)
	return lines, err
}

func (s *timerSite) describe(test string, n int) string {
	if test == "" {
		test = testOnStack(s.frames)
	}
	if test == "" {
		test = "a test"
	}
	what, why := "a timer", "that has neither fired nor been stopped"
	if n > 1 {
		what, why = fmt.Sprintf("%d timers", n), "that have neither fired nor been stopped"
	}
	if s.deadline {
		what, why = strings.Replace(what, "timer", "context", 1), "whose cancel function was not called"
	}
	at := blockedIn(s.frames)
	return fmt.Sprintf("%s left %s behind %s\n\tmade by     %s\n\t            %s\n\tstack%s", test, what, why, plainName(at.fn), at.position(), stackLines(s.frames))
}

// testOnStack returns the test function that runs in frames, "" for none.
func testOnStack(frames []frame) string {
	for _, f := range slices.Backward(frames) {
		if test := testFunc(f.fn); test != "" {
			return test
		}
	}
	return ""
}

// onlyTest reports whether w's test alone may be the one whose function runs
// in frames: its subtests share it, and when it ends they have ended.
func (r *registry) onlyTest(w *watch, frames []frame) bool {
	test := testOnStack(frames)
	if top, _, _ := strings.Cut(w.name, "/"); test == "" || test != top {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return !slices.ContainsFunc(slices.Concat(r.past, r.watches), func(o *watch) bool {
		top, _, _ := strings.Cut(o.name, "/")
		return o != w && top == test && (o.ended == 0 || o.ended > w.began) && !strings.HasPrefix(o.name, w.name+"/")
	})
}
