package leakcheck

import (
	"fmt"
	"math"
)

const (
	// forgetAfter is after how many windows without growth a suspect is none
	// any more, whatever the load does.
	forgetAfter = 2 * idleWindows
	// restWindows is after how many it is none if some of its old members have
	// ended and the load is known and goes on as it was.
	restWindows = 8
	// restSteps is for how many times its mean pace a leak of which no member
	// ends may rest under such a load. Leaks that come in waves of half an hour
	// rest as long as that.
	restSteps = idleWindows
	// refutedShare is the share of the members that were old when they were
	// suspected of never ending, of which it takes more to end.
	refutedShare = 0.25
)

// A present suspect is one that has been reported and is not cleared.
type present struct {
	Suspect
	reported float64 // its size when it was reported
	top      float64 // its greatest size
	grew     int     // the window in which it last grew

	// How it was when the detector last found it to leak.
	found   int // the window, as the site counts them
	windows int // over which it was judged
	basis   string
	cohort  int     // how many members were known to be old
	rest    int     // how many windows without growth are no chance
	rate    float64 // of requests, NaN when unknown
	busy    float64 // requests under way
}

// measure takes the present size of the site.
func (p *present) measure(s *site) float64 {
	size := s.size[len(s.size)-1]
	if p.Kind == "heap" {
		p.Count, p.Bytes = int(s.count), int64(size)
	} else {
		p.Count = int(size)
	}
	return size
}

// remember notes how things are as f is found.
func (p *present) remember(d *detector, f finding) {
	s := f.site
	n := min(f.windows, len(s.size))
	p.found, p.windows, p.basis = s.now, n, f.basis
	p.cohort = s.aged(s.now)
	p.rate, p.busy = median(filled(last(d.rate, n))), median(last(d.inFlight, n))
	// A slow leak, and one that comes in bursts, rests for long between its steps.
	p.rest = min(forgetAfter, max(restSteps, int(math.Ceil(restSteps/max(f.slope, 1.0/restSteps))), 2*longestRest(last(s.low, n))))
}

// aged returns how many of the members that were old by a window are there.
func (s *site) aged(by int) (n int) {
	for _, m := range s.born {
		if m.aged > 0 && m.aged <= by {
			n++
		}
	}
	return n
}

// longestRest returns for how many readings in a row y has not risen above what
// it was before.
func longestRest(y []float64) (longest int) {
	top, rest := y[0], 0
	for _, v := range y[1:] {
		if rest++; v > top {
			top, rest = v, 0
		}
		longest = max(longest, rest)
	}
	return longest
}

// update has p say how the site grows now that it is not found to leak any more.
func (p *present) update(d *detector, s *site, hourly float64) {
	row := last(s.size, min(p.windows, len(s.size)))
	p.PerHour = max(senSlope(row), 0) * hourly
	if p.PerHour == 0 {
		p.PerHour = max(slope(row), 0) * hourly // fewer than one in two readings
	}
	growth := row[len(row)-1] - row[0]
	grew, in := fmt.Sprintf("grew by %.3g", growth), "windows"
	if d.heap {
		grew, in = "grew by "+size(growth), "collections"
	}
	if growth <= 0 {
		grew = "did not grow"
	}
	p.Basis = fmt.Sprintf("%s in the last %d %s; when suspected, %d %s ago, it %s", grew, len(row), in, s.now-p.found, in, p.basis)
}

// refuted reports whether what p was suspected of has turned out to be wrong
// since it was last found: its old members end, or it has stopped to grow while
// the program does the same work as then. In a state in which nobody waits long,
// that it stops may be the end that the leak itself came to.
func (p *present) refuted(d *detector, s *site) bool {
	ended := float64(p.cohort - s.aged(p.found))
	if ended > max(2, refutedShare*float64(p.cohort)) {
		return true
	}
	n := p.rest
	if ended > maxDeaths*float64(p.cohort) {
		n = restWindows
	}
	if d.heap || s.stuck || s.wide || s.now-p.found < n || len(s.low) <= n {
		return false
	}
	rate, busy := median(filled(last(d.rate, n))), median(last(d.inFlight, n))
	if !(rate >= 0.8*p.rate) || busy > 1.25*p.busy+2 { // so also when it is not known
		return false
	}
	row := last(s.low, n+1)
	return row[n] <= row[0]
}
