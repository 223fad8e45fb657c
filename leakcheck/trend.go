package leakcheck

import (
	"math"
	"slices"
)

// A trend says how a series of readings at equal intervals grows.
type trend struct {
	slope  float64 // per reading, robust against outliers
	growth float64 // from the first readings to the last
}

// maxChance is the probability with which a series without trend may be taken
// for a rising one.
const maxChance = 0.005

// maxFall is the share of the growth that a series of members may go back by.
// One of bytes may by less: samples are taken of both ways alike.
const (
	maxFall      = 0.15
	maxBytesFall = 0.10
)

// rising returns the trend of y if it is that of a leak which has grown by at
// least atLeast and never fallen back by more than a share of that. The limits
// are those with which no healthy program of the corpus is taken for a leak:
// with looser ones, caches that fill, warm-ups and ramps are.
func rising(y []float64, atLeast, maxFall float64) (t trend, ok bool) {
	n := len(y)
	if n < 9 {
		return t, false
	}
	third := n / 3
	edge := max(third/2, 1)
	head, tail := median(y[:edge]), median(y[n-edge:])
	t.growth = tail - head
	if t.growth < atLeast || t.growth <= 0 || fallsBack(y) > maxFall*max(t.growth, 1) {
		return t, false
	}
	// A ramp that began in the middle has not had the time to end. Half way
	// there must be a third of the growth.
	if middle := median(y[n/2-max(third/4, 1) : n/2+max(third/4, 1)]); middle-head < 0.35*t.growth {
		return t, false
	}
	// A leak goes on at its pace. What fills up slows down: the last third
	// must rise at half the mean pace, and at half that of the first third.
	first, last, mean := slope(y[:third+1]), slope(y[n-third-1:]), slope(y)
	if last < mean/2 || last < first/2 || slows(y) || ended(y) {
		return t, false
	}
	if mannKendall(y) >= maxChance {
		return t, false
	}
	t.slope = senSlope(y)
	if t.slope <= 0 {
		t.slope = mean // fewer than one in two readings: the median is a tie
	}
	return t, true
}

// fallsBack returns by how much y went back from its highest so far.
func fallsBack(y []float64) (most float64) {
	top := y[0]
	for _, v := range y {
		top = max(top, v)
		most = max(most, top-v)
	}
	return most
}

// slows reports whether the second half rises slower than the first: by a
// sixth, and beyond what chance explains (Welch's t over the steps, one-sided
// at about 5 %). A cache that fills with random keys gives itself away so,
// long before it is full.
func slows(y []float64) bool {
	half := (len(y) - 1) / 2
	if half < 4 {
		return false
	}
	mean := func(y []float64) (m, v float64) {
		for i := range y[1:] {
			m += y[i+1] - y[i]
		}
		m /= float64(len(y) - 1)
		for i := range y[1:] {
			d := y[i+1] - y[i] - m
			v += d * d
		}
		return m, v / float64(len(y)-2)
	}
	// A leak begins from nothing, or from what was there before.
	m1, v1 := mean(y[:half+1])
	m2, v2 := mean(y[len(y)-half-1:])
	return m2 < m1*5/6 && m1-m2 > 1.7*math.Sqrt((v1+v2)/float64(half))
}

// goesOn reports whether the last third of y surely rises: by a third of the
// mean pace at least, with what chance may have added taken off.
func goesOn(y []float64) bool {
	n := len(y)
	tail := y[n-n/3-1:]
	k := float64(len(tail) - 1)
	m, v := (tail[len(tail)-1]-tail[0])/k, 0.0
	for i := range tail[1:] {
		d := tail[i+1] - tail[i] - m
		v += d * d
	}
	return m-math.Sqrt(v/(k-1)/k) >= (y[n-1]-y[0])/float64(n-1)/3
}

// slowed reports whether the second half of y, of which most may have been
// long before the readings that are judged, rises at less than two thirds of
// the pace of the first. The median step is not misled by a warm-up.
func slowed(y []float64) bool {
	if len(y) < 12 {
		return false
	}
	pace := func(y []float64) float64 {
		var all []float64
		for i := 3; i < len(y); i++ {
			all = append(all, (y[i]-y[i-3])/3)
		}
		return median(all)
	}
	half := len(y) / 2
	return pace(y[half:]) < pace(y[:half])*2/3
}

