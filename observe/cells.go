package observe

import (
	"math"
	"slices"
)

// cells are the parts into which classic and native buckets together divide the
// numbers: each native bucket is one cell, or several where bounds of classic
// ones lie inside it. So one count serves both kinds, and they always agree.
type cells struct {
	scale scale
	upper []float64 // bounds of the classic buckets
	ends  []float64 // by cell: where it ends, inclusive; the last one never
	parts []part    // by cell

	// slots say of which cells the numbers are that share an exponent and six bits
	// of the mantissa: nearly always one, or two. The first slot has all numbers
	// below its end too, the last one all above.
	slots []slot
	low   int // what the first slot's numbers share
}

// part is which two buckets a cell is part of.
type part struct{ native, classic uint16 }

// slot is the first and the last of some cells.
type slot struct{ first, last uint16 }

const slotShift = 52 - 6

// newCells divides at each of cuts, too, which are bounds of neither kind.
func newCells(upper []float64, s scale, cuts ...float64) *cells {
	c := &cells{scale: s, upper: upper}
	native := make([]float64, (s.high-s.low)*perOctave) // where they end; the zero bucket first, the last one never does
	for k := range native {
		native[k] = math.Ldexp(bounds[k%perOctave], s.low+k/perOctave+1)
	}
	c.ends = append(slices.Concat(native, upper, cuts), math.Inf(1))
	slices.Sort(c.ends)
	c.ends = slices.Compact(c.ends)
	for _, end := range c.ends {
		k, _ := slices.BinarySearch(native, end)
		i, _ := slices.BinarySearch(upper, end)
		c.parts = append(c.parts, part{uint16(k), uint16(i)})
	}
	c.low = int(math.Float64bits(math.Ldexp(1, s.low))>>slotShift) - 1
	cell := func(v float64) uint16 {
		i, _ := slices.BinarySearch(c.ends, v)
		return uint16(i)
	}
	for at := c.low; at <= int(math.Float64bits(math.Ldexp(1, s.high))>>slotShift); at++ {
		c.slots = append(c.slots, slot{
			cell(math.Float64frombits(uint64(at) << slotShift)), cell(math.Float64frombits(uint64(at+1)<<slotShift - 1)),
		})
	}
	c.slots[0].first = 0
	c.slots[len(c.slots)-1].last = uint16(len(c.ends) - 1)
	return c
}

// of returns the cell of v, which is a number above zero or zero itself.
func (c *cells) of(v float64) int {
	b := c.slots[min(max(int(math.Float64bits(v)>>slotShift)-c.low, 0), len(c.slots)-1)]
	i := b.first
	for i < b.last && v > c.ends[i] {
		i++
	}
	return int(i)
}
