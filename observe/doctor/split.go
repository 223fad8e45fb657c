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
	var splits []Split
	own, cpu := 0.0, 0.0
	for i := range d.now.Routes {
		r := &d.now.Routes[i]
		if !(r.Requests > 0) || !(r.Seconds > 0) {
			continue
		}
		total := max0(r.Seconds) / d.seconds
		own += total - min(max0(r.Waited)/d.seconds, total)
		cpu += max0(r.CPU)
		splits = append(splits, Split{Route: r.Route, Total: total})
	}
	if len(splits) == 0 {
		return nil
	}
	pool := 0.0
	for i := range d.now.Pools {
		pool += max0(d.now.Pools[i].WaitSeconds) / d.seconds
	}
	routes := make(map[string]*Route, len(splits))
	for i := range d.now.Routes {
		routes[d.now.Routes[i].Route] = &d.now.Routes[i]
	}
	slices.SortFunc(splits, func(a, b Split) int {
		return cmp.Or(cmp.Compare(b.Total, a.Total), strings.Compare(a.Route, b.Route))
	})
	splits = splits[:min(len(splits), maxSplit)]
	for i := range splits {
		s := &splits[i]
		r := routes[s.Route]
		waited := min(max0(r.Waited)/d.seconds, s.Total)
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
		left := s.Total - waited
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

// wakeups of a request that calls nothing: one to read it, one to answer.
const wakeups = 2
