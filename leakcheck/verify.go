package leakcheck

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"time"
)

// Verify fails t if goroutines that t started are left when it has ended. Call
// it first in the test, on the test's own goroutine and before t.Parallel, so
// that the check comes after every other cleanup. A second call in the same
// test does nothing.
//
// The test's goroutine gets a profiler label, which all that it starts
// inherits: tests that run in parallel are not blamed for each other, and a
// subtest with a Verify of its own takes the blame from its parent. Where
// pprof.Do has replaced the label, a goroutine belongs to the test of its
// parent, else to the one whose function created it, else, if the test did
// not run in parallel with others, to the test during which it appeared. What
// is still nobody's is left to VerifyMain; under GODEBUG=tracebackancestors=10
// the runtime tells the grandparents too, and less is.
//
// A check that finds nothing does not wait. One that finds something waits for
// it to end as [Config.Patience] says; where the runtime proves the leak, it
// does not wait either.
//
// In a synctest bubble call Verify inside the bubble; it then waits in the
// bubble's time.
//
// On Linux the test also fails if it did not run in parallel with others and
// left files, pipes or listeners open; the pipes that package net keeps for
// io.Copy between connections do not count. Where a library keeps a goroutine for
// what was not closed, the message says so: the body of a response, a sql.Rows
// with a context that can be cancelled, a sql.Tx. Rows without such a context
// leave no goroutine; [Config.Sources] tell of them and of whatever else there
// is. Timers that have not fired are looked for if [Config.Timers] says so: beside
// others in parallel, the test fails for those that were made while its function,
// which it shares with subtests alone, was on the stack; VerifyMain tells of the
// rest. In a bubble they are not looked for, because they end with it.
//
// One Errorf is made for each group of goroutines that were created and are
// blocked at the same place. If the goroutines cannot be read, t fails with a
// message that says so.
func (c Config) Verify(t TestingT) {
	t.Helper()
	if err := c.validate(); err != nil {
		t.Errorf("leakcheck: %v", err)
		return
	}
	w := tests.begin(t.Name())
	if w == nil {
		return
	}
	if !c.NoDescriptors {
		var err error
		if w.open, err = readDescriptors(); err != nil {
			t.Errorf("leakcheck: unknown which descriptors are open: %v", err)
		}
	}
	var err error
	if w.held, err = c.hold(); err != nil {
		t.Errorf("leakcheck: unknown what is open: %v", err)
	}
	if c.Timers && w.bubble == 0 {
		recordTimers()
		w.blamed = blamedTimers()
		if w.pending, err = readTimers(true); err != nil {
			t.Errorf("leakcheck: unknown which timers there are: %v", err)
		}
	}
	t.Cleanup(func() {
		t.Helper()
		defer tests.end(w)
		c.check(t, w)
	})
}

func (c Config) check(t TestingT, w *watch) {
	t.Helper()
	alone := sync.OnceValue(func() bool { return ranAlone(t) })
	me := currentGoroutine() // the test's own, as a rule
	left, err := c.patiently(me.bubble, func(n *census) []*goroutine {
		own, orphans := c.leftOf(n, w, me.id)
		if len(orphans) > 0 && alone() {
			own = append(own, orphans...)
		}
		return own
	})
	tests.blame(w, left)
	for _, g := range grouped(left) {
		t.Errorf("leakcheck: %s", g.describe(w.name))
	}
	if err == nil {
		err = w.startErr
	}
	if err != nil {
		t.Errorf("leakcheck: unknown whether %s left goroutines: %v", w.name, err)
	}
	if w.held != nil {
		open, err := c.untilClosed(func() ([]string, error) { return c.heldSince(w.held) })
		for _, what := range open {
			t.Errorf("leakcheck: %s left open %s", w.name, what)
		}
		if err != nil {
			t.Errorf("leakcheck: unknown whether %s left anything open: %v", w.name, err)
		}
	}
	if w.pending != nil {
		lines, err := c.timersLeft(w.pending, w.blamed, w.name, func(frames []frame) bool {
			return tests.onlyTest(w, frames) || alone()
		})
		for _, line := range lines {
			t.Errorf("leakcheck: %s", line)
		}
		if err != nil {
			t.Errorf("leakcheck: unknown whether %s left timers: %v", w.name, err)
		}
	}
	// What a goroutine has open ends with it, so one message is enough.
	if !c.NoDescriptors && len(left) == 0 && w.open != nil {
		c.checkDescriptors(t, w, alone)
	}
}

