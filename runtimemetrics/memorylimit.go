package runtimemetrics

import (
	"math"
	"os"
	"runtime/debug"
)

// A memoryLimiter keeps GOMEMLIMIT at a share of the cgroup's limit, for as
// long as no one else sets it.
type memoryLimiter struct {
	share float64
	set   int64 // what was set last; 0 before
	off   bool  // the program has its own limit
}

// leastMemoryLimit is the smallest limit that is set: a smaller one is less
// than an idle service needs, and would only make the collector run all the time.
const leastMemoryLimit = 16 << 20

func (m *memoryLimiter) follow(s *Snapshot) {
	if m.off || !(m.share > 0) {
		return
	}
	current := debug.SetMemoryLimit(-1)
	switch {
	case m.set == 0 && (current != math.MaxInt64 || os.Getenv("GOMEMLIMIT") != ""),
		m.set != 0 && current != m.set:
		m.off = true
		return
	}
	if !Known(s.Container.MemoryLimit) {
		return
	}
	limit := int64(s.Container.MemoryLimit * min(m.share, 1))
	if limit != m.set && limit >= leastMemoryLimit {
		debug.SetMemoryLimit(limit)
		m.set = limit
	}
}
