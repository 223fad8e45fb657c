package timeline

import (
	"fmt"
	"io"

	"golang.org/x/exp/trace"
)

// Wakes reads a recording and tells of each wait for a channel, a condition or a
// semaphore that ended in it: where the goroutine stood, and what the goroutine was
// doing that let it go on; by is nil when it was none, as when a timer fires. The
// innermost frames come first, and are read only. It stops at the end of what can
// be read, and returns an error when that is not the end of the recording.
func Wakes(recording io.Reader, tell func(blocked, by []Frame)) (err error) {
	defer func() {
		// The parser of x/exp checks what it reads, but not all of it.
		if p := recover(); p != nil {
			err = fmt.Errorf("timeline: the recording cannot be read: %v", p)
		}
	}()
	r, err := trace.NewReader(&io.LimitedReader{R: recording, N: maxRecording})
	if err != nil {
		return fmt.Errorf("timeline: no recording: %w", err)
	}
	waiting := map[trace.GoID]trace.Stack{}
	known := map[trace.Stack][]Frame{}
	framesOf := func(s trace.Stack) []Frame {
		all, ok := known[s]
		if !ok {
			all = framesOf(s)
			known[s] = all
		}
		return all
	}
	for {
		e, err := r.ReadEvent()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("timeline: the recording is torn: %w", err)
		case e.Kind() != trace.EventStateTransition:
			continue
		}
		c := e.StateTransition()
		if c.Resource.Kind != trace.ResourceGoroutine {
			continue
		}
		id := c.Resource.Goroutine()
		from, to := c.Goroutine()
		stack, waited := waiting[id]
		delete(waiting, id)
		switch {
		case to == trace.GoWaiting:
			switch c.Reason {
			case "select", "chan send", "chan receive", "sync.(*Cond).Wait", "sync", "": // without one it waited when the recording began
				waiting[id] = c.Stack
			}
		case from == trace.GoWaiting && waited:
			var by []Frame
			if e.Goroutine() != trace.NoGoroutine {
				if by = framesOf(e.Stack()); by == nil {
					by = []Frame{}
				}
			}
			tell(framesOf(stack), by)
		}
	}
}
