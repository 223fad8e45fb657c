package observe

import "math"

// cells are the parts into which classic and native buckets together divide the
// numbers: each native bucket is one cell, or several where bounds of classic
// ones lie inside it. So one count serves both kinds, and they always agree.
type cells struct {
	scale   scale
	upper   []float64  // bounds of the classic buckets
	buckets []cellSpan // by native bucket, the zero bucket first
	ends    []float64  // by cell: the classic bound at which it ends; not so of the last one of a bucket
	parts   []part     // by cell
}

// cellSpan is the first and the last of the cells of a bucket.
type cellSpan struct{ first, last uint16 }

// part is which two buckets a cell is part of.
type part struct{ native, classic uint16 }

func newCells(upper []float64, s scale) *cells {
	c := &cells{scale: s, upper: upper}
	bucket := func(v float64) int { return s.index(max(v, 0)) + 1 }
	next := 0 // bound
	for k := range 1 + (s.high-s.low)*perOctave {
		b, rest := cellSpan{first: uint16(len(c.ends))}, -1
		for ; next < len(upper) && bucket(upper[next]) <= k; next++ {
			if bucket(math.Nextafter(upper[next], math.Inf(1))) > k {
				rest = next // the native bucket ends there itself
				continue
			}
			c.ends, c.parts = append(c.ends, upper[next]), append(c.parts, part{uint16(k), uint16(next)})
		}
		if rest < 0 {
			rest = next
		}
		b.last = uint16(len(c.ends))
		c.ends, c.parts = append(c.ends, math.Inf(1)), append(c.parts, part{uint16(k), uint16(rest)})
		c.buckets = append(c.buckets, b)
	}
	return c
}

// of returns the cell of v, which is not negative.
func (c *cells) of(v float64) int {
	b := c.buckets[c.scale.index(v)+1]
	i := b.first
	for i < b.last && v > c.ends[i] {
		i++
	}
	return int(i)
}
