package runtimemetrics

import (
	"iter"
	"math"
	"math/bits"
	"runtime/metrics"
	"time"
)

// The grid of a Distribution is the runtime's own for the range that matters:
// 64 ns wide up to 256 ns, then four buckets in each power of two up to 2^34 ns
// (17 s). The runtime's buckets go on to two days; those fall into the last.
const (
	gridLinear   = 4  // buckets of 64 ns below 256 ns
	gridFirstBit = 8  // 2^8 ns = 256 ns
	gridLastBit  = 34 // 2^34 ns = 17.2 s
	gridSize     = gridLinear + (gridLastBit-gridFirstBit)*4 + 1
)

// A Distribution says how often each length of time was seen. It is a plain
// value: copying it costs a kilobyte, and nothing is shared.
//
// Its buckets are a quarter of a power of two wide, as the runtime's are, so a
// quantile is within 12.5 % of the truth when the truth is in the middle of its
// bucket and within 25 % at worst. A zero Distribution has seen nothing.
type Distribution struct {
	counts  [gridSize]uint64
	unknown bool // the runtime does not have it
}

// Known reports whether the source of the distribution exists. A known
// distribution may be empty; an unknown one always is.
func (d *Distribution) Known() bool { return !d.unknown }

// Observe counts one duration. A negative one counts as zero. It must not run
// at the same time as another method of the same Distribution.
func (d *Distribution) Observe(t time.Duration) { d.counts[gridIndex(t)]++ }

// Count returns the number of durations seen.
func (d *Distribution) Count() uint64 {
	var n uint64
	for _, c := range d.counts {
		n += c
	}
	return n
}

// Sum returns the durations seen, added up. It takes each to be in the middle
// of its bucket, so it is an estimate, off by 12.5 % at the very worst and by
// about 1 % when durations vary.
func (d *Distribution) Sum() time.Duration { return time.Duration(d.seconds() * 1e9) }

func (d *Distribution) seconds() float64 {
	var sum float64
	for i, c := range d.counts {
		if c > 0 {
			sum += float64(c) * gridMiddle(i)
		}
	}
	return sum / 1e9
}

// Quantile returns the duration that a share q of those seen did not exceed,
// q from 0 to 1. It is 0 when nothing was seen, which Count tells apart from a
// quantile that is truly zero. Above 17 s it answers 17 s.
func (d *Distribution) Quantile(q float64) time.Duration {
	total := d.Count()
	if total == 0 || math.IsNaN(q) {
		return 0
	}
	rank := min(max(q, 0), 1) * float64(total)
	var below float64
	last := 0
	for i, c := range d.counts {
		if c == 0 {
			continue
		}
		last = i
		if below+float64(c) >= rank {
			lower, upper := gridBounds(i)
			share := max(rank-below, 0) / float64(c)
			return time.Duration(lower + (upper-lower)*share)
		}
		below += float64(c)
	}
	_, upper := gridBounds(last) // rounding left a hair of rank over
	return time.Duration(upper)
}

// Buckets yields the buckets in which something was seen, the shortest first:
// the end of each, which is the next one's beginning, and how many. What is above
// 17 s stands at 17 s.
func (d *Distribution) Buckets() iter.Seq2[time.Duration, uint64] {
	return func(yield func(time.Duration, uint64) bool) {
		for i, c := range d.counts {
			if c == 0 {
				continue
			}
			if _, upper := gridBounds(i); !yield(time.Duration(upper), c) {
				return
			}
		}
	}
}

// Since returns what was seen after prev, an earlier reading of the same
// source. Where a count went down, the source began anew and the later reading
// is taken whole.
func (d *Distribution) Since(prev *Distribution) Distribution {
	out := *d
	if prev.unknown {
		// Nothing is known about the beginning, so nothing about the difference.
		return Distribution{unknown: true}
	}
	for i := range out.counts {
		if out.counts[i] < prev.counts[i] {
			return *d
		}
		out.counts[i] -= prev.counts[i]
	}
	return out
}

func gridIndex(t time.Duration) int {
	if t < 0 {
		return 0
	}
	n := uint64(t)
	if n < 1<<gridFirstBit {
		return int(n >> 6)
	}
	bit := bits.Len64(n) - 1
	if bit >= gridLastBit {
		return gridSize - 1
	}
	return gridLinear + (bit-gridFirstBit)*4 + int(n>>(bit-2))&3
}

// gridBounds returns the bounds of bucket i in nanoseconds. The last bucket has
// no width: what is above the grid counts as its end, an understatement that
// Quantile's comment admits.
func gridBounds(i int) (lower, upper float64) {
	switch {
	case i < gridLinear:
		return float64(i * 64), float64((i + 1) * 64)
	case i >= gridSize-1:
		return 1 << gridLastBit, 1 << gridLastBit
	}
	bit, quarter := gridFirstBit+(i-gridLinear)/4, (i-gridLinear)%4
	base := uint64(1) << bit
	return float64(base + base/4*uint64(quarter)), float64(base + base/4*uint64(quarter+1))
}

func gridMiddle(i int) float64 {
	lower, upper := gridBounds(i)
	return (lower + upper) / 2
}

// gridOf maps the runtime's buckets to ours, by their middle. For the buckets
// of Go 1.26 and 1.27 each falls into the one with the same bounds; should a
// later runtime choose others, a duration moves by at most half a bucket.
func gridOf(bounds []float64) []uint8 {
	if len(bounds) < 2 {
		return nil
	}
	out := make([]uint8, len(bounds)-1)
	for i := range out {
		lower, upper := bounds[i], bounds[i+1]
		middle := (lower + upper) / 2
		switch {
		case math.IsInf(lower, -1):
			middle = min(upper, 0)
		case math.IsInf(upper, 1):
			middle = lower
		}
		out[i] = uint8(gridIndex(time.Duration(min(middle*1e9, 1<<62))))
	}
	return out
}

// merge fills d from a histogram of the runtime.
func (d *Distribution) merge(h *metrics.Float64Histogram, grid []uint8) {
	*d = Distribution{}
	if h == nil || len(grid) != len(h.Counts) {
		d.unknown = true
		return
	}
	for i, c := range h.Counts {
		d.counts[grid[i]] += c
	}
}
