package observe

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/loadline-go/loadline/internal/span"
	"github.com/loadline-go/loadline/observe/capture"
	"github.com/loadline-go/loadline/runtimemetrics"
)

// Triggers say which states of the process make a capture, besides slow
// requests, memory near its limit, leaks, and a budget of Config.SLOs that is
// spent so fast that an alert pages. Each must last for a while, makes
// one capture, and must be gone for as long before it makes another; how often
// there is one at all, and one of a kind, is in capture.Config.
type Triggers struct {
	// SchedDelay is how long goroutines that are ready may wait for a processor,
	// or timers be late, as p99 of a sample. Negative: that makes none.
	// Default: 100 ms. A service with processors to spare has 1 ms or less, one
	// on a saturated machine 150 ms and more. Variable: none.
	SchedDelay time.Duration

	// CPUShare is how much of its processors (GOMAXPROCS), or of its cgroup's CPU
	// limit, the process may use, above 0 to 1. Negative: that makes none.
	// Default: 0.9. Variable: none.
	CPUShare float64

	// Goroutines is how many times as many as usual there may be, as long as they
	// are fewer than a thousand more; usual is their mean in the last minute or
	// so. Above 1. Negative: that makes none.
	// Default: 2. Variable: none.
	Goroutines float64

	// For is how long each of these must last. Negative: one sample is enough.
	// Default: 15 s, three samples at the default Interval: what one collection or
	// one batch does is over by then. Variable: none.
	For time.Duration

	// SIGUSR2 makes a capture of each such signal, like POST /debug/captures. It
	// does nothing where there is no such signal, on Windows.
	// Default: false. Variable: none.
	SIGUSR2 bool
}

func (c Triggers) withDefaults() (Triggers, error) {
	var errs []error
	if c.CPUShare > 1 || math.IsNaN(c.CPUShare) {
		errs = append(errs, fmt.Errorf("Config.Triggers.CPUShare: %v is not from 0 to 1", c.CPUShare))
	}
	if c.Goroutines > 0 && c.Goroutines <= 1 || math.IsNaN(c.Goroutines) || math.IsInf(c.Goroutines, 0) {
		errs = append(errs, fmt.Errorf("Config.Triggers.Goroutines: %v is not above 1", c.Goroutines))
	}
	c.SchedDelay = cmp.Or(c.SchedDelay, 100*time.Millisecond)
	c.CPUShare = cmp.Or(c.CPUShare, 0.9)
	c.Goroutines = cmp.Or(c.Goroutines, 2)
	c.For = cmp.Or(c.For, 15*time.Second)
	return c, errors.Join(errs...)
}

const (
	// A condition is over at four fifths of its limit, or it would come and go.
	calmShare = 0.8
	// Fewer goroutines than this are a matter of kilobytes.
	manyGoroutines = 1000
	// The usual number of goroutines follows them by this share at each sample,
	// and is known after so many of them.
	usualWeight = 1.0 / 12
	usualAfter  = 12
	// Memory is not short any more at twice the share at which it is.
	calmHeadroom = 2 * lowHeadroom
)

// triggers knows how long each condition has lasted. Only the goroutine of the
// sampler uses it.
type triggers struct {
	sched, cpu, goroutines, memory lasting
	burns                          []lasting // of Config.SLOs, in their order

	usual   float64 // number of goroutines
	samples int
}

// lasting is a condition that counts when it has lasted, and counts again when
// it was gone for as long.
type lasting struct {
	changing bool
	since    time.Time // if changing
	on       bool
}

// step is told at a sample whether the condition is there, or is gone, and what
// to do when it has lasted: fire reports whether that was heard, and is asked
// again at the next sample when it was not. It tells whether the condition has just begun.
func (l *lasting) step(d *runtimemetrics.Delta, there, gone bool, after time.Duration, fire func() bool) (begun bool) {
	if l.on {
		there = gone
	}
	if !there {
		l.changing = false
		return false
	}
	if !l.changing {
		l.changing, l.since, begun = true, d.Time.Add(-d.Interval), !l.on
	}
	if d.Time.Sub(l.since) < after {
		return begun
	}
	if l.on {
		l.on, l.changing = false, false
	} else if fire() {
		l.on, l.changing = true, false
	}
	return begun
}

