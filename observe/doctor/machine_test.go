package doctor

import (
	"testing"
	"time"
)

// A heap at the limit that is set to it is what the collector works for, though it has
// done so for a while and some of that is usual by now.
func TestAFullMemoryLimitNeedNotBeNew(t *testing.T) {
	window := func(each, cycles, share, free float64) Window {
		return Window{Interval: 10 * time.Second,
			Runtime: Runtime{Processors: 2, CPUs: 2, CPU: 1.7, GCShare: share, GCPerSecond: cycles, HeapHeldDown: true, MemoryBy: "gomemlimit", MemoryFree: free, SchedWait: 20 * each, HeapLive: 110 << 20},
			Routes:  []Route{{Route: "GET /list", Requests: 500, Seconds: 500 * each, P50: each, P99: 2 * each}},
		}
	}
	for _, c := range []struct {
		free float64
		want Cause
	}{{0, GCMemoryLimit}, {.3, GCAllocation}} {
		r := Diagnose(Evidence{Now: window(.06, 20, .3, c.free), Usual: window(.01, 9, .08, c.free), Running: time.Hour})
		if len(r.Findings) == 0 || r.Findings[0].Cause != c.want {
			t.Errorf("%v of the limit is free: want %s: %s", c.free, c.want, r)
		}
	}
}
