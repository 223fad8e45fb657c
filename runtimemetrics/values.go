package runtimemetrics

import "math"

// unknown stands for a figure that this platform, kernel or Go version does not
// give. It is NaN, so that no comparison with it is true and no rule fires on
// it, and so that it cannot be taken for a measured zero.
var unknown = math.NaN()

// Known reports whether a figure was measured: it is neither NaN nor infinite.
// Mind that encoding/json refuses NaN: leave out what is not known.
func Known(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// grown returns how much a counter grew. A counter that went down began anew
// and says nothing about the time between.
func grown(now, before float64) float64 {
	if d := now - before; d >= 0 {
		return d
	}
	return unknown
}

// share returns part/whole between 0 and 1, unknown when the whole is nothing.
func share(part, whole float64) float64 {
	if !(whole > 0) {
		return unknown
	}
	return min(max(part/whole, 0), 1)
}
