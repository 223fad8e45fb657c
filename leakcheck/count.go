package leakcheck

import (
	"runtime"
	"strings"
)

// maxStacks bounds the stacks that a reading remembers the names of. What a
// program has more of is read anew each time.
const maxStacks = 8192

// A stackCache has the frames of stacks by their return addresses, because
// naming them costs more than counting them.
type stackCache[T any] struct {
	all map[[32]uintptr]T
}

// of returns what name makes of the frames of stack, innermost first, those
// of the runtime included.
func (c *stackCache[T]) of(stack [32]uintptr, name func([]frame) T) T {
	if v, ok := c.all[stack]; ok {
		return v
	}
	v := name(framesOf(stack[:]))
	if c.all == nil || len(c.all) >= maxStacks {
		c.all = map[[32]uintptr]T{}
	}
	c.all[stack] = v
	return v
}

func framesOf(stack []uintptr) (all []frame) {
	for i, pc := range stack {
		if pc == 0 {
			stack = stack[:i]
			break
		}
	}
	if len(stack) == 0 {
		return nil
	}
	for frames := runtime.CallersFrames(stack); ; {
		f, more := frames.Next()
		if f.Function != "" {
			all = append(all, frame{fn: f.Function, file: f.File, line: f.Line})
		}
		if !more {
			return all
		}
	}
}

// A counter counts goroutines by stack. That stops the program for an
// instant, however many there are, but does not tell one from another, nor
// who created them.
type counter struct {
	records []runtime.StackRecord
	stacks  stackCache[*counted]
}

// A counted is what all goroutines with one stack have in common.
type counted struct {
	key           string
	g             goroutine // without id and creator
	skip          bool
	many, handles bool
}

// read returns the groups of all goroutines but the caller's own, with sizes
// alone.
func (c *counter) read(skip func(*goroutine) bool) map[string]*tally {
	n := runtime.NumGoroutine()
	for {
		// Some may start between the two calls.
		if n += n/8 + 16; cap(c.records) < n {
			c.records = make([]runtime.StackRecord, n)
		}
		var ok bool
		if n, ok = runtime.GoroutineProfile(c.records[:cap(c.records)]); ok {
			break
		}
	}
	records := c.records[:n]
	if cap(c.records) > 4*n+1024 {
		c.records = nil // after a peak
	}
	groups := map[string]*tally{}
	for i := range records {
		s := c.stacks.of(records[i].Stack0, func(frames []frame) *counted {
			g := goroutine{state: stateOf(frames)}
			for len(frames) > 0 && inRuntime(frames[0].fn) {
				frames = frames[1:]
			}
			for len(frames) > 0 && inRuntime(frames[len(frames)-1].fn) {
				frames = frames[:len(frames)-1]
			}
			g.frames = frames
			return &counted{key: siteKey(frames), g: g, skip: len(frames) == 0 || runs(&g, readFunc) || skip(&g), many: manyAllowed(&g), handles: handles(&g)}
		})
		if s.skip {
			continue
		}
		t := groups[s.key]
		if t == nil {
			t = &tally{many: s.many, about: func(uint64) Suspect { return s.g.suspect() }}
			groups[s.key] = t
		}
		t.size++
		if isStuck(&s.g) {
			t.stuck++
		}
		if s.g.state == "IO wait" {
			t.remote++
		}
		if s.handles {
			t.handling++
		}
	}
	return groups
}

// readFunc is on the stack of every goroutine that reads.
const readFunc = "github.com/loadline-go/loadline/leakcheck.(*watcher).goroutineReading"

// stateOf returns what a traceback would say that a goroutine with these
// frames waits for, as far as they tell.
func stateOf(frames []frame) string {
	state := "running"
	for _, f := range frames {
		switch f.fn {
		case "runtime.chansend", "runtime.chansend1":
			return "chan send"
		case "runtime.chanrecv", "runtime.chanrecv1", "runtime.chanrecv2":
			return "chan receive"
		case "runtime.selectgo":
			return "select"
		case "runtime.block":
			return "select (no cases)"
		case "runtime.coroswitch", "runtime.coroswitch_m", "runtime.corostart":
			return "coroutine"
		case "runtime.netpollblock", "internal/poll.runtime_pollWait":
			return "IO wait"
		case "time.Sleep", "runtime.timeSleep":
			return "sleep"
		case "sync.(*Mutex).Lock", "sync.(*RWMutex).Lock", "sync.(*RWMutex).RLock", "sync.(*WaitGroup).Wait", "sync.(*Cond).Wait":
			return strings.NewReplacer("(*", "", ")", "").Replace(f.fn)
		case "runtime.semacquire", "runtime.semacquire1":
			state = "semacquire" // unless a frame of sync says more
		}
		if !inRuntime(f.fn) && !strings.HasPrefix(f.fn, "sync.") && !strings.HasPrefix(f.fn, "internal/") {
			break
		}
	}
	return state
}
