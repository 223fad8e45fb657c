package leakcheck

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Frame is one place in the code.
type Frame struct {
	Function string // as in a traceback: example.com/shop.(*Queue).next
	File     string
	Line     int
}

// String returns "example.com/shop.(*Queue).next (/src/queue.go:41)", or
// "unknown place" for the zero Frame.
func (f Frame) String() string {
	switch {
	case f == Frame{}:
		return "unknown place"
	case f.File == "":
		return f.Function
	}
	return strings.TrimPrefix(f.Function+" ("+f.File+":"+strconv.Itoa(f.Line)+")", " ")
}

func (f frame) public() Frame {
	return Frame{Function: plainName(f.fn), File: f.file, Line: f.line}
}

// A Suspect is a group of things that only grows while the program runs.
type Suspect struct {
	// Kind is "goroutine", "heap", or that of the [Source] that found it:
	// "file", "socket". Package observe adds "rows", "tx" and "body", which go by
	// the clock instead of by windows: five of one place that were left alone for
	// a minute, or one for five minutes.
	Kind string
	// Site is where the goroutines are blocked, the memory was allocated, the
	// thing was opened: in code outside the standard library if there is any
	// on the stack. Zero when nobody knows.
	Site Frame
	// Creator is the go statement of goroutines, else zero. It is also zero
	// where the stacks could not be afforded (see [Config.MaxPause]).
	Creator Frame
	// Group is what its members have in common beside the site, such as a
	// peer or a directory; "" for goroutines and heap.
	Group string
	// State is what most of them wait for, "chan send", or are in, "CLOSE_WAIT".
	State string
	// Stack is that of one of them, innermost call first; "" when unknown.
	Stack string
	// Count is how many there are. Bytes is how much memory they keep, of
	// heap sites only, estimated from the samples of the memory profile.
	Count int
	Bytes int64
	// PerHour is how many more there are each hour; of heap sites, how many
	// bytes more. As Count and Basis, it is of the window that tells it: about 0
	// when the group does not grow any more.
	PerHour float64
	// Since is when the first was seen, at the earliest when Watch began.
	Since time.Time
	// Confidence is from 0 to 1, and of the window in which the group last
	// looked like a leak:
	//
	//   - 1: the runtime proved it ([Config.Proof]).
	//   - 0.97: the members were told one from another in nearly each window, the
	//     old ones stayed, in a state in which nobody waits for long on purpose.
	//   - 0.9: the same in any other state; or told from another in some windows
	//     in such a state; or counted, while hardly any goroutine of the program
	//     ended.
	//   - 0.85: told one from another in some windows; or a heap site of which
	//     three quarters of what was allocated stayed.
	//   - 0.75, 0.7, 0.6: the growth alone speaks: of members that were counted, in
	//     such a state, or in another; of a heap site whose memory comes and goes.
	//
	// They are ranks, not measured frequencies: below 0.8 look before you wake
	// anybody.
	Confidence float64
	// Basis says what it was compared with: over how many windows, whether
	// its members were seen one by one, and how the load went meanwhile.
	Basis string
	// Next is the command to type next.
	Next string
}

// String returns one line for a log.
func (s Suspect) String() string {
	var b strings.Builder
	switch s.Kind {
	case "heap":
		fmt.Fprintf(&b, "%s of heap allocated at %s", size(float64(s.Bytes)), s.Site)
	case "goroutine":
		fmt.Fprintf(&b, "%d goroutines [%s] in %s", s.Count, s.State, s.Site)
		if s.Creator != (Frame{}) {
			fmt.Fprintf(&b, ", created by %s", s.Creator)
		}
	default:
		fmt.Fprintf(&b, "%d of kind %s", s.Count, s.Kind)
		if s.Group != "" {
			fmt.Fprintf(&b, ", %s", s.Group)
		}
		if s.State != "" {
			fmt.Fprintf(&b, " [%s]", s.State)
		}
		if s.Site != (Frame{}) {
			fmt.Fprintf(&b, ", opened at %s", s.Site)
		}
	}
	more := fmt.Sprintf("%.3g", s.PerHour)
	if s.PerHour >= 100 {
		more = fmt.Sprintf("%.0f", s.PerHour) // not 7.31e+04
	}
	if s.Kind == "heap" {
		more = size(s.PerHour)
	}
	fmt.Fprintf(&b, ", %s more an hour since %s", more, s.Since.Format(time.RFC3339))
	return b.String()
}

// size prints bytes for people, in three digits.
func size(n float64) string {
	for _, u := range []struct {
		over float64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= u.over {
			return fmt.Sprintf("%.3g %s", n/u.over, u.name)
		}
	}
	return fmt.Sprintf("%.3g B", n)
}

// A Source tells a Watch of things that a program may forget to give back, of
// which it knows each: descriptors, connections, rows.
type Source struct {
	// Kind names them in the singular; it becomes [Suspect.Kind].
	Kind string
	// Open returns those that are open now. A Watch calls it once a window,
	// never concurrently; an error makes the window unknown for this source
	// alone. Verify calls it until nothing new is open or Patience is over; an
	// error fails the test.
	Open func() ([]Member, error)
}

// A Member is one thing that is open. Members of one Group and Site are
// judged together: they leak if the old ones stay while new ones come.
type Member struct {
	// ID is its own for as long as it is open, and not another's soon after.
	ID uint64
	// Group is what it has in common with others, "to 10.0.0.7:5432": of few
	// values, and not of random ones.
	Group string
	// Site is where it was opened; zero when unknown. Stack is the whole
	// stack, if known.
	Site  Frame
	Stack string
	// State says how it is, "CLOSE_WAIT"; may be "".
	State string
	// Stuck says that nothing is for long in this state on purpose, so that
	// fewer windows are enough.
	Stuck bool
	// Unused says that newer ones were opened since it was last used, which a
	// pool does not do with one that it has, so that 24 windows are enough where
	// a pool takes 36, or 16 under a load that is known and steady.
	Unused bool

	busy bool // used lately, and not new
}

// A Look is what Watch knows after one window.
type Look struct {
	At time.Time
	// Windows is how many there were so far, this one included.
	Windows int
	// Suspects are all at present, the surest first; not only new ones.
	Suspects []Suspect
	// Unknown says what could not be looked at in this window, and why. What
	// is not looked at is not healthy, it is unknown.
	Unknown []error
	// Next is when the next window ends, from At.
	Next time.Duration
	// Pause is the longest that this window stopped the program, as far as
	// Watch can tell; Cost is the CPU time that looking took altogether, or the
	// time where the system does not tell that.
	Pause, Cost time.Duration
}
