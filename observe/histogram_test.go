package observe

import (
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/loadline-go/loadline/runtimemetrics"
)

var histogramTest = Description{Name: "test_seconds", Kind: runtimemetrics.Histogram, Unit: "s", Help: "A test.", Labels: []string{"a"}, Buckets: requestSeconds}

func written(t testing.TB, m prometheus.Metric) *dto.Histogram {
	t.Helper()
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.Histogram
}

func reference() prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "test_seconds", Buckets: requestSeconds,
		NativeHistogramBucketFactor: 1.1, NativeHistogramZeroThreshold: math.Ldexp(1, secondsScale.low),
	})
}

// The same values give what client_golang's own histogram gives.
func TestHistogramAgreesWithClientGolang(t *testing.T) {
	values := []float64{0, 1e-9, math.Ldexp(1, -20), math.Nextafter(math.Ldexp(1, -20), 1), 0.005, 0.0050001, 0.5, 1, math.Nextafter(1, 2), 10, 10.1, 1000, 1024}
	for _, b := range bounds {
		values = append(values, b, math.Nextafter(b, 0), math.Nextafter(b, 1))
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		values = append(values, math.Exp2(-22+random.Float64()*31)) // from 0.2 µs to 512 s
	}
	hs := newHistograms(histogramTest, requestSeconds, secondsScale)
	ours, theirs := hs.with("x"), reference()
	for i, v := range values {
		ours.observe(v, processor(i))
		theirs.Observe(v)
	}
	got, want := written(t, ours), written(t, theirs)
	for _, h := range []*dto.Histogram{got, want} {
		h.CreatedTimestamp = nil
		if math.Abs(h.GetSampleSum()-want.GetSampleSum()) > 1e-6*want.GetSampleSum() {
			t.Errorf("sum %v, want %v", h.GetSampleSum(), want.GetSampleSum())
		}
		h.SampleSum = nil // the order of adding differs in the last digits
	}
	if !proto.Equal(got, want) {
		t.Errorf("ours   %v\ntheirs %v", got, want)
	}
}

func TestHistogramTakesAnyNumber(t *testing.T) {
	for _, s := range []scale{secondsScale, streamScale, bytesScale} {
		h := newHistograms(histogramTest, requestSeconds, s).with("x")
		for _, v := range []float64{math.Inf(1), math.MaxFloat64, -1, math.Inf(-1), math.SmallestNonzeroFloat64, math.NaN(), math.Ldexp(1, s.high), math.Ldexp(1, s.high+1)} {
			h.observe(v, 0)
		}
		if got := written(t, h).GetSampleCount(); got != 7 { // all but NaN
			t.Errorf("%v: %d counted, want 7", s, got)
		}
	}
}

// Bounds may lie anywhere: several in one native bucket, in the zero bucket,
// beyond the last, on a power of two.
func TestHistogramCountsByAnyBounds(t *testing.T) {
	top := math.Ldexp(1, secondsScale.high)
	for _, upper := range [][]float64{
		nil, {-1, 0, 1e-9, 1e-7, math.Ldexp(1, secondsScale.low)}, {1, 1.001, 1.002, math.Nextafter(1.01, 2), 1.01 * 1.01}, {.5, 1, 2, 4, 1e300},
		{top / 2, math.Nextafter(top, 0), top, math.Nextafter(top, 2*top), 3 * top}, append(bounds[:], 1, 2), {math.Nextafter(1, 0), 1, math.Nextafter(1, 2)},
	} {
		h := newHistograms(histogramTest, upper, secondsScale).with("x")
		want, n := make([]uint64, len(upper)), uint64(0)
		count := func(v float64) {
			h.observe(v, processor(n))
			n++
			for i, b := range upper {
				if v <= b {
					want[i]++
				}
			}
		}
		for _, b := range append(upper, 0, top, 2*top) {
			if b >= 0 {
				count(b)
				count(math.Nextafter(b, math.Inf(1)))
				count(math.Abs(math.Nextafter(b, 0)))
			}
		}
		random := rand.New(rand.NewPCG(3, 4))
		for range 2000 {
			count(math.Exp2(-24 + random.Float64()*38))
		}
		out := written(t, h)
		if out.GetSampleCount() != n {
			t.Errorf("%v: %d counted, want %d", upper, out.GetSampleCount(), n)
		}
		for i, b := range out.GetBucket() {
			if b.GetCumulativeCount() != want[i] {
				t.Errorf("%v: %d up to %v, want %d", upper, b.GetCumulativeCount(), upper[i], want[i])
			}
		}
	}
}

// Prometheus refuses a native histogram whose count is not that of its buckets.
func TestHistogramIsConsistentWhileObserved(t *testing.T) {
	h := newHistograms(histogramTest, requestSeconds, secondsScale).with("x")
	const each = 20_000
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range each {
				h.observe(float64(i%100)/1000, processor(g))
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
		sum, n := int64(out.GetZeroCount()), int64(0)
		for _, d := range out.GetPositiveDelta() {
			n += d
			sum += n
		}
		if uint64(sum) != out.GetSampleCount() {
			t.Fatalf("native buckets hold %d, count is %d", sum, out.GetSampleCount())
		}
		if last := out.GetBucket()[len(requestSeconds)-1]; last.GetCumulativeCount() > out.GetSampleCount() {
			t.Fatalf("bucket le=%v holds %d, count is %d", last.GetUpperBound(), last.GetCumulativeCount(), out.GetSampleCount())
		}
		if ended && out.GetSampleCount() != 4*each {
			t.Fatalf("%d counted, want %d", out.GetSampleCount(), 4*each)
		}
	}
}

func TestHistogramStaysSmallUntilItIsBusy(t *testing.T) {
	h := newHistograms(histogramTest, requestSeconds, secondsScale).with("x")
	shards := func() (n int) {
		for i := range h.shards {
			if h.shards[i].Load() != nil {
				n++
			}
		}
		return n
	}
	for i := range spreadAt - 1 {
		h.observe(1, processor(i))
	}
	if n := shards(); n != 1 {
		t.Errorf("%d shards after %d observations, want 1", n, spreadAt-1)
	}
	for i := range 3 * maxShards {
		h.observe(1, processor(i))
	}
	if n := shards(); n != maxShards {
		t.Errorf("%d shards of a busy histogram, want %d", n, maxShards)
	}
}

func BenchmarkHistogram(b *testing.B) {
	b.Run("ours", func(b *testing.B) {
		h := newHistograms(histogramTest, requestSeconds, secondsScale).with("x")
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for v := 0.001; pb.Next(); v += 0.0001 {
				if v > 0.1 {
					v = 0.001
				}
				h.observe(v, currentProcessor())
			}
		})
	})
	b.Run("client_golang", func(b *testing.B) {
		h := reference()
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for v := 0.001; pb.Next(); v += 0.0001 {
				if v > 0.1 {
					v = 0.001
				}
				h.Observe(v)
			}
		})
	})
}
