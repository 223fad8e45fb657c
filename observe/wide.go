package observe

import (
	"math"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// A wide is the histogram of a program's own metric, of whose values nothing is
// known: they may be negative, and anything from a grain to a national budget.
// It is histogram without the one array: native buckets come in groups, made
// when a value falls into them, and where values are so far apart that more
// than maxNative buckets hold some, buckets are joined when they are told.
type wide struct {
	classic
	pace

	busy   atomic.Bool // observed often enough to be spread over the shards
	shards [maxShards]atomic.Pointer[wideCounts]
}

// wideScale reaches from 5e-20 to 2e19. What lies below, of either sign, is in
// the zero bucket, what lies above in the last one.
var wideScale = scale{-64, 64}

const (
	groupSize  = 8 * perOctave // 512 bytes: values of one kind fill one group or two
	wideGroups = 128 * perOctave / groupSize
	// Buckets that a histogram may tell: what the OpenTelemetry SDK allows its
	// exponential histograms. Prometheus can be told to refuse a target that
	// sends more (native_histogram_bucket_limit).
	maxNative = 160
)

// wideCounts is one shard.
type wideCounts struct {
	sum      atomic.Uint64 // bits of a float64
	zero     atomic.Uint64
	classic  []atomic.Uint64
	positive [wideGroups]atomic.Pointer[group]
	negative [wideGroups]atomic.Pointer[group]
}

type group [groupSize]atomic.Uint64

func newWide(desc *prometheus.Desc, labels []*dto.LabelPair, upper []float64) *wide {
	h := &wide{classic: newClassic(desc, labels, upper)}
	h.shard(0)
	return h
}

// shard returns counts number i, making them.
func (h *wide) shard(i int) *wideCounts {
	if c := h.shards[i].Load(); c != nil {
		return c
	}
	c := &wideCounts{classic: make([]atomic.Uint64, len(h.upper)+1)}
	if !h.shards[i].CompareAndSwap(nil, c) {
		return h.shards[i].Load()
	}
	return c
}

// observe counts v, which must be finite.
func (h *wide) observe(v float64) {
	i := 0
	if h.busy.Load() {
		i = int(currentProcessor()) % maxShards
	}
	c := h.shard(i)
	// The native bucket first and read last: the classic buckets never hold more.
	if c.native(v).Add(1) == spreadAt {
		h.busy.Store(true)
	}
	c.classic[h.bucket(v)].Add(1)
	for {
		old := c.sum.Load()
		if c.sum.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}

// native returns the native bucket of v, making its group.
func (c *wideCounts) native(v float64) *atomic.Uint64 {
	k := wideScale.index(math.Abs(v))
	if k < 0 {
		return &c.zero
	}
	groups := &c.positive
	if v < 0 {
		groups = &c.negative
	}
	at := &groups[k/groupSize]
	g := at.Load()
	if g == nil {
		if g = new(group); !at.CompareAndSwap(nil, g) {
			g = at.Load()
		}
	}
	return &g[k%groupSize]
}

// Write implements prometheus.Metric.
func (h *wide) Write(m *dto.Metric) error {
	classic := make([]uint64, len(h.upper)+1)
	out := &message{zeroThreshold: math.Ldexp(1, wideScale.low), schema: schema}
	var shards []*wideCounts
	for i := range h.shards {
		if c := h.shards[i].Load(); c != nil {
			shards = append(shards, c)
			out.sum += math.Float64frombits(c.sum.Load())
			for i := range c.classic {
				classic[i] += c.classic[i].Load()
			}
		}
	}
	for _, c := range shards {
		out.zero += c.zero.Load()
	}
	var positive, negative sparse
	for i := range wideGroups {
		positive.addGroup(i, shards, func(c *wideCounts) *group { return c.positive[i].Load() })
		negative.addGroup(i, shards, func(c *wideCounts) *group { return c.negative[i].Load() })
	}
	out.count = out.zero + positive.total() + negative.total()
	for ; len(positive)+len(negative) > maxNative; out.schema-- {
		positive, negative = positive.joined(), negative.joined()
	}
	h.tell(out, classic)
	out.PositiveSpan, out.PositiveDelta = positive.encode()
	out.NegativeSpan, out.NegativeDelta = negative.encode()
	m.Label, m.Histogram = h.labels, &out.Histogram
	return nil
}

func (s *sparse) addGroup(i int, shards []*wideCounts, of func(*wideCounts) *group) {
	var sums [groupSize]uint64
	some := false
	for _, c := range shards {
		if g := of(c); g != nil {
			some = true
			for k := range g {
				sums[k] += g[k].Load()
			}
		}
	}
	if !some {
		return
	}
	for k, n := range sums {
		if n > 0 {
			*s = append(*s, bucketCount{wideScale.low*perOctave + 1 + i*groupSize + k, n})
		}
	}
}

func (s sparse) total() (n uint64) {
	for _, b := range s {
		n += b.count
	}
	return n
}

// joined has half the resolution: buckets 2n-1 and 2n become bucket n.
func (s sparse) joined() (half sparse) {
	for _, b := range s {
		b.number = (b.number + 1) >> 1
		if n := len(half); n > 0 && half[n-1].number == b.number {
			half[n-1].count += b.count
		} else {
			half = append(half, b)
		}
	}
	return half
}
