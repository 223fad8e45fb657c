package console

import (
	"encoding/json"
	"math"
	"math/bits"
)

const (
	// Cells are those of observe's histogram of seconds: the first for what took
	// up to 2^firstOctave seconds, then perOctave to each power of two.
	Cells       = 1 + 30*PerOctave
	PerOctave   = 8
	FirstOctave = -20

	// The rows of a heat map: half octaves from 244 us to 16 s.
	heatRows  = 32
	heatFirst = 16 // half octaves above 2^FirstOctave
	perRow    = PerOctave / 2

	splitParts = 12 // running, ready, gc, lock, pool, other, and so many dependencies
	fixedParts = 6
)

var partNames = [fixedParts]string{"running", "ready", "gc assist", "lock", "pool", "other"}

// route is what is kept of one route, 9 KB and what its slots hold.
type route struct {
	name string
	json []byte // the name as JSON

	prev     [Cells]uint32
	errors0  uint64
	seconds0 float64
	cpu0     float64

	requests, errors, seconds [points]float32
	quantiles                 [points][3]uint8            // cells of p50, p95 and p99
	heat                      [points][heatRows / 2]uint8 // half a byte a row

	now   slot
	cells [Cells]uint32 // of the slot that is not full yet
	slots [slots]slot

	split *split // nil: not diagnosed yet
}

// slot is what was counted in a fifteenth of the time. Its cells are packed:
// most are empty.
type slot struct {
	requests, errors uint64
	seconds, cpu     float64
	packed           []byte
}

// split is where the time of a route went, at each diagnosis.
type split struct {
	names [splitParts - fixedParts]string
	json  [splitParts - fixedParts][]byte // the names as JSON
	total [diagnoses]float32
	parts [diagnoses][splitParts]uint8 // 255ths of the total
}

func newRoute(name string) *route {
	escaped, _ := json.Marshal(name)
	return &route{name: name, json: escaped}
}

func (r *route) clear(at int) {
	r.requests[at], r.errors[at], r.seconds[at] = 0, 0, 0
	r.quantiles[at], r.heat[at] = [3]uint8{}, [heatRows / 2]uint8{}
}

// nextSlot packs the slot that is full and begins another.
func (c *Console) nextSlot() {
	copy(c.starts[1:], c.starts[:slots])
	c.starts[0] = c.sampled
	c.total.nextSlot()
	for _, r := range c.routes {
		r.nextSlot()
	}
}

func (r *route) nextSlot() {
	copy(r.slots[1:], r.slots[:slots-1])
	r.now.packed = pack(&r.cells)
	r.slots[0], r.now, r.cells = r.now, slot{}, [Cells]uint32{}
}

// pack writes the cells that are not empty: how many are skipped, and the count.
func pack(cells *[Cells]uint32) []byte {
	n := 0
	var all [Cells * 6]byte
	last := -1
	for i, v := range cells {
		if v == 0 {
			continue
		}
		all[n] = byte(i - last - 1)
		n++
		last = i
		for ; v >= 0x80; v >>= 7 {
			all[n] = byte(v) | 0x80
			n++
		}
		all[n] = byte(v)
		n++
	}
	if n == 0 {
		return nil
	}
	return append(make([]byte, 0, n), all[:n]...)
}

// addPacked adds what pack wrote.
func addPacked(sum *[Cells]uint64, packed []byte) {
	cell := -1
	for i := 0; i < len(packed); {
		cell += int(packed[i]) + 1
		i++
		var v uint64
		for shift := 0; ; shift += 7 {
			b := packed[i]
			i++
			v |= uint64(b&0x7f) << shift
			if b < 0x80 {
				break
			}
		}
		sum[cell] += v
	}
}

// rest adds up the routes that have no series of their own.
type rest struct {
	cells [Cells]uint64
	sum   Route
}

