package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

// phases of a course.
const (
	before = iota
	during
	after
	phases
)

var phaseNames = [phases]string{"before", "ill", "after"}

// A course is one illness, or several at once, from a healthy time before to
// one after it, with all that the doctor and the clients said.
type course struct {
	interval   time.Duration
	begun, end time.Time // of the illness
	readings   []reading
	clients    [phases]stats
}

// A reading is one of the doctor's reports.
type reading struct {
	report
	phase int
}

// A watcher is told what happens in a course, or nothing where its functions are nil.
type watcher struct {
	phase   func(c *course, phase int)
	reading func(c *course, w *world, r *reading) // r is nil where there is no doctor
}

// runCourse runs programs in one service. It returns when everything has ended.
func runCourse(ctx context.Context, o options, watch watcher, ps ...*program) (_ *course, err error) {
	w, err := newWorld(runtime.NumCPU(), false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	c := &course{interval: o.interval}
	begin, end, err := w.open(o, ps...)
	if err != nil {
		return nil, err
	}
	if ps[0].fromStart {
		o.before = 0
	}
	last := o.during
	for _, p := range ps {
		last = max(last, p.intervals)
	}
	for phase, n := range [phases]int{o.before, last, o.after} {
		switch phase {
		case during:
			c.begun = time.Now()
			if err := begin(); err != nil {
				return c, err
			}
		case after:
			c.end = time.Now()
			if err := end(); err != nil {
				return c, err
			}
		}
		if watch.phase != nil {
			watch.phase(c, phase)
		}
		if err := c.follow(ctx, w, watch, phase, time.Duration(n)*o.interval); err != nil {
			return c, err
		}
	}
	return c, w.failed()
}

// follow collects reports for as long as d.
func (c *course) follow(ctx context.Context, w *world, watch watcher, phase int, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	look := time.NewTicker(c.interval / 4)
	defer look.Stop()
	spoke := time.Now()
	for {
		select {
		case <-ctx.Done():
			c.clients[phase].join(w.load.take())
			if context.Cause(ctx) == context.DeadlineExceeded {
				return nil
			}
			return ctx.Err()
		case <-look.C:
		}
		r, err := w.child.report(ctx)
		switch {
		case errors.Is(err, errNoDoctor):
			if time.Since(spoke) < c.interval {
				continue
			}
			spoke = time.Now()
			if watch.reading != nil {
				watch.reading(c, w, nil)
			}
		case err != nil:
			// The service is in trouble, which is the point; no word of the doctor's
			// is a word, too.
		case len(c.readings) == 0 || r.Time.After(c.readings[len(c.readings)-1].Time):
			c.readings = append(c.readings, reading{*r, c.phaseAt(r.Time)})
			if watch.reading != nil {
				watch.reading(c, w, &c.readings[len(c.readings)-1])
			}
		}
	}
}

func (c *course) phaseAt(t time.Time) int {
	switch {
	case c.begun.IsZero() || t.Before(c.begun):
		return before
	case c.end.IsZero() || t.Before(c.end):
		return during
	}
	return after
}

// open starts the service with these programs, and the load. The functions
// begin and end the illness.
func (w *world) open(o options, ps ...*program) (begin, end func() error, err error) {
	w.rate, w.interval = o.rate, o.interval
	var begins, ends []func()
	for _, p := range ps {
		if p.cannot != nil {
			if why := p.cannot(); why != "" {
				return nil, nil, cannotError{p.name, why}
			}
		}
		if p.limited && w.cgroup == nil {
			if w.cgroup, err = newCgroup(); err != nil {
				return nil, nil, err
			}
		}
		if p.world != nil {
			b, e := p.world(w)
			begins, ends = append(begins, b), append(ends, e)
		}
		if p.rate > 0 {
			w.rate = p.rate
		}
	}
	if w.child, err = startChild(w, o, ps); err != nil {
		return nil, nil, err
	}
	w.load.start(w.child.url, w.rate)
	if w.started != nil {
		w.started()
	}
	turn := func(verb string, fs []func()) error {
		_, err := w.child.tell(verb)
		for _, f := range fs {
			if f != nil {
				f()
			}
		}
		return err
	}
	return func() error { return turn("begin", begins) }, func() error { return turn("end", ends) }, nil
}

// A cannotError is that a program cannot run here.
type cannotError struct{ name, why string }

func (e cannotError) Error() string { return fmt.Sprintf("%s cannot run here: %s", e.name, e.why) }

// harm is the clients' view of one phase in a few words.
func (s *stats) harm() string {
	text := fmt.Sprintf("mean %s p99 %s", short(s.mean()), short(s.quantile(0.99)))
	if s.errors > 0 {
		text += fmt.Sprintf(" errors %.0f %%", 100*s.errorShare())
	}
	if s.unsent > 0 {
		text += fmt.Sprintf(" unsent %d", s.unsent)
	}
	return text
}

func short(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}
