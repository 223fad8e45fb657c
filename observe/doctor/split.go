package doctor

import (
	"cmp"
	"slices"
	"strings"
)

// maxSplit bounds the routes of Report.Split.
const maxSplit = 50

// split divides the time of the routes. What is known of the process alone (waits
// for processors, locks and pools, assists) is divided among the routes by their own
// time, the time that they did not wait for a dependency: those who spend more of it
// wait more of it.
func (d *diagnosis) split() []Split {
	var order []int32
	own, cpu := 0.0, 0.0
	for i := range d.now.Routes {
		r := &d.now.Routes[i]
		if !(max0(r.Requests) > 0) || !(max0(r.Seconds) > 0) {
			continue
		}
		own += max0(r.Seconds)/d.seconds - d.waited(r)
		cpu += max0(r.CPU)
		order = append(order, int32(i))
	}
	if len(order) == 0 {
		return nil
	}
	pool := 0.0
	for i := range d.now.Pools {
		pool += max0(d.now.Pools[i].WaitSeconds) / d.seconds
	}
	slices.SortFunc(order, func(a, b int32) int {
		x, y := &d.now.Routes[a], &d.now.Routes[b]
		return cmp.Or(cmp.Compare(y.Seconds, x.Seconds), strings.Compare(x.Route, y.Route))
	})
	splits := make([]Split, min(len(order), maxSplit))
	for i := range splits {
		r := &d.now.Routes[order[i]]
		s := &splits[i]
		s.Route, s.Total = r.Route, max0(r.Seconds)/d.seconds
		waited := d.waited(r)
		sum := 0.0
		for _, p := range r.Parts {
			sum += max0(p.Seconds) / d.seconds
		}
		for _, p := range r.Parts {
			p.Seconds = max0(p.Seconds) / d.seconds
			if sum > waited && sum > 0 {
				p.Seconds *= waited / sum
			}
			if p.Seconds > 0 {
				s.Parts = append(s.Parts, p)
			}
		}
		left := max(s.Total-waited, 0)
		portion := share(left, own)
		take := func(to *float64, v float64) {
			*to = min(max0(v), left)
			left -= *to
		}
		if cpu > 0 {
			take(&s.Running, r.CPU)
		} else {
			take(&s.Running, max0(d.rt.CPU)*portion)
			s.Estimated = s.Estimated || s.Running > 0
		}
		take(&s.Pool, pool*portion)
		take(&s.Lock, max0(d.rt.MutexWait)*portion)
		take(&s.GCAssist, max0(d.rt.GCAssist)*portion)
		take(&s.Ready, min(max0(d.rt.SchedWait), d.ready+wakeups*max0(d.rt.SchedMean)*d.rate)*portion)
		s.Estimated = s.Estimated || s.Pool+s.Lock+s.GCAssist+s.Ready > 0
		s.Other = left
	}
	return splits
}

// waited is the time of a route's parts, in goroutine-seconds per second, no more
// than that of all or of the route.
func (d *diagnosis) waited(r *Route) float64 {
	sum := 0.0
	for _, p := range r.Parts {
		sum += max0(p.Seconds)
	}
	return min(max0(r.Waited), max0(r.Seconds), sum) / d.seconds
}

// wakeups of a request that calls nothing: one to read it, one to answer.
const wakeups = 2
