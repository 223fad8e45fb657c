package observe

import (
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// A histogram counts what happens on the path of a request: classic buckets and
// a native histogram at once, in shards, so that cores do not write the same
// cache lines: 21 ns an observation on one core and 11 on two, where
// client_golang's takes 41 and 56 (BenchmarkHistogram). The range of what it
// counts is known; a program's own metrics have wide.
//
// Native buckets have schema 3, eight to a power of two, as a growth factor of
// 1.1 gives in client_golang. They are a plain array from 2^low to 2^high: what
// lies below is in the zero bucket, what lies above in the last one.
type histogram struct {
	classic
	cells *cells

	busy   atomic.Bool // observed often enough to be spread over the shards
	shards [maxShards]atomic.Pointer[counts]
}

// classic is what any histogram has beside its counts: its name, its classic
// buckets and their exemplars.
type classic struct {
	desc      *prometheus.Desc
	labels    []*dto.LabelPair
	upper     []float64
	created   *timestamppb.Timestamp
	exemplars []atomic.Pointer[dto.Exemplar] // by classic bucket, +Inf last
}

func newClassic(desc *prometheus.Desc, labels []*dto.LabelPair, upper []float64) classic {
	return classic{desc: desc, labels: labels, upper: upper, created: timestamppb.Now(),
		exemplars: make([]atomic.Pointer[dto.Exemplar], len(upper)+1)}
}

// scale is the range of the native buckets, as powers of two.
type scale struct{ low, high int }

var (
	// From a microsecond, the noise of the clock, to 17 minutes; streams, connections and jobs, to 36 hours.
	secondsScale = scale{-20, 10}
	streamScale  = scale{-10, 17}
	// From one row to a billion.
	rowsScale = scale{0, 30}
	jobScale  = scale{-20, 17}
	// From a byte to a tebibyte.
	bytesScale = scale{0, 40}
)

// scales of the metrics in the table, by unit.
var scales = map[string]scale{"s": secondsScale, "By": bytesScale, "{row}": rowsScale}

const (
	schema    = 3
	perOctave = 1 << schema
	// Shards are taken by processors; beyond eight, two of them share one.
	maxShards = 8
	// Below this many observations in one cell a histogram is not worth more than one shard.
	spreadAt = 256
)

// counts is one shard. Each has its own allocation, of several cache lines.
type counts struct {
	sum   atomic.Uint64 // bits of a float64
	cells []atomic.Uint64
}

func newHistogram(desc *prometheus.Desc, labels []*dto.LabelPair, c *cells) *histogram {
	h := &histogram{classic: newClassic(desc, labels, c.upper), cells: c}
	h.shard(0)
	return h
}

// shard returns counts number i, making them.
func (h *histogram) shard(i int) *counts {
	if c := h.shards[i].Load(); c != nil {
		return c
	}
	c := &counts{cells: make([]atomic.Uint64, len(h.cells.ends))}
	if !h.shards[i].CompareAndSwap(nil, c) {
		return h.shards[i].Load()
	}
	return c
}

// observe counts v in the shard of a processor. NaN is ignored; a negative v
// counts as zero, since a clock that was set back must not poison the sum.
func (h *histogram) observe(v float64, p processor) {
	if !(v > 0) {
		if v != v {
			return
		}
		v = 0 // not -0
	}
	i := 0
	if h.busy.Load() {
		i = int(uint(p) % maxShards)
	}
	c := h.shards[i].Load()
	if c == nil {
		c = h.shard(i)
	}
	if c.cells[h.cells.of(v)].Add(1) == spreadAt {
		h.busy.Store(true)
	}
	for {
		old := c.sum.Load()
		if c.sum.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}

// bucket returns the index of the classic bucket of v.
func (h *classic) bucket(v float64) int {
	for i, b := range h.upper {
		if v <= b {
			return i
		}
	}
	return len(h.upper)
}

// bounds are the upper bounds of the eight buckets between 1/2 and 1:
// 2^(i/8-1), as Prometheus has them.
var bounds = [perOctave]float64{
	0.5, 0.5452538663326288, 0.5946035575013605, 0.6484197773255048,
	0.7071067811865475, 0.7711054127039704, 0.8408964152537144, 0.9170040432046711,
}

// boundMantissas are the mantissas of the bounds and of the next power of two,
// and firstBound is, for the upper six bits of a mantissa, the first bound that
// is not below all that begin with them: no two bounds begin with the same.
var (
	boundMantissas = func() (m [perOctave + 1]uint64) {
		for i, b := range bounds {
			m[i] = math.Float64bits(b) & (1<<52 - 1)
		}
		m[perOctave] = 1 << 52
		return m
	}()
	firstBound = func() (first [64]uint8) {
		for i := range first {
			for boundMantissas[first[i]] < uint64(i)<<46 {
				first[i]++
			}
		}
		return first
	}()
)

// index returns the place of v in the array, negative for the zero bucket.
// Bucket k of Prometheus ends at 2^(k/8), inclusive; the array begins with the
// one that begins at 2^low.
func (s scale) index(v float64) int {
	bits := math.Float64bits(v)
	exp := int(bits>>52&0x7ff) - 1022 // v = frac * 2^exp, frac from 1/2 to 1
	if exp <= s.low {
		return -1 // up to 2^low: the zero bucket
	}
	if exp > s.high {
		return (s.high-s.low)*perOctave - 1
	}
	mantissa := bits & (1<<52 - 1)
	k := int(firstBound[mantissa>>46])
	if mantissa > boundMantissas[k] {
		k++
	}
	// Relative to bucket 8*low+1, the first above 2^low.
	return (exp-1-s.low)*perOctave + k - 1
}

// exemplar notes which trace an observation of v belongs to.
func (h *classic) exemplar(v float64, now time.Time, traceID, spanID string) {
	h.exemplars[h.bucket(v)].Store(&dto.Exemplar{
		Label: []*dto.LabelPair{
			{Name: proto.String("trace_id"), Value: &traceID},
			{Name: proto.String("span_id"), Value: &spanID},
		},
		Value:     &v,
		Timestamp: timestamppb.New(now),
	})
}

// Desc implements prometheus.Metric.
func (h *classic) Desc() *prometheus.Desc { return h.desc }

// Write implements prometheus.Metric.
func (h *histogram) Write(m *dto.Metric) error {
	// On the stack: a scrape of many series would leave twice its own size as garbage.
	var classicArray [32]uint64
	var nativeArray [1 + 40*perOctave]uint64
	scale := h.cells.scale
	classic, native := classicArray[:], nativeArray[:1+(scale.high-scale.low)*perOctave]
	if len(h.upper) < len(classic) {
		classic = classic[:len(h.upper)+1]
	} else {
		classic = make([]uint64, len(h.upper)+1)
	}
	out := &message{zeroThreshold: math.Ldexp(1, scale.low), schema: schema}
	out.count, out.sum = h.addTo(native, classic)
	out.zero, native = native[0], native[1:]
	h.tell(out, classic)
	out.PositiveSpan, out.PositiveDelta = scale.spans(native)
	m.Label, m.Histogram = h.labels, &out.Histogram
	return nil
}

// addTo adds the zero bucket and the native buckets to native, the classic ones
// to classic unless it is nil, and returns how many observations that were and
// their sum.
func (h *histogram) addTo(native, classic []uint64) (count uint64, sum float64) {
	for i := range h.shards {
		c := h.shards[i].Load()
		if c == nil {
			continue
		}
		sum += math.Float64frombits(c.sum.Load())
		for j := range c.cells {
			n := c.cells[j].Load()
			if n == 0 {
				continue
			}
			part := h.cells.parts[j]
			native[part.native] += n
			if classic != nil {
				classic[part.classic] += n
			}
			count += n
		}
	}
	return count, sum
}

// A message is a histogram as it is told, with all that its parts point at in
// one allocation.
type message struct {
	dto.Histogram
	count, zero   uint64
	sum           float64
	zeroThreshold float64
	schema        int32
}

// tell fills in all but the native buckets, from out's own numbers and the
// counts of the classic buckets.
func (h *classic) tell(out *message, classic []uint64) {
	out.SampleCount, out.SampleSum, out.CreatedTimestamp = &out.count, &out.sum, h.created
	out.Schema, out.ZeroThreshold, out.ZeroCount = &out.schema, &out.zeroThreshold, &out.zero
	type bucket struct {
		dto.Bucket
		cumulative uint64
	}
	buckets := make([]bucket, len(h.upper)+1)
	out.Bucket = make([]*dto.Bucket, 0, len(h.upper)+1)
	total := uint64(0)
	for i := range classic {
		total += classic[i]
		e := h.exemplars[i].Load()
		b := &buckets[i]
		b.cumulative = total
		if i < len(h.upper) {
			b.CumulativeCount, b.UpperBound, b.Exemplar = &b.cumulative, &h.upper[i], e
		} else if e != nil { // +Inf is told by the count, unless it has an exemplar
			b.CumulativeCount, b.UpperBound, b.Exemplar = &out.count, proto.Float64(math.Inf(1)), e
		} else {
			break
		}
		out.Bucket = append(out.Bucket, &b.Bucket)
		if e != nil {
			out.Exemplars = append(out.Exemplars, e)
		}
	}
	slices.SortFunc(out.Exemplars, func(a, b *dto.Exemplar) int {
		return a.Timestamp.AsTime().Compare(b.Timestamp.AsTime())
	})
}

// spans encodes the counts of the array.
func (s scale) spans(native []uint64) ([]*dto.BucketSpan, []int64) {
	var array [40 * perOctave]bucketCount // on the stack, like the array
	used := sparse(array[:0])
	for i, n := range native {
		if n != 0 {
			used = append(used, bucketCount{s.low*perOctave + 1 + i, n})
		}
	}
	return used.encode()
}

// sparse are the native buckets that hold something, in ascending order.
type sparse []bucketCount

type bucketCount struct {
	number int // as Prometheus counts them: bucket n ends at 2^(n/2^schema)
	count  uint64
}

// encode writes native buckets as the exposition format has them. Gaps of up to
// two empty buckets are cheaper as zeros than as a new span.
func (s sparse) encode() ([]*dto.BucketSpan, []int64) {
	if len(s) == 0 {
		return nil, nil
	}
	// First how many there are, then each in its place.
	var used, length int
	for i, b := range s {
		if i == 0 || b.number-s[i-1].number > 3 {
			used++
			length++
		} else {
			length += b.number - s[i-1].number
		}
	}
	type span struct {
		dto.BucketSpan
		offset int32
		length uint32
	}
	all, spans, deltas := make([]span, used), make([]*dto.BucketSpan, 0, used), make([]int64, 0, length)
	next, before := 0, int64(0) // number behind the last bucket written, and its count
	for _, n := range s {
		if gap := n.number - next; len(spans) == 0 || gap > 2 {
			b := &all[len(spans)]
			b.offset = int32(gap)
			b.Offset, b.Length = &b.offset, &b.length
			spans = append(spans, &b.BucketSpan)
		} else {
			for range gap {
				deltas = append(deltas, -before)
				before = 0
				all[len(spans)-1].length++
			}
		}
		deltas = append(deltas, int64(n.count)-before)
		before = int64(n.count)
		all[len(spans)-1].length++
		next = n.number + 1
	}
	return spans, deltas
}

// histograms is one metric: the histograms of all its label sets.
type histograms[H prometheus.Metric] struct {
	desc  *prometheus.Desc
	child func([]*dto.LabelPair) H

	mu   sync.Mutex
	all  map[string]H
	list []H // in the order they were made
}

func newHistograms(d Description, upper []float64, s scale, cuts ...float64) *histograms[*histogram] {
	name, c := desc(d), newCells(upper, s, cuts...)
	return &histograms[*histogram]{desc: name, all: map[string]*histogram{}, child: func(labels []*dto.LabelPair) *histogram {
		return newHistogram(name, labels, c)
	}}
}

func newWides(d Description) *histograms[*wide] {
	name := desc(d)
	return &histograms[*wide]{desc: name, all: map[string]*wide{}, child: func(labels []*dto.LabelPair) *wide {
		return newWide(name, labels, d.Buckets)
	}}
}

// with returns the histogram of the label values.
func (hs *histograms[H]) with(values ...string) H {
	key := strings.Join(values, "\xff")
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if h, ok := hs.all[key]; ok {
		return h
	}
	h := hs.child(prometheus.MakeLabelPairs(hs.desc, values))
	hs.all[key] = h
	hs.list = append(hs.list, h)
	return h
}

// behind returns the children that were made after the first n.
func (hs *histograms[H]) behind(n int) []H {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	return hs.list[n:]
}

// Describe implements prometheus.Collector.
func (hs *histograms[H]) Describe(ch chan<- *prometheus.Desc) { ch <- hs.desc }

// Collect implements prometheus.Collector.
func (hs *histograms[H]) Collect(ch chan<- prometheus.Metric) {
	hs.mu.Lock()
	all := make([]H, 0, len(hs.all))
	for _, h := range hs.all {
		all = append(all, h)
	}
	hs.mu.Unlock()
	for _, h := range all {
		ch <- h
	}
}

// levels is one metric: the levels of all its label sets, which are few and fixed.
type levels struct {
	desc   *prometheus.Desc
	all    []*level
	labels [][]string
}

func (ls *levels) add(l *level, labels ...string) {
	ls.all, ls.labels = append(ls.all, l), append(ls.labels, labels)
}

// Describe implements prometheus.Collector.
func (ls *levels) Describe(ch chan<- *prometheus.Desc) { ch <- ls.desc }

// Collect implements prometheus.Collector.
func (ls *levels) Collect(ch chan<- prometheus.Metric) {
	for i, l := range ls.all {
		ch <- prometheus.MustNewConstMetric(ls.desc, prometheus.GaugeValue, float64(l.value()), ls.labels[i]...)
	}
}

// A level is a number that goes up and down on the path of a request, such as
// the requests in flight, in shards like a histogram.
type level [maxShards]struct {
	n atomic.Int64
	_ [56]byte // a cache line each
}

func (l *level) add(n int64, p processor) { l[int(p)%maxShards].n.Add(n) }

// value is the sum; taken while others add, it may be off by what they add.
func (l *level) value() (n int64) {
	for i := range l {
		n += l[i].n.Load()
	}
	return n
}