func (c Config) checkDescriptors(t TestingT, w *watch, alone func() bool) {
	t.Helper()
	now, err := readDescriptors()
	if err == nil {
		fresh := false
		for d := range now {
			fresh = fresh || !w.open[d]
		}
		// Descriptors belong to the process: beside other tests nobody knows whose.
		if !fresh || !alone() {
			return
		}
		var left []string
		left, err = c.descriptorsLeft(w.open, splices, splicesShow)
		for _, what := range left {
			t.Errorf("leakcheck: %s left a descriptor open: %s", w.name, what)
		}
	}
	if err != nil {
		t.Errorf("leakcheck: unknown whether %s left descriptors open: %v", w.name, err)
	}
}

// leftOf returns the goroutines that belong to w's test, and those that
// appeared during it and belong to no test.
func (c Config) leftOf(n *census, w *watch, me int64) (own, orphans []*goroutine) {
	for _, g := range n.all {
		label, owned := n.owner[g]
		switch {
		case g.id == me || g.id == w.self || n.wasReported(g):
		case w.bubble != 0 && g.bubble != w.bubble && g.id != 0:
			// What starts in a bubble stays in it.
		case w.bubble != 0 && g.bubble == w.bubble && !owned && !w.start[g.id]:
			// And a bubble is one test's. A goroutine that goes from one wait to the
			// next between two readings cannot be told by its labels.
			if !c.mayLive(g) {
				own = append(own, g)
			}
		case !owned:
			if !w.start[g.id] && g.id != 0 && !n.foreign(g, w.start, w.self) && !c.mayLive(g) && !bodyOpen(g) {
				orphans = append(orphans, g)
			}
		case label != w.label:
		case bodyOpen(g) && !c.ignores(g):
			// Connections are shared: the body may be another test's.
			orphans = append(orphans, g)
		case !c.mayLive(g):
			own = append(own, g)
		}
	}
	return own, orphans
}

func (c Config) mayLive(g *goroutine) bool {
	return known(g) != "" || c.ignores(g)
}

// patiently takes a census until nothing is left, or until nothing changes
// any more.
func (c Config) patiently(bubble int, leftOf func(*census) []*goroutine) (left []*goroutine, err error) {
	c = c.withDefaults()
	var (
		begin  = time.Now()
		still  = begin // since when nothing has changed
		before string
		pause  = time.Millisecond
		asked  = c.NoProof || bubble != 0
	)
	for round := 0; ; round++ {
		n := tests.take(bubble != 0)
		left, err = leftOf(n), n.err
		if len(left) == 0 && (err == nil || round > 3) {
			// On a loaded machine one reading in thousands lacks a goroutine that has
			// just begun, and a bubble's end does not forgive: look again.
			if bubble != 0 && round < 3 {
				runtime.Gosched()
				continue
			}
			return nil, err
		}
		now := time.Now()
		if s := situation(left); s != before || strings.Contains(s, "run") {
			before, still = s, now
		}
		switch {
		case now.Sub(still) >= c.Patience || now.Sub(begin) >= 5*c.Patience, len(left) > 0 && proven(left):
			return left, err
		case !asked && now.Sub(begin) >= 20*time.Millisecond:
			asked = true
			askForProof()
			continue
		case bubble != 0 && !bubbleIdle(n, bubble):
			// Sleep would wait for ever for the time of a bubble that is
			// blocked on a mutex or on the network, and wall time cannot be
			// had here; so give way for as long as 2,000 readings take.
			if round == 2000 {
				return left, err
			}
			runtime.Gosched()
			continue
		}
		time.Sleep(pause)
		pause = min(pause*3/2, 100*time.Millisecond)
	}
}

// bubbleIdle reports whether all others in the caller's bubble are durably
// blocked, so that the bubble's time can pass.
func bubbleIdle(n *census, bubble int) bool {
	for _, g := range n.all {
		if g.bubble == bubble && !g.durable && !runs(g, checkFunc) {
			return false
		}
	}
	return true
}

