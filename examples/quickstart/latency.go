package main

import (
	"math"
	"time"
)

// latency counts durations in buckets 1 % wide, from 10 µs to 5 minutes, so
// that a load of any length takes the same memory.
type latency struct {
	counts [1740]uint32
	total  int
}

const (
	shortest = 10 * time.Microsecond
	width    = 1.01
)

func (l *latency) add(d time.Duration) {
	i := int(math.Log(float64(max(d, shortest))/float64(shortest)) / math.Log(width))
	l.counts[min(i, len(l.counts)-1)]++
	l.total++
}

// quantile returns the duration that the share q did not exceed, within half a
// percent; 0 when nothing was counted.
func (l *latency) quantile(q float64) time.Duration {
	rank := q * float64(l.total)
	below := 0.0
	for i, n := range l.counts {
		if below += float64(n); n > 0 && below >= rank {
			return time.Duration(float64(shortest) * math.Pow(width, float64(i)+0.5))
		}
	}
	return 0
}
