package observe

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/loadline-go/loadline/runtimemetrics"
)

var wideTest = Description{Name: "test_euros", Kind: runtimemetrics.Histogram, Help: "A test.", Buckets: anything}

func wideReference(max uint32) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "test_euros", Buckets: anything, NativeHistogramBucketFactor: 1.1,
		NativeHistogramZeroThreshold: math.Ldexp(1, wideScale.low), NativeHistogramMaxBucketNumber: max,
	})
}

// The same values give what client_golang's own histogram gives, also below
// zero and where there are too many buckets to tell.
func TestWideHistogramAgreesWithClientGolang(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	exponential := func(low, high float64) []float64 {
		values := make([]float64, 5000)
		for i := range values {
			values[i] = math.Exp2(low + random.Float64()*(high-low))
		}
		return values
	}
	signed := func(values []float64) []float64 {
		for i := range values {
			if random.IntN(2) == 0 {
				values[i] = -values[i]
			}
		}
		return values
	}
	edges := []float64{0, math.Copysign(0, -1), math.Ldexp(1, wideScale.low), math.Nextafter(math.Ldexp(1, wideScale.low), 1), 1, math.Ldexp(1, wideScale.high)}
	for _, b := range bounds {
		edges = append(edges, b, math.Nextafter(b, 0), math.Nextafter(b, 1), b*1024, math.Nextafter(b*1024, 0), math.Nextafter(b*1024, 1e6))
	}
	for _, test := range []struct {
		name   string
		values []float64
		max    uint32
	}{
		{"nothing", nil, 160},
		{"one", []float64{12}, 160},
		{"edges", signed(edges), 160},
		{"euros", exponential(0, 10), 160},
		{"refunds too", signed(exponential(0, 9)), 160},
		{"every group", exponential(-64, 64), 160},
		{"every group, both signs", signed(exponential(-64, 64)), 160},
		{"one more than can be told", func() (v []float64) {
			for i := range maxNative + 1 {
				v = append(v, math.Exp2((float64(i)+0.5)/8))
			}
			return v
		}(), 160},
		{"just what can be told", func() (v []float64) {
			for i := range maxNative {
				v = append(v, math.Exp2((float64(i)+0.5)/8))
			}
			return v
		}(), 160},
	} {
		t.Run(test.name, func(t *testing.T) {
			ours, theirs := newWides(wideTest).with(), wideReference(test.max)
			for _, v := range test.values {
				ours.observe(v)
				theirs.Observe(v)
			}
			got, want := written(t, ours), written(t, theirs)
			if len(test.values) == 0 { // client_golang marks an empty one by a span of no length; the zero threshold does that, too
				want.PositiveSpan = nil
			}
			for _, h := range []*dto.Histogram{got, want} {
				h.CreatedTimestamp = nil
				if math.Abs(h.GetSampleSum()-want.GetSampleSum()) > 1e-6*math.Abs(want.GetSampleSum()) {
					t.Errorf("sum %v, want %v", h.GetSampleSum(), want.GetSampleSum())
				}
				h.SampleSum = nil // the order of adding differs in the last digits
				for _, spans := range []*[]*dto.BucketSpan{&h.PositiveSpan, &h.NegativeSpan} {
					*spans = slices.DeleteFunc(*spans, func(s *dto.BucketSpan) bool { return s.GetLength() == 0 })
				}
			}
			if !proto.Equal(got, want) {
				t.Errorf("ours   %v\ntheirs %v", got, want)
			}
		})
	}
}

func TestWideHistogramTakesAnyFiniteNumber(t *testing.T) {
	h := newWides(wideTest).with()
	values := []float64{math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, -math.SmallestNonzeroFloat64, 0, math.Ldexp(1, wideScale.high+1)}
	for _, v := range values {
		h.observe(v)
	}
	got := written(t, h)
	if got.GetSampleCount() != uint64(len(values)) || got.GetZeroCount() != 3 {
		t.Errorf("%d counted and %d of them as zero, want %d and 3", got.GetSampleCount(), got.GetZeroCount(), len(values))
	}
}

// Prometheus refuses a native histogram whose count is not that of its buckets.
func TestWideHistogramIsConsistentWhileObserved(t *testing.T) {
	h := newWides(wideTest).with()
	const writers, each = 4, 10_000
	var wg sync.WaitGroup
	for g := range writers {
		wg.Go(func() {
			for i := range each {
				h.observe(math.Ldexp(float64(i%7-3), i%40-20+g)) // new groups all the time, from below zero to above
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		default:
		}
		out := written(t, h)
		total := out.GetZeroCount()
		for _, deltas := range [][]int64{out.GetPositiveDelta(), out.GetNegativeDelta()} {
			n := int64(0)
			for _, d := range deltas {
				n += d
				total += uint64(n)
			}
		}
		if total != out.GetSampleCount() {
			t.Fatalf("native buckets hold %d, count is %d", total, out.GetSampleCount())
		}
		if last := out.GetBucket()[len(anything)-1]; last.GetCumulativeCount() > out.GetSampleCount() {
			t.Fatalf("bucket le=%v holds %d, count is %d", last.GetUpperBound(), last.GetCumulativeCount(), out.GetSampleCount())
		}
		if ended && out.GetSampleCount() != writers*each {
			t.Fatalf("%d counted, want %d", out.GetSampleCount(), writers*each)
		}
	}
}

func TestWideHistogramTakesMemoryForWhatItHolds(t *testing.T) {
	h := newWides(wideTest).with()
	groups := func() (n int) {
		for i := range h.shards {
			if c := h.shards[i].Load(); c != nil {
				for k := range wideGroups {
					if c.positive[k].Load() != nil {
						n++
					}
					if c.negative[k].Load() != nil {
						n++
					}
				}
			}
		}
		return n
	}
	for i := range spreadAt - 1 {
		h.observe(1.5 + float64(i%100)) // within one group
	}
	if n := groups(); n != 1 {
		t.Errorf("%d groups, want 1", n)
	}
	h.observe(-5)
	if n := groups(); n != 2 {
		t.Errorf("%d groups after a value below zero, want 2", n)
	}
}
