package console

import (
	"context"
	"encoding/json"
	"math"
	"runtime"
	"slices"
	"strconv"
	"time"
)

// sparks is how many points the small curve of a route has.
const sparks = 60

// ranges that a page may ask for, in slots.
func slotsOf(d time.Duration, keep time.Duration) int {
	return min(max(int(math.Round(float64(d)/float64(keep)*slots)), 1), slots)
}

// buf writes JSON without reflection: a frame has thousands of numbers.
type buf struct{ b []byte }

func (o *buf) raw(s string) { o.b = append(o.b, s...) }

// num writes what JSON has no number for as null.
func (o *buf) num(v float64) {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		o.raw("null")
	case v == math.Trunc(v) && math.Abs(v) < 1e15:
		o.b = strconv.AppendInt(o.b, int64(v), 10)
	default:
		o.b = strconv.AppendFloat(o.b, v, 'g', 5, 64)
	}
}

func (o *buf) nums(values ...float64) {
	o.raw("[")
	for i, v := range values {
		if i > 0 {
			o.raw(",")
		}
		o.num(v)
	}
	o.raw("]")
}

// value writes anything else. What it cannot write is null.
func (o *buf) value(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		b = []byte("null")
	}
	o.b = append(o.b, b...)
}

func (o *buf) key(name string) {
	o.raw(`,"`)
	o.raw(name)
	o.raw(`":`)
}

// series writes the last n values of a ring, the oldest first.
func series[V float32 | int64](o *buf, ring []V, seq uint64, n int) {
	o.raw("[")
	size := uint64(len(ring))
	n = int(min(uint64(n), seq, size))
	for i := range n {
		if i > 0 {
			o.raw(",")
		}
		o.num(float64(ring[(seq-uint64(n-i))%size]))
	}
	o.raw("]")
}

// summary is what the table tells of a route over the time range.
type summary struct {
	requests, errors uint64
	seconds, cpu     float64
	cells            [Cells]uint64
}

// over adds up the last n slots and the one that is not full yet.
func (r *route) over(n int, sum *summary) {
	*sum = summary{requests: r.now.requests, errors: r.now.errors, seconds: r.now.seconds, cpu: r.now.cpu}
	for i, v := range r.cells {
		sum.cells[i] = uint64(v)
	}
	for i := range r.slots[:n] {
		s := &r.slots[i]
		sum.requests += s.requests
		sum.errors += s.errors
		sum.seconds += s.seconds
		sum.cpu += s.cpu
		addPacked(&sum.cells, s.packed)
	}
}

// from is when the time range of n slots began.
func (c *Console) from(n int) time.Time {
	for ; n > 0; n-- {
		if !c.starts[n].IsZero() {
			return c.starts[n]
		}
	}
	return c.starts[0]
}

func (o *buf) summary(s *summary, hasCPU bool) {
	o.raw(`"c":`)
	o.num(float64(s.requests))
	o.raw(`,"e":`)
	o.num(float64(s.errors))
	o.raw(`,"s":`)
	o.num(s.seconds)
	o.raw(`,"p":`)
	o.nums(quantile(&s.cells, .5), quantile(&s.cells, .95), quantile(&s.cells, .99))
	if hasCPU {
		o.raw(`,"u":`)
		o.num(s.cpu)
	}
}

// frame is what a page is told: with full all that the rings hold, else the
// last sample.
func (c *Console) frame(over time.Duration, full bool, state State) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := slotsOf(over, c.config.Keep)
	from := c.from(n)
	history, curve, reports := 1, 1, 1
	if full {
		history, curve, reports = points, sparks, diagnoses
	}
	o := &buf{b: make([]byte, 0, 4096+len(c.routes)*(160+curve*4))}
	o.raw(`{"seq":`)
	o.num(float64(c.seq))
	o.key("full")
	o.value(full)
	if full {
		o.key("about")
		o.value(map[string]any{
			"service": c.config.Service, "version": c.config.Version, "go": runtime.Version(), "started": c.config.Started.UnixMilli(),
			"keep": c.config.Keep.Seconds(), "step": c.step.Seconds(), "parts": partNames, "sched_rows": schedBounds,
		})
	}
	o.key("from")
	o.num(float64(from.UnixMilli()))
	o.key("to")
	o.num(float64(c.sampled.UnixMilli()))
	o.key("state")
	o.value(state)
	o.key("report")
	o.value(c.report)
	o.key("still")
	o.value(c.still)

	var sum summary
	c.total.over(n, &sum)
	o.raw(`,"total":{`)
	o.summary(&sum, c.hasCPU)
	o.raw("}")
	o.key("routes")
	o.raw("[")
	first := true
	for _, r := range c.sortedRoutes() {
		r.over(n, &sum)
		if sum.requests == 0 && !r.recent(c.seq) {
			continue
		}
		if !first {
			o.raw(",")
		}
		first = false
		o.raw(`{"n":`)
		o.b = append(o.b, r.json...)
		o.raw(",")
		o.summary(&sum, c.hasCPU)
		o.key("k")
		series(o, r.requests[:], c.seq, curve)
		if r.split != nil {
			parts := r.split.mean(c.diagnosed, &c.whens, from.UnixMilli())
			o.key("w")
			o.nums(parts[:fixedParts]...)
			o.key("d")
			o.raw("{")
			more := false
			for i, name := range r.split.names {
				if name == "" || parts[fixedParts+i] == 0 {
					continue
				}
				if more {
					o.raw(",")
				}
				more = true
				o.b = append(o.b, r.split.json[i]...)
				o.raw(":")
				o.num(parts[fixedParts+i])
			}
			o.raw("}")
		}
		o.raw("}")
	}
	o.raw("]")

	o.key("t")
	series(o, c.times[:], c.seq, history)
	o.raw(`,"series":{"inflight":`)
	series(o, c.inFlight[:], c.seq, history)
	c.total.history(o, c.seq, history)
	o.raw(`},"runtime":{`)
	for i, f := range runtimeFields {
		if i > 0 {
			o.raw(",")
		}
		o.raw(`"` + f.name + `":`)
		series(o, c.runtime[i][:], c.seq, history)
	}
	o.raw("}")
	o.key("sched")
	o.raw("[")
	columns := min(uint64(history), c.seq)
	for i := range columns {
		if i > 0 {
			o.raw(",")
		}
		o.column(c.sched[(c.seq-columns+i)%points][:])
	}
	o.raw("]")
	o.key("headroom")
	h := c.last.Headroom
	o.raw(`{"ratio":`)
	o.num(h.Ratio)
	o.key("limit")
	o.num(h.Limit)
	o.key("used")
	o.num(h.Used)
	o.key("after")
	o.num(h.After.Seconds())
	o.key("by")
	o.value(h.By)
	o.raw("}")
	o.key("dt")
	series(o, c.whens[:], c.diagnosed, reports)
	o.raw(`,"groups":{`)
	for i, g := range c.groups {
		if i > 0 {
			o.raw(",")
		}
		g.write(o, c.diagnosed, reports)
	}
	o.raw(",")
	c.own.write(o, c.seq, history)
	o.raw("}}")
	return o.b
}

