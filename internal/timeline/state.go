package timeline

import (
	"strings"
	"time"

	"golang.org/x/exp/trace"
)

// A State is what a goroutine was doing.
type State uint8

const (
	Running State = iota
	Ready         // could run; waited for a processor
	Lock          // sync.Mutex, sync.RWMutex, and what is built of them
	Channel       // channels, select, sync.WaitGroup, sync.Cond: for another goroutine's word
	Network       // a connection or pipe, or the answer that net/http's client waits for
	Syscall       // in the kernel: files, name lookups, and C code
	GC            // made to help the garbage collector, or waiting for it
	Sleep         // time.Sleep
	Other         // what the recording does not tell
	states
)

var stateNames = [states]string{"running", "ready", "lock", "channel", "network", "syscall", "gc", "sleep", "other"}

// String returns the word for a State, as it stands in the table of Report.Print.
func (s State) String() string {
	if s >= states {
		return "unknown"
	}
	return stateNames[s]
}

// Blocked tells whether the goroutine waited for something else than a processor.
func (s State) Blocked() bool { return s != Running && s != Ready }

// Times is how long a request was in each State.
type Times [states]time.Duration

// Wall is all of it.
func (t *Times) Wall() (sum time.Duration) {
	for _, d := range t {
		sum += d
	}
	return sum
}

// Share is a State's part of the wall time, from 0 to 1.
func (t *Times) Share(s State) float64 {
	wall := t.Wall()
	if wall <= 0 {
		return 0
	}
	return float64(t[s]) / float64(wall)
}

func (t *Times) add(o *Times) {
	for i, d := range o {
		t[i] += d
	}
}

// waiting tells what a goroutine waits for by the runtime's reason, and where
// that is not enough, by who called. The reasons are those of
// runtime/traceruntime.go, the same from Go 1.22 to 1.27.
func waiting(reason string, stack []Frame) State {
	switch reason {
	case "sync", "sync.(*Cond).Wait", "select", "chan send", "chan receive", "":
		if s, ok := called(stack); ok {
			return s
		}
	}
	switch reason {
	case "network":
		return Network
	case "sync":
		if len(stack) > 0 && strings.HasPrefix(stack[0].Func, "runtime.") { // of the runtime's own: an allocation that is to begin a collection
			return GC
		}
		return Lock
	case "sync.(*Cond).Wait", "select", "chan send", "chan receive":
		return Channel
	case "GC mark assist wait for work", "wait until GC ends", "GC weak to strong wait", "GC background sweeper wait":
		return GC
	case "sleep":
		return Sleep
	case "preempted":
		return Ready
	}
	return Other
}

// called knows functions in which a wait is for more than their own channel or
// semaphore, and those that tell where the runtime gives no reason: of a
// goroutine that waited when the recording began.
func called(stack []Frame) (State, bool) {
	for _, f := range stack {
		switch f.Func {
		case "sync.(*WaitGroup).Wait", "sync.(*Cond).Wait":
			return Channel, true
		case "sync.(*Mutex).Lock", "sync.(*RWMutex).Lock", "sync.(*RWMutex).RLock":
			return Lock, true
		case "internal/poll.runtime_pollWait":
			return Network, true
		case "time.Sleep":
			return Sleep, true
		}
		// The answer is read by the connection's own goroutine.
		if f.Func == "net/http.(*persistConn).roundTrip" || strings.HasPrefix(f.Func, "net/http.(*http2ClientConn)") ||
			strings.HasPrefix(f.Func, "net/http.(*http2clientStream)") || strings.HasPrefix(f.Func, "net/http/internal/http2.(*ClientConn)") {
			return Network, true
		}
	}
	return 0, false
}

// A Frame is one call of a stack, the innermost first.
type Frame struct {
	Func string
	File string
	Line int
}

// frames bounds what is kept of a stack: the recorder keeps 128.
const frames = 64

func framesOf(s trace.Stack) (stack []Frame) {
	for f := range s.Frames() {
		if len(stack) == frames {
			break
		}
		stack = append(stack, Frame{Func: f.Func, File: f.File, Line: int(f.Line)})
	}
	return stack
}

// below are the packages in which nobody looks for the reason of a wait.
var below = []string{
	"runtime.", "runtime/", "internal/", "sync.", "sync/", "syscall.", "net.", "net/", "os.", "io.", "bufio.", "context.", "time.",
	"crypto/", "database/sql.", "encoding/", "compress/", "log.", "log/slog.", "fmt.", "reflect.",
	"github.com/loadline-go/loadline/observe.", "github.com/loadline-go/loadline/tracing.", "github.com/loadline-go/loadline/internal/span.",
}

// place is the innermost call of the program's own or of a library of its, the
// innermost of all where there is none.
func place(stack []Frame) Frame {
next:
	for _, f := range stack {
		for _, p := range below {
			if strings.HasPrefix(f.Func, p) {
				continue next
			}
		}
		return f
	}
	if len(stack) > 0 {
		return stack[0]
	}
	return Frame{}
}
