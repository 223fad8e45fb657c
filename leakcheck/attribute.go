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
	past     []*watch
	reported map[int64]bool // goroutines that some test was blamed for

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

func (r *registry) blame(gs []*goroutine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reported == nil {
		r.reported = map[int64]bool{}
	}
	for _, g := range gs {
		if g.id != 0 {
			r.reported[g.id] = true
		}
	}
}

// checkFunc is on the stack of every goroutine that checks.
const checkFunc = "github.com/loadline-go/loadline/leakcheck.Config.check"

// A census is all goroutines of one moment, each with the test it belongs to.
type census struct {
	all  []*goroutine
	byID map[int64]*goroutine
	// owner has the label of the test that a goroutine belongs to, for those
	// where it is certain.
	owner    map[*goroutine]string
	reported map[int64]bool
	err      error // goroutines may be missing
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
	c := newCensus(gs, rs, slices.Concat(r.past, r.watches))
	c.reported = maps.Clone(r.reported)
	switch {
	case terr != nil:
		c.err = fmt.Errorf("reading the goroutines' stacks: %w", terr)
	case perr != nil:
		c.err = fmt.Errorf("reading the goroutine profile: %w", perr)
	}
	return c
}

func newCensus(gs []goroutine, rs []record, watches []*watch) *census {
	c := &census{byID: map[int64]*goroutine{}, owner: map[*goroutine]string{}}
	byKey := map[string][]*goroutine{}
	for i := range gs {
		g := &gs[i]
		c.all = append(c.all, g)
		c.byID[g.id] = g
		key := stackKey(g.frames)
		byKey[key] = append(byKey[key], g)
	}

	// Count the profile's goroutines by stack and test. The test "" stands
	// for all that have no label of ours.
	type slot struct {
		left   map[string]int
		frames []frame
	}
	slots := map[string]*slot{}
	for _, rec := range rs {
		key := stackKey(rec.frames)
		s := slots[key]
		if s == nil {
			s = &slot{left: map[string]int{}, frames: rec.frames}
			slots[key] = s
		}
		s.left[rec.labels[labelKey]] += rec.count
	}

	// sure returns the test that g says it belongs to.
	sure := func(g *goroutine) (label string, ok bool) {
		for _, w := range slices.Backward(watches) {
			if w.self == g.id {
				return w.label, true
			}
		}
		label, ok = g.labels[labelKey]
		return label, ok
	}
	var unowned, unmatched []*goroutine
	give := func(s *slot, g *goroutine, label string) {
		s.left[label]--
		if label != "" {
			c.owner[g] = label
		} else {
			unowned = append(unowned, g)
		}
	}
	for key, members := range byKey {
		s := slots[key]
		if s == nil {
			unmatched = append(unmatched, members...)
			continue
		}
		// A stack that only one test has settles all its members. Where
		// several tests share one, the members with a traceable ancestry are
		// settled first, then any will do: the counts are right in any case.
		var open []*goroutine
		for _, g := range members {
			label, isSure := sure(g)
			ok := isSure
			if !ok {
				label, ok = c.inherited(g, watches)
			}
			switch {
			case ok && s.left[label] > 0:
				give(s, g, label)
			case isSure:
				unmatched = append(unmatched, g)
			default:
				open = append(open, g)
			}
		}
		labels := slices.Sorted(maps.Keys(s.left))
		slices.Reverse(labels) // "" last
		for _, g := range open {
			i := slices.IndexFunc(labels, func(l string) bool { return s.left[l] > 0 })
			if i < 0 {
				unmatched = append(unmatched, g)
				continue
			}
			give(s, g, labels[i])
		}
	}
	// What moved between the two readings has another stack in each; it still
	// began in the same function. What the profile has under a test's label
	// and the traceback has not at all is kept without identity, but for the
	// goroutines of checks: they move all the time.
	for _, s := range slots {
		for label, n := range s.left {
			for ; n > 0 && label != ""; n-- {
				ghost := &goroutine{state: "unknown", frames: s.frames}
				fits := func(wantSure bool) func(*goroutine) bool {
					return func(g *goroutine) bool {
						l, isSure := sure(g)
						return isSure == wantSure && (!isSure || l == label) && g.outermost() == ghost.outermost()
					}
				}
				i := slices.IndexFunc(unmatched, fits(true))
				if i < 0 {
					i = slices.IndexFunc(unmatched, fits(false))
				}
				if i >= 0 {
					c.owner[unmatched[i]] = label
					unmatched = slices.Delete(unmatched, i, i+1)
				} else if !runs(ghost, checkFunc) {
					c.all = append(c.all, ghost)
					c.owner[ghost] = label
				}
			}
		}
	}
	for _, g := range unmatched {
		if label, ok := sure(g); ok {
			c.owner[g] = label
		} else {
			unowned = append(unowned, g)
		}
	}
	// pprof.Do and pprof.SetGoroutineLabels replace the label. Such goroutines
	// belong to whom their parents belong to. A pass settles children of the
	// settled, so repeat while one does.
	for again := true; again; {
		again = false
		for _, g := range unowned {
			if _, ok := c.owner[g]; ok {
				continue
			}
			label, ok := c.inherited(g, watches)
			if !ok {
				label, ok = namedAfter(g, watches)
			}
			if ok {
				c.owner[g] = label
				again = true
			}
		}
	}
	for g, label := range c.owner {
		g.test = labelName(label)
		for _, w := range watches {
			if w.label == label && g.id != 0 {
				w.adopted[g.id] = true
			}
		}
	}
	return c
}

