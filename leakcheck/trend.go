package leakcheck

import (
	"math"
	"slices"
)

// A trend says how a series of readings at equal intervals grows. The limits
// are those of a detector that was measured on 41 leaks and 19 healthy
// programs: with looser ones, caches that fill, warm-ups and ramps are taken
// for leaks.
type trend struct {
	certain bool    // rises beyond what chance explains
	slope   float64 // per reading, robust against outliers
	growth  float64 // from the first readings to the last
	levels  bool    // the rise is ending
	falls   bool    // went back by more than a leak can
}

// maxChance is the probability with which a series without trend may be taken
// for a rising one.
const maxChance = 0.005

// maxFall is the share of the growth that a series may go back by.
const maxFall = 0.15

func trendOf(y []float64) trend {
	n := len(y)
	if n < 4 {
		return trend{}
	}
	t := trend{slope: senSlope(y)}
	third := n / 3
	head, tail := median(y[:max(third/2, 1)]), median(y[n-max(third/2, 1):])
	t.growth = tail - head
	t.certain = mannKendall(y) < maxChance && t.slope > 0

	// A leak goes on at its pace. What fills up slows down: the last third
	// must rise at half the mean pace, and at half that of the first third.
	first, last, mean := slope(y[:third+1]), slope(y[n-third-1:]), slope(y)
	t.levels = last < mean/2 || last < first/2

	top, fall := y[0], 0.0
	for _, v := range y {
		top = max(top, v)
		fall = max(fall, top-v)
	}
	t.falls = fall > maxFall*max(t.growth, 1)
	return t
}

// rises reports whether the series is that of a leak which has grown by at
// least atLeast.
func (t trend) rises(atLeast float64) bool {
	return t.certain && !t.levels && !t.falls && t.growth >= atLeast
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
