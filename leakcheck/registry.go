package leakcheck

import (
	"context"
	"fmt"
	"maps"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
)

// labelKey is the profiler label that a test's goroutines carry: children
// inherit the labels of the goroutine that starts them.
const labelKey = "leakcheck"

// A watch is one test under Verify, from that call to the end of its check.
type watch struct {
	name  string         // the test
	label string         // unique in the process, unlike the name under -count
	self  int64          // the test's own goroutine
	start map[int64]bool // who lived when the test began
	// startErr says that start is incomplete, so that novelty proves nothing.
	startErr error
	bubble   int // the synctest bubble that the test runs in, 0 for none
	// open are the descriptors at the start; nil when not looked at.
	open map[descriptor]bool
	// held is what the Sources had open at the start.
	held holdings
	// pending are the timers that had not fired at the start, nil when not
	// looked at, and blamed those that tests had been blamed for.
	pending, blamed pending
	// adopted are goroutines found to belong to this test although they lost
	// its label. Their children are found through them after they have ended.
	adopted map[int64]bool
	// began and ended are times of the registry's clock; ended is 0 until then.
	began, ended int
}

// tests is what the checks of one process know of each other, which they must,
// because tests run in parallel and see each other's goroutines.
var tests registry

type registry struct {
	mu      sync.Mutex
	clock   int
	watches []*watch // in the order of their Verify
	// past are those that ended while another was under watch: what they own
	// is not that one's.
	past []*watch
	// reported has the label of the test that was blamed for a goroutine. Of
	// goroutines with one stack any may have been taken for a test's; what was
	// taken for one test must not be taken for the next.
	reported map[int64]string

	counting sync.Mutex
	// now is the census being taken, next the one that will be.
	now, next *count
}

// begin labels the calling goroutine as the test's. It returns nil if the
// goroutine's test is under watch already.
func (r *registry) begin(name string) *watch {
	gs, err := readTraceback()
	w := &watch{name: name, start: map[int64]bool{}, adopted: map[int64]bool{}, startErr: err}
	if len(gs) > 0 {
		w.self, w.bubble = gs[0].id, gs[0].bubble
	}
	for i := range gs {
		w.start[gs[i].id] = true
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range r.watches {
		if o.self == w.self && o.name == name {
			return nil
		}
	}
	r.clock++
	w.began = r.clock
	w.label = fmt.Sprintf("%s#%d", name, r.clock)
	r.watches = append(r.watches, w)
	setLabel(w.label)
	return w
}

// end gives the goroutine back the label of the watch around this one.
func (r *registry) end(w *watch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock++
	w.ended = r.clock
	r.watches = slices.DeleteFunc(r.watches, func(o *watch) bool { return o == w })
	if r.past = append(r.past, w); len(r.watches) == 0 {
		r.past = nil
	}
	outer := ""
	for _, o := range r.watches {
		if o.self == w.self {
			outer = o.label
		}
	}
	setLabel(outer)
}

func setLabel(label string) {
	ctx := context.Background()
	if label != "" {
		ctx = pprof.WithLabels(ctx, pprof.Labels(labelKey, label))
	}
	pprof.SetGoroutineLabels(ctx)
}

// labelName returns the name of the test that a label stands for.
func labelName(label string) string {
	if i := strings.LastIndexByte(label, '#'); i >= 0 {
		return label[:i]
	}
	return label
}

func (r *registry) blame(w *watch, gs []*goroutine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reported == nil {
		r.reported = map[int64]string{}
	}
	for _, g := range gs {
		if g.id != 0 {
			r.reported[g.id] = w.label
		}
	}
}

// A count is a census that several checks may wait for.
type count struct {
	census *census
	done   chan struct{}
}

// take returns a census that began after the call. Checks that ask while one
// is being taken share the next: with hundreds of parallel tests, each would
// otherwise wait for those of all others. In a synctest bubble nothing is
// shared, because bubbles must not meet.
func (r *registry) take(bubble bool) *census {
	if bubble {
		return r.census()
	}
	r.counting.Lock()
	before := r.now
	c := r.next
	mine := c == nil
	if mine {
		c = &count{done: make(chan struct{})}
		if before == nil {
			r.now = c
		} else {
			r.next = c
		}
	}
	r.counting.Unlock()
	if !mine {
		<-c.done
		return c.census
	}
	if before != nil {
		<-before.done
		r.counting.Lock()
		r.now, r.next = c, nil
		r.counting.Unlock()
	}
	c.census = r.census()
	r.counting.Lock()
	if r.now == c && r.next == nil {
		r.now = nil
	}
	r.counting.Unlock()
	close(c.done)
	return c.census
}

// census counts all goroutines. The two sources are read one after the other:
// identity, state and creator come from the traceback, labels from the
// profile. What lives in only one of them was just born or is just ending,
// and another census will tell.
func (r *registry) census() *census {
	gs, terr := readTraceback()
	rs, perr := readProfile()
	r.mu.Lock()
	defer r.mu.Unlock()
	c := newCensus(gs, rs, slices.Concat(r.past, r.watches), maps.Clone(r.reported))
	switch {
	case terr != nil:
		c.err = fmt.Errorf("reading the goroutines' stacks: %w", terr)
	case perr != nil:
		c.err = fmt.Errorf("reading the goroutine profile: %w", perr)
	}
	return c
}
