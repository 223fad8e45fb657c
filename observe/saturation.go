package observe

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/loadline-go/loadline/internal/span"
	"github.com/loadline-go/loadline/runtimemetrics"
)

// Saturation says when an instance is to be sent no more work. Each limit that
// is set counts for itself. A value beyond its limit must come back by a quarter
// of it (of what is left to 1 where that is less) before it counts as well
// again, so that an instance at the limit does not come and go.
//
// Where all instances are saturated at once all of them are unready, and the
// load balancer has nobody to send to: set limits that an evenly loaded service
// reaches only when answers have become useless, and shed load before that.
type Saturation struct {
	// SchedDelay is the longest that goroutines which are ready may wait for a
	// processor, as p99 over the last three samples of the runtime.
	// Default: 0, no limit.
	SchedDelay time.Duration

	// MemoryHeadroom is the least share, from 0 to 1, of the nearest memory limit
	// (cgroup, GOMEMLIMIT, host) that must be free.
	// Default: 0, no limit.
	MemoryHeadroom float64

	// Fill returns how full the program is by its own measure, such as a queue
	// or a pool: 0 is empty, 1 is full, and 0.9 saturated. It may be called at
	// any time.
	// Default: nil, no limit.
	Fill func() float64
}

// fillLimit leaves a tenth of a queue to what is under way while the load
// balancer takes the instance out.
const fillLimit = .9

// back is the share of a limit by which a value must come back: less is noise,
// of a p99 above all.
const back = .25

func (s Saturation) any() bool { return s.SchedDelay > 0 || s.MemoryHeadroom > 0 || s.Fill != nil }

// saturation is the readiness check of a Saturation.
type saturation struct {
	limits  Saturation
	sampler *runtimemetrics.Sampler

	mu                   sync.Mutex
	sched, memory, queue hysteresis
}

func (s *saturation) probe(context.Context) error {
	fill := 0.0
	if s.limits.Fill != nil {
		fill = s.limits.Fill()
	}
	d, ok := s.sampler.Last(3 * s.sampler.Interval)
	if !ok {
		d.Headroom.Ratio = 1
	}
	return s.judge(d.SchedP99, d.Headroom.Ratio, fill)
}

// judge compares what was measured with the limits. An unknown headroom, which
// is not a number, is beyond none.
func (s *saturation) judge(sched time.Duration, headroom, fill float64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	if limit := s.limits.SchedDelay; limit > 0 && s.sched.over(sched.Seconds(), limit.Seconds(), limit.Seconds()) {
		errs = append(errs, fmt.Errorf("goroutines wait %s for a processor (p99), the limit is %v", span.Short(sched), limit))
	}
	if limit := s.limits.MemoryHeadroom; limit > 0 && s.memory.over(-headroom, -limit, min(limit, 1-limit)) {
		errs = append(errs, fmt.Errorf("%.1f %% of the memory is free, the limit is %.1f %%", 100*headroom, 100*limit))
	}
	if s.limits.Fill != nil && s.queue.over(fill, fillLimit, fillLimit) {
		errs = append(errs, fmt.Errorf("%.0f %% full, the limit is %.0f %%", 100*fill, 100*fillLimit))
	}
	return errors.Join(errs...)
}

// hysteresis is the state of one limit: beyond it or not.
type hysteresis bool

// over tells whether value is, or still counts as, above the limit: it must come
// back by a part of the way.
func (h *hysteresis) over(value, limit, way float64) bool {
	if *h {
		limit -= back * way
	}
	*h = hysteresis(value > limit)
	return bool(*h)
}
