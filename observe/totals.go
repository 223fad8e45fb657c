package observe

import (
	"math"
	"strconv"
	"time"
)

// total is what some series of one metric come to, and what they had come to
// when somebody last looked.
type total struct {
	series []totalled
	spread bool     // tell quantiles, too
	counts []uint32 // of spread: by native bucket at the last look, modulo 2^32
	from   int      // the bucket of counts[0]
}

type totalled struct {
	h     *histogram
	class outcome
	sum   float64 // at the last look, like the count
	count uint64
}

// outcome is what the observations of a series have in common.
type outcome uint8

const (
	outcomeFine outcome = iota
	outcomeFailed
	outcomeCanceled
	outcomePanicked // it failed, too
)

// growth is by how much a total grew between two looks.
type growth struct {
	count, failed, canceled, panicked float64
	seconds                           float64
	p50, p99                          float64 // seconds; 0: nothing was observed, or no quantiles are told
}

func (t *total) add(h *histogram, class outcome) {
	t.series = append(t.series, totalled{h: h, class: class})
}

// grown returns the growth since the last look. Where nothing was observed it
// reads one number of each series and shard.
func (t *total) grown() (g growth) {
	quiet := true
	for i := range t.series {
		if s := &t.series[i]; s.h.total() != s.sum {
			quiet = false
			break
		}
	}
	if quiet {
		return g
	}
	var array [1 + 40*perOctave]uint64
	native := array[:]
	for i := range t.series {
		s := &t.series[i]
		native = array[:1+(s.h.cells.scale.high-s.h.cells.scale.low)*perOctave]
		count, sum := s.h.addTo(native, nil)
		n, took := float64(count-s.count), sum-s.sum
		if count < s.count {
			n = 0
		}
		if s.count, s.sum = count, sum; n == 0 {
			continue
		}
		g.count += n
		g.seconds += max(took, 0)
		switch s.class {
		case outcomePanicked:
			g.panicked += n
			g.failed += n
		case outcomeFailed:
			g.failed += n
		case outcomeCanceled:
			g.canceled += n
		}
	}
	if t.spread && len(t.series) > 0 {
		to := t.differ(native)
		scale := t.series[0].h.cells.scale
		g.p50, g.p99 = scale.quantile(native[:to], .5).Seconds(), scale.quantile(native[:to], .99).Seconds()
	}
	return g
}

// differ makes the differences to the last look of native, and keeps what it
// was. What is kept begins with the first bucket that was ever used and ends
// with the last, and an octave more: a route uses a few of thirty. It returns
// from where on native has nothing.
func (t *total) differ(native []uint64) (end int) {
	first, last := -1, -1
	for i, n := range native {
		if n != 0 {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	if first < 0 {
		return 0
	}
	if first < t.from || last >= t.from+len(t.counts) {
		first, last = max(first-perOctave, 0), min(last+perOctave, len(native)-1)
		if len(t.counts) > 0 {
			first, last = min(first, t.from), max(last, t.from+len(t.counts)-1)
		}
		wide := make([]uint32, last-first+1)
		if len(t.counts) > 0 {
			copy(wide[t.from-first:], t.counts)
		}
		t.counts, t.from = wide, first
	}
	for i := range t.counts {
		n := native[t.from+i]
		native[t.from+i] = uint64(uint32(n) - t.counts[i])
		t.counts[i] = uint32(n)
	}
	return t.from + len(t.counts)
}

// total is the sum of what was observed.
func (h *histogram) total() (sum float64) {
	for i := range h.shards {
		if c := h.shards[i].Load(); c != nil {
			sum += math.Float64frombits(c.sum.Load())
		}
	}
	return sum
}

// label returns the value of a label.
func (h *histogram) label(name string) string {
	for _, l := range h.labels {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// servedOutcome is what a series of requests ended with.
func servedOutcome(h *histogram) outcome {
	switch h.label("error_type") {
	case "panic":
		return outcomePanicked
	case "canceled":
		return outcomeCanceled
	}
	if status, err := strconv.Atoi(h.label("http_response_status_code")); err == nil && status >= 500 {
		return outcomeFailed
	}
	return outcomeFine
}

// calledOutcome is what a series of calls or runs ended with.
func calledOutcome(h *histogram) outcome {
	switch class := h.label("error_type"); {
	case class == "canceled":
		return outcomeCanceled
	case faultOf(class):
		return outcomeFailed
	}
	return outcomeFine
}

// since is now minus before, 0 for a counter that began anew.
func since[N int | int64 | uint64 | float64 | time.Duration](now N, before *N) float64 {
	d := now - *before
	if now < *before {
		d = 0
	}
	*before = now
	return float64(d)
}