// leaps reports whether two steps alone are more than half of y's growth.
func leaps(y []float64) bool {
	first, second := 0.0, 0.0
	for i := range y[1:] {
		switch d := y[i+1] - y[i]; {
		case d > first:
			first, second = d, first
		case d > second:
			second = d
		}
	}
	return first+second > (y[len(y)-1]-y[0])/2
}

// rarer reports whether y rises in fewer and fewer readings, as the greatest
// so far of anything does, a buffer's size for one: in its first half in more
// than in the second, beyond what chance explains (one-sided at about 10 %).
func rarer(y []float64) bool {
	half := len(y) / 2
	a, b := float64(steps(y[:half+1])), float64(steps(y[len(y)-half-1:]))
	return a > b && (a-b)/math.Sqrt(a+b) > 1.3
}

// teethRise reports whether y falls again and again by more than a share of its
// growth, each time to a higher bottom, so that the bottoms alone make two
// fifths of the growth.
func teethRise(y []float64, share float64) bool {
	growth := y[len(y)-1] - y[0]
	var bottoms []float64
	top, bottom, down := y[0], y[0], false
	for _, v := range y {
		if down {
			if bottom = min(bottom, v); v > bottom+share*growth {
				bottoms = append(bottoms, bottom)
				top, down = v, false
			}
			continue
		}
		if top = max(top, v); v < top-share*growth {
			bottom, down = v, true
		}
	}
	for i := 1; i < len(bottoms); i++ {
		if bottoms[i] <= bottoms[i-1] {
			return false
		}
	}
	return len(bottoms) >= 3 && bottoms[len(bottoms)-1]-bottoms[0] >= 0.4*growth
}

// ended reports whether y has been flat at its end for longer than ever
// before while it rose: by half as long again, and two steps at least.
func ended(y []float64) bool {
	longest, flat, top, rising := 0, 0, y[0], false
	for _, v := range y[1:] {
		if v > top {
			if rising {
				longest = max(longest, flat)
			}
			top, flat, rising = v, 0, true
		} else {
			flat++
		}
	}
	return float64(flat) > max(1, 1.5*float64(longest))
}

// mannKendall returns the probability that a series without trend rises as
// much as y does: the one-sided Mann-Kendall test, with its correction for
// ties.
func mannKendall(y []float64) float64 {
	n := len(y)
	s := 0
	for i := range y {
		for _, later := range y[i+1:] {
			switch {
			case later > y[i]:
				s++
			case later < y[i]:
				s--
			}
		}
	}
	if s <= 0 {
		return 1
	}
	v := float64(n * (n - 1) * (2*n + 5))
	sorted := slices.Sorted(slices.Values(y))
	for i := 0; i < n; {
		j := i
		for j < n && sorted[j] == sorted[i] {
			j++
		}
		ties := j - i
		v -= float64(ties * (ties - 1) * (2*ties + 5))
		i = j
	}
	if v <= 0 {
		return 1
	}
	z := float64(s-1) / math.Sqrt(v/18)
	return 0.5 * math.Erfc(z/math.Sqrt2)
}

// senSlope returns the median of the slopes between all pairs of readings.
func senSlope(y []float64) float64 {
	if len(y) < 2 {
		return 0
	}
	slopes := make([]float64, 0, len(y)*(len(y)-1)/2)
	for i := range y {
		for j := i + 1; j < len(y); j++ {
			slopes = append(slopes, (y[j]-y[i])/float64(j-i))
		}
	}
	return median(slopes)
}

// slope returns the slope of the straight line through y. Unlike senSlope it
// sees a single step among equal readings, which is all that a third of a
// slow leak has.
func slope(y []float64) float64 {
	n := float64(len(y))
	var sx, sy, sxx, sxy float64
	for i, v := range y {
		x := float64(i)
		sx, sy, sxx, sxy = sx+x, sy+v, sxx+x*x, sxy+x*v
	}
	if d := n*sxx - sx*sx; d > 0 {
		return (n*sxy - sx*sy) / d
	}
	return 0
}

// median returns the middle of y, 0 for none. It leaves y as it is.
func median(y []float64) float64 {
	if len(y) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(y))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}