// situation tells one state of affairs from another. Whoever can run has
// "run" in it: "running", "runnable".
func situation(gs []*goroutine) string {
	var b strings.Builder
	for _, g := range gs {
		fmt.Fprintf(&b, "%d %s %d;", g.id, g.state, len(g.frames))
	}
	return b.String()
}

func proven(gs []*goroutine) bool {
	for _, g := range gs {
		if !g.leaked {
			return false
		}
	}
	return true
}

var proofMu sync.Mutex

// askForProof has the garbage collector mark the goroutines that nothing
// reachable can wake; tracebacks then say so. Without the profile, as in Go
// 1.26 without GOEXPERIMENT=goroutineleakprofile, it does nothing.
func askForProof() {
	p := pprof.Lookup("goroutineleak")
	if p == nil {
		return
	}
	proofMu.Lock()
	defer proofMu.Unlock()
	// The marks are what is wanted; the profile itself is not.
	_ = p.WriteTo(io.Discard, 0)
}

// ranAlone reports whether no test ran in parallel with t. Setenv has to know
// and panics if one may have: it promises to in its documentation, and at the
// end of a test it does no harm.
func ranAlone(t TestingT) (alone bool) {
	s, ok := t.(interface{ Setenv(key, value string) })
	if !ok {
		return false
	}
	defer func() {
		if recover() != nil {
			alone = false
		}
	}()
	s.Setenv("LEAKCHECK_RAN_ALONE", "1")
	return true
}

// VerifyMain runs the tests of m and ends the process: with the tests' exit
// code, or with 1 if they passed and goroutines are left that did not exist
// before. It prints each group of them to standard error, with the test that
// started it where a Verify in the test, or the creator's name, tells. Files,
// pipes and listeners that are left open it does not look for. Call it as the
// last statement of TestMain; deferred functions of TestMain do not run.
func (c Config) VerifyMain(m TestingM) {
	os.Exit(c.verifyMain(m, os.Stderr))
}

func (c Config) verifyMain(m TestingM, out io.Writer) (code int) {
	if err := c.validate(); err != nil {
		fmt.Fprintf(out, "leakcheck: %v\n", err)
		return 1
	}
	me := currentGoroutine()
	n := tests.take(false)
	start, startErr := map[int64]bool{}, n.err
	for _, g := range n.all {
		start[g.id] = true
	}
	held, heldErr := c.hold()
	var (
		before   pending
		timerErr error
	)
	if c.Timers {
		recordTimers()
		before, timerErr = readTimers(true)
	}
	if code = m.Run(); code != 0 {
		// A test that fails half way leaves what it would have ended.
		return code
	}
	left, err := c.patiently(0, func(n *census) (left []*goroutine) {
		for _, g := range n.all {
			_, owned := n.owner[g]
			if !start[g.id] && !n.wasReported(g) && g.id != me.id && !c.mayLive(g) &&
				(owned || !n.foreign(g, start, me.id)) {
				left = append(left, g)
			}
		}
		return left
	})
	for _, g := range grouped(left) {
		fmt.Fprintf(out, "leakcheck: %s\n", g.describe(g.members[0].startedBy()))
		code = 1
	}
	if heldErr == nil {
		var open []string
		open, heldErr = c.untilClosed(func() ([]string, error) { return c.heldSince(held) })
		for _, what := range open {
			fmt.Fprintf(out, "leakcheck: the tests left open %s\n", what)
			code = 1
		}
	}
	if heldErr != nil {
		fmt.Fprintf(out, "leakcheck: unknown whether the tests left anything open: %v\n", heldErr)
		code = 1
	}
	if c.Timers && timerErr == nil {
		var lines []string
		lines, timerErr = c.timersLeft(before, nil, "", func([]frame) bool { return true })
		for _, line := range lines {
			fmt.Fprintf(out, "leakcheck: %s\n", line)
			code = 1
		}
	}
	if timerErr != nil {
		fmt.Fprintf(out, "leakcheck: unknown whether the tests left timers: %v\n", timerErr)
		code = 1
	}
	if err == nil {
		err = startErr
	}
	if err != nil {
		fmt.Fprintf(out, "leakcheck: unknown whether the tests left goroutines: %v\n", err)
		code = 1
	}
	return code
}
