package leakcheck

import (
	"maps"
	"slices"
	"strings"
)

// checkFunc is on the stack of every goroutine that checks.
const checkFunc = "github.com/loadline-go/loadline/leakcheck.Config.check"

// A census is all goroutines of one moment, each with the test it belongs to.
type census struct {
	all  []*goroutine
	byID map[int64]*goroutine
	// owner has the label of the test that a goroutine belongs to, for those
	// where it is certain.
	owner map[*goroutine]string
	// reported has the label of the test that was blamed for a goroutine.
	reported map[int64]string
	// relabelled are those that have labels, but not ours.
	relabelled map[*goroutine]bool
	// watches are the tests that the census knows of, the past ones first.
	watches []*watch
	err     error // goroutines may be missing
}

func newCensus(gs []goroutine, rs []record, watches []*watch, reported map[int64]string) *census {
	c := &census{byID: map[int64]*goroutine{}, owner: map[*goroutine]string{}, relabelled: map[*goroutine]bool{}, watches: watches, reported: reported}
	for i := range gs {
		c.all = append(c.all, &gs[i])
		c.byID[gs[i].id] = &gs[i]
	}
	l := newLedger(rs)
	free, moved := c.settleByStack(l)
	free = append(free, c.settleMoved(l, moved)...)
	c.settleByDescent(free)
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

// A ledger has what the profile counts, by stack and test, and is still to be
// given to a goroutine of the traceback. The test "" stands for all that have
// no label of ours.
type ledger map[string]*entry

type entry struct {
	left   map[string]int
	other  int // of left[""], how many have other labels
	frames []frame
}

func newLedger(rs []record) ledger {
	l := ledger{}
	for _, rec := range rs {
		key := stackKey(rec.frames)
		if l[key] == nil {
			l[key] = &entry{left: map[string]int{}, frames: rec.frames}
		}
		l[key].left[rec.labels[labelKey]] += rec.count
		if rec.labels[labelKey] == "" && len(rec.labels) > 0 {
			l[key].other += rec.count
		}
	}
	return l
}

// sure returns the test that g belongs to whatever its stack: a test's own
// goroutine, one that a test was blamed for, one whose traceback has labels.
func (c *census) sure(g *goroutine) (label string, ok bool) {
	for _, w := range slices.Backward(c.watches) {
		if w.self == g.id {
			return w.label, true
		}
	}
	if label, ok = c.reported[g.id]; ok {
		return label, true
	}
	label, ok = g.labels[labelKey]
	return label, ok
}

// wasReported reports whether a test was blamed for g.
func (c *census) wasReported(g *goroutine) bool {
	_, ok := c.reported[g.id]
	return ok
}

// settleByStack gives goroutines to the tests under whose label the profile
// has their stack. A stack that only one test has settles all its members.
// Where several tests share one, the members with a traceable ancestry are
// settled first, then any will do: the counts are right in any case. It
// returns those without a label and those whose stack the profile lacks.
func (c *census) settleByStack(l ledger) (free, moved []*goroutine) {
	byKey := map[string][]*goroutine{}
	for _, g := range c.all {
		key := stackKey(g.frames)
		byKey[key] = append(byKey[key], g)
	}
	for key, members := range byKey {
		e := l[key]
		if e == nil {
			moved = append(moved, members...)
			continue
		}
		give := func(g *goroutine, label string) {
			e.left[label]--
			if label != "" {
				c.owner[g] = label
				return
			}
			free = append(free, g)
			if e.other > 0 {
				e.other--
				c.relabelled[g] = true
			}
		}
		var open []*goroutine
		for _, g := range members {
			label, isSure := c.sure(g)
			ok := isSure
			if !ok {
				label, ok = c.inherited(g)
			}
			switch {
			case ok && e.left[label] > 0:
				give(g, label)
			case isSure:
				moved = append(moved, g)
			default:
				open = append(open, g)
			}
		}
		labels := slices.Sorted(maps.Keys(e.left))
		slices.Reverse(labels) // "" last
		for _, g := range open {
			i := slices.IndexFunc(labels, func(label string) bool { return e.left[label] > 0 })
			if i < 0 {
				moved = append(moved, g)
				continue
			}
			give(g, labels[i])
		}
	}
	return free, moved
}

// settleMoved settles those that moved between the two readings: their stack
// is another in each, but still began in the same function. What the profile
// has under a test's label and the traceback has not at all is kept without
// identity, but for the goroutines of checks: they move all the time. It
// returns those that nobody's label fits.
func (c *census) settleMoved(l ledger, moved []*goroutine) (free []*goroutine) {
	for _, e := range l {
		for label, n := range e.left {
			if label == "" {
				continue
			}
			for range n {
				ghost := &goroutine{state: "unknown", frames: e.frames}
				fits := func(wantSure bool) func(*goroutine) bool {
					return func(g *goroutine) bool {
						l, isSure := c.sure(g)
						return isSure == wantSure && (!isSure || l == label) && g.outermost() == ghost.outermost()
					}
				}
				i := slices.IndexFunc(moved, fits(true))
				if i < 0 {
					i = slices.IndexFunc(moved, fits(false))
				}
				if i >= 0 {
					c.owner[moved[i]] = label
					moved = slices.Delete(moved, i, i+1)
				} else if !runs(ghost, checkFunc) {
					c.all = append(c.all, ghost)
					c.owner[ghost] = label
				}
			}
		}
	}
	for _, g := range moved {
		if label, ok := c.sure(g); ok {
			c.owner[g] = label
		} else {
			free = append(free, g)
		}
	}
	return free
}

// settleByDescent settles goroutines that have no label of ours, because
// pprof.Do or pprof.SetGoroutineLabels replaced it. A pass settles children of
// the settled, so it repeats while one does.
func (c *census) settleByDescent(free []*goroutine) {
	for again := true; again; {
		again = false
		for _, g := range free {
			if _, ok := c.owner[g]; ok {
				continue
			}
			label, ok := c.inherited(g)
			if !ok && c.relabelled[g] {
				label, ok = c.namedAfter(g)
			}
			if ok {
				c.owner[g] = label
				again = true
			}
		}
	}
}

// inherited returns the test of g's nearest ancestor that has one: a test's
// own goroutine, one that was settled before, alive or not, or one that this
// census has settled.
func (c *census) inherited(g *goroutine) (label string, ok bool) {
	ancestors := g.ancestors
	if len(ancestors) == 0 && g.parent != 0 {
		ancestors = []int64{g.parent}
	}
	for _, id := range ancestors {
		// The last one that a goroutine began is the innermost.
		for _, w := range slices.Backward(c.watches) {
			if !w.start[g.id] && g.id != w.self && (id == w.self || w.adopted[id]) {
				return w.label, true
			}
		}
		p := c.byID[id]
		if label, ok = c.owner[p]; p == nil || !ok {
			continue
		}
		older := slices.ContainsFunc(c.watches, func(w *watch) bool { return w.label == label && w.start[g.id] })
		if !older {
			return label, true
		}
	}
	return "", false
}

// namedAfter returns the one test whose function, or a closure of it, has
// started g or is g's own function. It is for goroutines that lost the label:
// those that never had one may be a subtest's without Verify.
func (c *census) namedAfter(g *goroutine) (label string, ok bool) {
	var found []*watch
	for _, w := range c.watches {
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