// history writes the series of a route.
func (r *route) history(o *buf, seq uint64, n int) {
	for _, s := range []struct {
		name string
		ring *[points]float32
	}{{"requests", &r.requests}, {"errors", &r.errors}, {"seconds", &r.seconds}} {
		o.key(s.name)
		series(o, s.ring[:], seq, n)
	}
	for i, name := range []string{"p50", "p95", "p99"} {
		var ring [points]float32
		for at, q := range r.quantiles {
			ring[at] = nan
			if r.requests[at] > 0 {
				ring[at] = float32(middle(q[i]))
			}
		}
		o.key(name)
		series(o, ring[:], seq, n)
	}
}

// recent tells whether the small curve shows anything.
func (r *route) recent(seq uint64) bool {
	for i := range min(seq, sparks) {
		if r.requests[(seq-1-i)%points] > 0 {
			return true
		}
	}
	return false
}

func (c *Console) sortedRoutes() []*route {
	all := make([]*route, 0, len(c.routes))
	for _, r := range c.routes {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *route) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return all
}

func (g *group) write(o *buf, seq uint64, n int) {
	o.value(g.name)
	o.raw(":[")
	for i, r := range g.sorted() {
		if i > 0 {
			o.raw(",")
		}
		o.raw(`{"n":`)
		o.b = append(o.b, r.json...)
		o.key("d")
		o.value(r.detail)
		o.raw(`,"v":{`)
		for k, name := range g.fields {
			if k > 0 {
				o.raw(",")
			}
			o.raw(`"` + name + `":`)
			series(o, r.values[k], seq, n)
		}
		o.raw("}}")
	}
	o.raw("]")
}

// column writes one column of a heat map, without the empty rows at its end.
func (o *buf) column(heat []uint8) {
	last := len(heat)
	for last > 0 && heat[last-1] == 0 {
		last--
	}
	o.raw("[")
	for k, v := range heat[:last] {
		if k > 0 {
			o.raw(",")
		}
		o.num(float64(v))
	}
	o.raw("]")
}

// routeFrame is all that is kept of one route; nil when there is none.
func (c *Console) routeFrame(name string) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.routes[name]
	if r == nil {
		return nil
	}
	o := &buf{}
	o.raw(`{"n":`)
	o.b = append(o.b, r.json...)
	o.key("t")
	series(o, c.times[:], c.seq, points)
	r.history(o, c.seq, points)
	o.key("rows")
	rows := make([]float64, heatRows) // where each begins
	for i := 1; i < heatRows; i++ {
		rows[i] = math.Exp2(FirstOctave + float64(i+heatFirst)/2)
	}
	o.nums(rows...)
	o.raw(`,"heat":[`)
	n := min(c.seq, points)
	for i := range n {
		if i > 0 {
			o.raw(",")
		}
		at := (c.seq - n + i) % points
		var column [heatRows]uint8
		for k := range column {
			column[k] = r.heatOf(at, k)
		}
		o.column(column[:])
	}
	o.raw("]")
	if s := r.split; s != nil {
		o.key("dt")
		series(o, c.whens[:], c.diagnosed, diagnoses)
		o.raw(`,"split":[`)
		for k := range splitParts {
			name := ""
			if k < fixedParts {
				name = partNames[k]
			} else if name = s.names[k-fixedParts]; name == "" {
				break
			}
			if k > 0 {
				o.raw(",")
			}
			var ring [diagnoses]float32
			for at := range ring {
				ring[at] = float32(s.parts[at][k]) / 255 * s.total[at]
			}
			o.raw(`{"n":`)
			o.value(name)
			o.key("d")
			o.value(k >= fixedParts)
			o.key("v")
			series(o, ring[:], c.diagnosed, diagnoses)
			o.raw("}")
		}
		o.raw("]")
	}
	o.raw("}")
	return o.b
}

// state asks for what is true now.
func (c *Console) state(ctx context.Context) State {
	if c.config.State == nil {
		return State{}
	}
	return c.config.State(ctx)
}