// judge looks for what makes a capture in what the runtime did since the last sample.
func (c *captures) judge(d *runtimemetrics.Delta) {
	limits, t := c.t.config.Triggers, &c.triggers
	lasts := func(l *lasting, there, gone bool, kind, format string, a ...any) {
		detail := func() string { return fmt.Sprintf(format, a...) }
		if l.step(d, there, gone, limits.For, func() bool { return c.store.Trigger(capture.Reason{Kind: kind, Detail: detail()}) }) {
			c.arm(detail()) // to have its beginning when it lasts
		}
	}

	if limit := limits.SchedDelay; limit > 0 {
		delay := max(d.SchedP99, d.WakeupP99)
		lasts(&t.sched, delay > limit, float64(delay) < calmShare*float64(limit), "sched_delay",
			"ready goroutines wait for %s, timers are %s late (p99)", span.Short(d.SchedP99), span.Short(d.WakeupP99))
	}
	if limit := limits.CPUShare; limit > 0 {
		share, of := d.CPUShare, "its processors"
		if !(share >= d.QuotaShare) && !math.IsNaN(d.QuotaShare) {
			share, of = d.QuotaShare, "its CPU limit"
		}
		lasts(&t.cpu, share > limit, share < calmShare*limit, "cpu", "the process uses %.0f %% of %s", 100*share, of)
	}
	if growth, n := limits.Goroutines, d.Now.Goroutines.Total; growth > 0 && n >= 0 { // false when it is unknown
		t.samples++
		usual := t.usual
		if t.samples == 1 {
			usual = n
		}
		there := t.samples > usualAfter && n > growth*usual && n >= usual+manyGoroutines
		lasts(&t.goroutines, there, n < usual+calmShare*max(manyGoroutines, (growth-1)*usual), "goroutines", "there are %.0f goroutines, %.0f are usual", n, usual)
		if !there || t.goroutines.on { // what is captured becomes usual if it stays
			usual += usualWeight * (n - usual)
		}
		t.usual = usual
	}
	c.burning(d, c.t.slos.states())
	// A bundle is made while there is still memory to make it in. Neither there nor
	// gone when it is unknown; where only the host is a limit, others may have filled it.
	if ratio := d.Headroom.Ratio; d.Headroom.By != "host" {
		t.memory.step(d, ratio < lowHeadroom, ratio > calmHeadroom, 0, func() bool {
			return c.store.Trigger(capture.Reason{Kind: "memory", Detail: fmt.Sprintf("%.1f %% of the memory limit is left", 100*ratio)})
		})
	}
}

// finding is told of a diagnosis that persists: its cause and subject in a few
// words, and a sentence with the numbers. It arms the flight recorder if that
// does not run, so that the next call is captured with a recording, and tells
// whether there will be a capture. It may be called concurrently.
func (c *captures) finding(cause, subject, summary string) bool {
	if subject != "" {
		cause += " " + subject
	}
	return c.lasted(capture.Reason{Kind: "finding", Detail: clip(oneLine(cause+": "+summary), 500)})
}

// burning looks for objectives whose budget is spent so fast that an alert
// pages. The windows of that are minutes already.
func (c *captures) burning(d *runtimemetrics.Delta, states []sloState) {
	t := &c.triggers
	if len(t.burns) < len(states) {
		t.burns = make([]lasting, len(states))
	}
	for i, s := range states {
		t.burns[i].step(d, s.burning(), s.Short.Rate < calmShare*fastBurn, 0, func() bool {
			return c.lasted(capture.Reason{Kind: "slo_burn", Route: s.Route, Detail: clip(oneLine(s.String()), 500)})
		})
	}
}

// lasted captures what somebody else has found to last, from its beginning or
// what of it is still to come.
func (c *captures) lasted(r capture.Reason) bool {
	if c.store == nil || !c.store.Ready(r.Kind) {
		return false
	}
	if _, _, armed := c.store.Armed(); !armed && c.arm(r.Detail) == nil {
		return false
	}
	return c.store.Trigger(r)
}
