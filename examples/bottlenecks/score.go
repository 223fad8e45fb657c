package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
)

// The goals that -score and -pairs hold the doctor to.
const (
	causeGoal   = 0.95 // of sick courses: the first finding has the right cause
	subjectGoal = 0.90 // and the right subject
	pairGoal    = 0.80 // of pairs: both are named
	soon        = 3    // intervals until an illness is told, and until its end is
)

// A judgement is what a course says about the doctor.
type judgement struct {
	first          finding // what stood first most of the time, once the doctor had time to look
	cause, subject bool
	detected       int     // intervals from the begin until the right cause stood first, 0: never
	cleared        int     // intervals from the end until nobody was to be woken up, 0: never
	pages          int     // reports with a finding at page level, where there was nothing wrong
	paged          finding // the first of them
	reports        int
}

// judge judges a course of one program. The first two intervals of an illness
// are for the doctor to look; what stands first most often after them counts.
func judge(c *course, p *program) judgement {
	var j judgement
	count := map[string]int{}
	for i := range c.readings {
		r := &c.readings[i]
		j.reports++
		first := r.first()
		if p.healthy() || r.phase == before {
			for _, f := range r.Findings {
				if f.Level == "page" {
					if j.pages == 0 {
						j.paged = f
					}
					j.pages++
					break
				}
			}
		}
		switch r.phase {
		case during:
			if p.causeIs(first) && j.detected == 0 {
				j.detected = c.intervals(c.begun, r.Time)
			}
			if r.Time.Sub(c.begun) <= 2*c.interval && !p.healthy() {
				continue
			}
			name := first.String()
			if count[name]++; count[name] > count[j.first.String()] || j.first.Cause == "" {
				j.first = first
			}
		case after:
			if r.Verdict == "healthy" && j.cleared == 0 {
				j.cleared = c.intervals(c.end, r.Time)
			} else if r.Verdict == "sick" {
				j.cleared = 0
			}
		}
	}
	j.cause = p.causeIs(j.first)
	j.subject = j.cause && p.subjectIs(j.first)
	return j
}

// intervals counts those that had begun between two moments.
func (c *course) intervals(from, to time.Time) int {
	return max(1, int(math.Ceil(float64(to.Sub(from))/float64(c.interval)-0.05)))
}

// score runs all programs that were asked for and prints how the doctor did.
// It reports whether the goals were reached.
func score(ctx context.Context, o options, out io.Writer) (bool, error) {
	var sick, cause, subject, quick, cleared, healthy, pages, skipped int
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "program\texpected\tfirst finding\tcause\tsubject\tfound in\tcleared in\tpages\tclients before -> ill")
	row := func(cells ...any) {
		text := strings.TrimSuffix(strings.Repeat("%v\t", len(cells)), "\t") + "\n"
		fmt.Fprintf(w, text, cells...)
		if o.progress != nil {
			fmt.Fprintf(o.progress, strings.ReplaceAll(text, "\t", " | "), cells...)
		}
	}
	for range o.runs {
		for i := range programs {
			p := &programs[i]
			if !o.only.MatchString(p.name) {
				continue
			}
			c, err := runCourse(ctx, o, o.keep(ctx, p), p)
			var cannot cannotError
			switch {
			case errors.As(err, &cannot):
				row(p.name, "SKIPPED: cannot run here: "+cannot.why)
				skipped++
				continue
			case ctx.Err() != nil:
				return false, ctx.Err()
			case err != nil:
				return false, fmt.Errorf("%s: %w", p.name, err)
			case len(c.readings) == 0:
				return false, fmt.Errorf("%s: %w, or it never answered", p.name, errNoDoctor)
			}
			j := judge(c, p)
			harm := c.clients[before].harm() + " -> " + c.clients[during].harm()
			pages += j.pages
			paged := fmt.Sprint(j.pages)
			if j.pages > 0 {
				paged += " " + j.paged.String()
			}
			if p.healthy() {
				healthy++
				row(p.name, "healthy", j.first, "", "", "", "", paged, harm)
				continue
			}
			sick++
			cause += number(j.cause)
			subject += number(j.subject)
			quick += number(j.detected > 0 && j.detected <= soon || p.intervals > 0 && j.detected > 0)
			cleared += number(j.cleared > 0 && j.cleared <= soon)
			row(p.name, p.expected(), j.first, yes(j.cause), yes(j.subject), times(j.detected), times(j.cleared), paged, harm)
		}
	}
	w.Flush()
	fmt.Fprintln(out)
	share := func(n int) float64 { return float64(n) / float64(max(sick, 1)) }
	fmt.Fprintf(out, "cause       %3d of %d  %3.0f %%  goal %.0f %%\n", cause, sick, 100*share(cause), 100*causeGoal)
	fmt.Fprintf(out, "and subject %3d of %d  %3.0f %%  goal %.0f %%\n", subject, sick, 100*share(subject), 100*subjectGoal)
	fmt.Fprintf(out, "found       %3d of %d  %3.0f %%  within %d intervals, leaks ever\n", quick, sick, 100*share(quick), soon)
	fmt.Fprintf(out, "cleared     %3d of %d  %3.0f %%  within %d intervals\n", cleared, sick, 100*share(cleared), soon)
	fmt.Fprintf(out, "pages for nothing: %d, in %d healthy courses and before %d illnesses; goal 0\n", pages, healthy, sick)
	if skipped > 0 {
		fmt.Fprintf(out, "SKIPPED: %d, which cannot run here\n", skipped)
	}
	return share(cause) >= causeGoal && share(subject) >= subjectGoal && pages == 0 || sick == 0 && pages == 0, nil
}

