package runtimemetrics

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// nativeSchema has four buckets in each power of two, as the grid has: bounds
// grow by 2^(1/4). Both grids count powers of two, but the runtime's of a
// nanosecond and Prometheus's of a second, and the runtime divides them evenly
// and Prometheus by ratio, so each bucket goes whole into the native one that
// holds its middle. (Splitting one between two would let counts go down when
// the split is rounded, which Prometheus takes for a restart.) A duration moves
// by at most one native bucket, 19 %.
const nativeSchema = 2

// nativeZero is the width of the zero bucket: 2^-23 s, 119 ns. The runtime
// cannot tell much below that.
const nativeZero = 1.0 / (1 << 23)

// nativeIndex is the native bucket of each bucket of the grid; those below
// nativeZero are marked.
var nativeIndex = func() (out [gridSize]int16) {
	for i := range out {
		seconds := gridMiddle(i) / 1e9
		if seconds <= nativeZero {
			out[i] = inZero
			continue
		}
		out[i] = int16(math.Ceil(math.Log2(seconds) * (1 << nativeSchema)))
	}
	return out
}()

const inZero = math.MinInt16

// A histogramMetric is a Distribution as a Prometheus metric: classic buckets
// and a native histogram at once. The server takes what it can.
type histogramMetric struct {
	desc    *prometheus.Desc
	values  Distribution
	created *timestamppb.Timestamp
}

func (m *histogramMetric) Desc() *prometheus.Desc { return m.desc }

func (m *histogramMetric) Write(out *dto.Metric) error {
	h := &dto.Histogram{
		CreatedTimestamp: m.created,
		SampleSum:        ptr(m.values.seconds()),
		Schema:           ptr(int32(nativeSchema)),
		ZeroThreshold:    ptr(float64(nativeZero)),
	}
	m.classic(h)
	m.native(h)
	out.Histogram = h
	return nil
}

// classic fills the buckets. A bound of ours is a bound of the grid, so the
// counts are the runtime's, without error.
func (m *histogramMetric) classic(h *dto.Histogram) {
	const n = classicLastBit - classicFirstBit + 1
	type bucket struct { // one allocation for all that a bucket points to
		dto   dto.Bucket
		count uint64
	}
	buckets := make([]bucket, n)
	h.Bucket = make([]*dto.Bucket, n)
	var below uint64
	i := 0
	for b := range buckets {
		for end := gridIndex(1 << (classicFirstBit + b)); i < end; i++ {
			below += m.values.counts[i]
		}
		buckets[b].count = below
		buckets[b].dto.CumulativeCount = &buckets[b].count
		buckets[b].dto.UpperBound = &classicBounds[b]
		h.Bucket[b] = &buckets[b].dto
	}
	for ; i < gridSize; i++ {
		below += m.values.counts[i]
	}
	h.SampleCount = &below
}

// native fills spans and deltas. Gaps of up to two empty buckets are bridged,
// which is shorter than a new span.
func (m *histogramMetric) native(h *dto.Histogram) {
	var zero, before, at uint64
	var span *dto.BucketSpan
	var next int32 // the bucket after the last one written
	emit := func(index int32) {
		if at == 0 {
			return
		}
		switch {
		case span == nil || index-next > 2:
			offset := index - next
			if span == nil {
				offset = index
			}
			span = &dto.BucketSpan{Offset: &offset, Length: ptr(uint32(0))}
			h.PositiveSpan = append(h.PositiveSpan, span)
		default:
			for ; next < index; next++ {
				h.PositiveDelta = append(h.PositiveDelta, -int64(before))
				before = 0
				*span.Length++
			}
		}
		h.PositiveDelta = append(h.PositiveDelta, int64(at)-int64(before))
		*span.Length++
		before, next, at = at, index+1, 0
	}
	var current int32
	for i, c := range m.values.counts {
		if nativeIndex[i] == inZero {
			zero += c
			continue
		}
		if index := int32(nativeIndex[i]); index != current {
			emit(current)
			current = index
		}
		at += c
	}
	emit(current)
	h.ZeroCount = &zero
}

func ptr[T any](v T) *T { return &v }