// route adds what was counted since the last sample.
func (c *Console) route(in Route, at int) {
	r := c.routes[in.Name]
	if r == nil {
		switch {
		case in.Requests == 0:
			return
		case len(c.routes) >= MaxRoutes && in.Name != MoreRoutes:
			c.rest.add(in)
			return
		}
		r = newRoute(in.Name)
		c.routes[in.Name] = r
	}
	r.spent(in.CPU)
	var cells [Cells]uint32
	var n uint64
	for i, v := range in.Cells {
		if i >= Cells {
			break
		}
		d := uint32(v) - r.prev[i] // counts wrap after four billion, differences do not
		r.prev[i] = uint32(v)
		cells[i] = d
		n += uint64(d)
	}
	errors, seconds := in.Errors-r.errors0, in.Seconds-r.seconds0
	r.errors0, r.seconds0 = in.Errors, in.Seconds
	if n == 0 {
		return
	}
	r.add(&cells, n, errors, seconds, at)
	r.warm(&cells, at)
	r.quantiles[at] = quantilesOf(&cells, n)
	c.total.add(&cells, n, errors, seconds, at)
	for i, v := range cells {
		c.tick[i] += v
	}
}

// MoreRoutes is the name under which the routes beyond MaxRoutes are shown.
const MoreRoutes = "other routes"

func (o *rest) add(in Route) {
	for i, v := range in.Cells[:min(len(in.Cells), Cells)] {
		o.cells[i] += v
	}
	o.sum.Requests += in.Requests
	o.sum.Errors += in.Errors
	o.sum.Seconds += in.Seconds
	o.sum.CPU += in.CPU
}

// spent notes the CPU seconds of one interval, of which seconds is the sum
// since the start.
func (r *route) spent(seconds float64) {
	r.now.cpu += max(seconds-r.cpu0, 0)
	r.cpu0 = seconds
}

// add adds the counts of one interval.
func (r *route) add(cells *[Cells]uint32, n, errors uint64, seconds float64, at int) {
	r.requests[at] += float32(n)
	r.errors[at] += float32(errors)
	r.seconds[at] += float32(seconds)
	r.now.requests += n
	r.now.errors += errors
	r.now.seconds += seconds
	for i, v := range cells {
		r.cells[i] += v
	}
}

// warm notes how the requests of one interval are spread.
func (r *route) warm(cells *[Cells]uint32, at int) {
	var rows [heatRows]uint64
	for i, v := range cells {
		if v > 0 {
			rows[heatRow(i)] += uint64(v)
		}
	}
	for i, v := range rows {
		r.heat[at][i/2] |= uint8(min(bits.Len64(v), 15)) << (i % 2 * 4)
	}
}

// heatOf is the heat of a row: n for counts from 2^(n-1) to below 2^n.
func (r *route) heatOf(at uint64, row int) uint8 { return r.heat[at][row/2] >> (row % 2 * 4) & 15 }

// quantilesOf returns the cells of p50, p95 and p99.
func quantilesOf(cells *[Cells]uint32, n uint64) [3]uint8 {
	return [3]uint8{uint8(rank(cells, n, .5)), uint8(rank(cells, n, .95)), uint8(rank(cells, n, .99))}
}

// heatRow is the row of a heat map that shows a cell.
func heatRow(cell int) int {
	if cell == 0 {
		return 0
	}
	return min(max((cell-1)/perRow-heatFirst, 0), heatRows-1)
}

// rank returns the cell in which the share q of n is reached.
func rank(cells *[Cells]uint32, n uint64, q float64) int {
	want := uint64(math.Ceil(q * float64(n)))
	for i, v := range cells {
		if want <= uint64(v) {
			return i
		}
		want -= uint64(v)
	}
	return Cells - 1
}

// middle is the time in the middle of a cell, in seconds; 0 for the first.
func middle(cell uint8) float64 {
	if cell == 0 {
		return 0
	}
	return math.Exp2(FirstOctave + (float64(cell)-.5)/PerOctave)
}

// quantile interpolates within the cell as Prometheus does in a native
// histogram: evenly on the logarithmic scale. NaN when there is nothing.
func quantile(cells *[Cells]uint64, q float64) float64 {
	var n uint64
	for _, v := range cells {
		n += v
	}
	if n == 0 {
		return math.NaN()
	}
	want := q * float64(n)
	for i, v := range cells {
		if v == 0 || want > float64(v) {
			want -= float64(v)
			continue
		}
		part := want / float64(v)
		if i == 0 {
			return part * math.Exp2(FirstOctave)
		}
		return math.Exp2(FirstOctave + (float64(i-1)+part)/PerOctave)
	}
	return math.Exp2(FirstOctave + float64(Cells-1)/PerOctave)
}