// keep keeps the evidence of wrong reports about an illness, where that is wanted.
func (o options) keep(ctx context.Context, ps ...*program) watcher {
	if o.evidence == "" {
		return watcher{}
	}
	return watcher{reading: func(c *course, w *world, r *reading) {
		if r == nil || r.phase == before && r.Verdict != "sick" || r.phase == after && r.Verdict == "healthy" {
			return
		}
		name := ps[0].name
		right := r.phase == during && (ps[0].healthy() && r.Verdict != "sick" || len(ps) == 1 && ps[0].causeIs(r.first()) && ps[0].subjectIs(r.first()))
		for _, p := range ps[1:] {
			name += "+" + p.name
		}
		if right {
			return
		}
		for _, format := range []string{"text", "evidence"} {
			if text, err := page(ctx, w.child.admin+"/debug/doctor?format="+format); err == nil {
				file := fmt.Sprintf("%s-%s-%s.%s", name, phaseNames[r.phase], r.Time.Format("150405"), strings.Replace(format, "evidence", "json", 1))
				os.WriteFile(filepath.Join(o.evidence, file), text, 0o644) // to look at; the score does not need it
			}
		}
	}}
}

// pairable are faults that do not hide each other: none takes all of the CPU.
var pairable = []string{"slow-route", "slow-query", "dependency-slow", "panic-loop", "cache-collapse", "blocking-syscalls"}

// pairs runs each two of six faults at once.
func pairs(ctx context.Context, o options, out io.Writer) (bool, error) {
	var runs, both int
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "pair\tnamed\tfindings")
	for range o.runs {
		for i, one := range pairable {
			for _, other := range pairable[i+1:] {
				if !o.only.MatchString(one + "+" + other) {
					continue
				}
				a, err := lookup(one)
				if err != nil {
					return false, err
				}
				b, err := lookup(other)
				if err != nil {
					return false, err
				}
				c, err := runCourse(ctx, o, o.keep(ctx, a, b), a, b)
				if err != nil {
					return false, fmt.Errorf("%s with %s: %w", one, other, err)
				}
				runs++
				named, said := judgePair(c, a, b)
				both += number(named)
				fmt.Fprintf(w, "%s + %s\t%s\t%s\n", one, other, yes(named), said)
				if o.progress != nil {
					fmt.Fprintf(o.progress, "%s + %s | %s | %s\n", one, other, yes(named), said)
				}
			}
		}
	}
	w.Flush()
	share := float64(both) / float64(max(runs, 1))
	fmt.Fprintf(out, "\nboth named %d of %d  %.0f %%  goal %.0f %%\n", both, runs, 100*share, 100*pairGoal)
	return share >= pairGoal, nil
}

// judgePair reports whether most reports, once the doctor had time to look,
// named both, and what the last of them said.
func judgePair(c *course, ps ...*program) (bool, string) {
	named, reports, said := 0, 0, ""
	for i := range c.readings {
		r := &c.readings[i]
		if r.phase != during || r.Time.Sub(c.begun) <= 2*c.interval {
			continue
		}
		reports++
		all := true
		for _, p := range ps {
			found := false
			for _, f := range r.Findings {
				found = found || p.causeIs(f) && p.subjectIs(f)
			}
			all = all && found
		}
		named += number(all)
		var names []string
		for _, f := range r.Findings {
			names = append(names, f.String())
		}
		said = strings.Join(names, ", ")
	}
	return 2*named > reports, said
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "NO"
}

func times(n int) string {
	if n == 0 {
		return "never"
	}
	return fmt.Sprint(n)
}
