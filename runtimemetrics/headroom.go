package runtimemetrics

import (
	"math"
	"time"
)

// Headroom says how far the process is from the limit that will kill or choke
// it first.
type Headroom struct {
	Ratio float64       // of the limit, still free: 1 is empty, 0 is at the limit; unknown without any limit
	Limit float64       // bytes; the limit that is nearest
	Used  float64       // bytes, counted the way that limit counts
	By    string        // "cgroup", "gomemlimit" or "host"
	After time.Duration // until the first limit at the trend of the samples kept; 0 when memory is not growing, or not within a day
}

// newHeadroom compares each limit with what it limits and keeps the nearest.
// The cgroup kills by its working set; GOMEMLIMIT does not kill, but near it the
// collector eats the processors, so it counts as a limit too; the host is the
// limit of those that have no other.
func newHeadroom(s *Snapshot) Headroom {
	h := Headroom{Ratio: unknown, Limit: unknown, Used: unknown}
	for _, by := range [...]string{"cgroup", "gomemlimit", "host"} {
		used, limit := usage(s, by)
		if !Known(used) || !Known(limit) || limit <= 0 {
			continue
		}
		if ratio := min(max(1-used/limit, 0), 1); !Known(h.Ratio) || ratio < h.Ratio {
			h = Headroom{Ratio: ratio, Limit: limit, Used: used, By: by}
		}
	}
	return h
}

// usage returns a limit and what counts against it. What counts against
// GOMEMLIMIT is what the collector could not give back if it ran now; what the
// runtime holds above that is garbage and spare and brings the limit no nearer.
func usage(s *Snapshot, by string) (used, limit float64) {
	switch by {
	case "cgroup":
		return s.Container.MemoryWorkingSet, s.Container.MemoryLimit
	case "gomemlimit":
		return s.Memory.HeapLive + s.Memory.Stack + s.Memory.Overhead, s.Memory.Limit
	case "host":
		return s.Host.MemoryTotal - s.Host.MemoryAvailable, s.Host.MemoryTotal
	}
	return unknown, unknown
}

const (
	trendParts = 4              // the window is cut into these to tell growth from the collector's saw teeth
	trendLeast = 2 * trendParts // samples, below which there is no trend
	trendMost  = 24 * time.Hour // a limit further away than that is no news
)

// timeToLimit returns when the first limit is reached at the trend of n
// snapshots, the oldest first; 0 when none is. The host's memory, which others
// fill too, counts only where it is the only limit.
func timeToLimit(n int, at func(int) *Snapshot) time.Duration {
	if n < trendLeast {
		return 0
	}
	var first time.Duration
	limited := false
	for _, by := range [...]string{"cgroup", "gomemlimit", "host"} {
		if by == "host" && limited {
			break
		}
		used, limit := usage(at(n-1), by)
		if !Known(used) || !Known(limit) {
			continue
		}
		limited = true
		if after := trend(n, at, by, used, limit); after > 0 && (first == 0 || after < first) {
			first = after
		}
	}
	return first
}

// trend extrapolates the growth of what counts against one limit by least
// squares. Memory grows when its least value grows from each quarter of the
// time to the next: the saw teeth that garbage collection makes return to the
// same floor.
func trend(n int, at func(int) *Snapshot, by string, used, limit float64) time.Duration {
	var floor [trendParts]float64
	for i := range floor {
		floor[i] = math.Inf(1)
	}
	begin := at(0).Time
	var sx, sy, sxx, sxy float64
	for i := range n {
		s := at(i)
		y, _ := usage(s, by)
		if !Known(y) {
			return 0
		}
		part := &floor[i*trendParts/n]
		*part = min(*part, y)
		y -= used // keeps the squares small
		x := s.Time.Sub(begin).Seconds()
		sx, sy, sxx, sxy = sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	for i := 1; i < trendParts; i++ {
		if floor[i] <= floor[i-1] {
			return 0
		}
	}
	count := float64(n)
	slope := (count*sxy - sx*sy) / (count*sxx - sx*sx)
	seconds := (limit - used) / slope
	if !(slope > 0) || !(seconds > 0) || seconds > trendMost.Seconds() {
		return 0
	}
	return time.Duration(seconds * float64(time.Second))
}