// inherited returns the test of g's nearest ancestor that has one: a test's
// own goroutine, one that was settled before, alive or not, or one that this
// census has settled.
func (c *census) inherited(g *goroutine, watches []*watch) (label string, ok bool) {
	ancestors := g.ancestors
	if len(ancestors) == 0 && g.parent != 0 {
		ancestors = []int64{g.parent}
	}
	for _, id := range ancestors {
		// The last one that a goroutine began is the innermost.
		for _, w := range slices.Backward(watches) {
			if !w.start[g.id] && g.id != w.self && (id == w.self || w.adopted[id]) {
				return w.label, true
			}
		}
		p := c.byID[id]
		if label, ok = c.owner[p]; p == nil || !ok {
			continue
		}
		older := slices.ContainsFunc(watches, func(w *watch) bool { return w.label == label && w.start[g.id] })
		if !older {
			return label, true
		}
	}
	return "", false
}

// namedAfter returns the one test whose function, or a closure of it, has
// started g or is g's own function.
func namedAfter(g *goroutine, watches []*watch) (label string, ok bool) {
	var found []*watch
	for _, w := range watches {
		test, _, _ := strings.Cut(w.name, "/")
		if w.start[g.id] || g.id == w.self || w.startErr != nil || g.bubble != w.bubble && w.bubble != 0 || !g.inTest(test) {
			continue
		}
		// On one goroutine the last that began is the innermost. What ended
		// before this test began can have started nothing that is new to it.
		found = slices.DeleteFunc(found, func(o *watch) bool {
			return o.self == w.self || o.ended != 0 && o.ended < w.began
		})
		found = append(found, w)
	}
	if len(found) != 1 {
		return "", false // several subtests: any of them
	}
	return found[0].label, true
}

// foreign reports whether g descends from a goroutine that is still alive and
// is older than the watch, other than the test's own: a server that all tests
// share starts goroutines while one of them runs.
func (c *census) foreign(g *goroutine, start map[int64]bool, self int64) bool {
	for range len(c.all) {
		p := c.byID[g.parent]
		if p == nil || p.id == self {
			return false
		}
		if start[p.id] {
			return !runs(p, "testing.(*M).Run")
		}
		g = p
	}
	return false
}
