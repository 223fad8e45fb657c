package runtimemetrics

import (
	"math"
	"math/rand/v2"
	"runtime/metrics"
	"slices"
	"testing"
	"time"
)

func TestGridIsTheRuntimesOwn(t *testing.T) {
	sample := []metrics.Sample{{Name: keys[kSched]}}
	metrics.Read(sample)
	bounds := sample[0].Value.Float64Histogram().Buckets
	for i, index := range gridOf(bounds) {
		lower, upper := bounds[i], bounds[i+1]
		if lower < 0 || upper > 17 {
			continue
		}
		gotLower, gotUpper := gridBounds(int(index))
		if math.Abs(gotLower-lower*1e9) > 1e-3 || math.Abs(gotUpper-upper*1e9) > 1e-3 {
			t.Errorf("the runtime's [%g, %g) s fell into [%g, %g) ns", lower, upper, gotLower, gotUpper)
		}
	}
}

func TestEveryDurationFallsIntoItsBucket(t *testing.T) {
	for _, d := range []time.Duration{0, 63, 64, 255, 256, 319, 320, 1023, 1024, 12345, 1 << 30, 1<<34 - 1} {
		lower, upper := gridBounds(gridIndex(d))
		if f := float64(d); f < lower || f >= upper {
			t.Errorf("%d ns fell into [%g, %g)", d, lower, upper)
		}
	}
	if got := gridIndex(-5); got != 0 {
		t.Errorf("a negative duration fell into bucket %d", got)
	}
	if got := gridIndex(math.MaxInt64); got != gridSize-1 {
		t.Errorf("292 years fell into bucket %d", got)
	}
}

func TestBucketsTellAllThatWasSeen(t *testing.T) {
	var d Distribution
	for range d.Buckets() {
		t.Error("a bucket of nothing")
	}
	seen := []time.Duration{0, 63, 64, 1000, 1000, 12345, time.Second, time.Hour}
	for _, v := range seen {
		d.Observe(v)
	}
	var n uint64
	before := time.Duration(-1)
	for end, count := range d.Buckets() {
		inside := uint64(0)
		for _, v := range seen {
			if v < end && v >= before || v == time.Hour && end == 1<<gridLastBit {
				inside++
			}
		}
		if end <= before || count != inside {
			t.Errorf("%d from %v to %v, want %d", count, before, end, inside)
		}
		before = end
		n += count
	}
	if n != uint64(len(seen)) {
		t.Errorf("%d of %d", n, len(seen))
	}
	for range d.Buckets() {
		break // and no more
	}
}

func TestQuantilesAreWithinABucketOfTheTruth(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var d Distribution
	var all []time.Duration
	for range 10_000 {
		v := time.Duration(math.Exp(random.NormFloat64()*2) * 1e6)
		all = append(all, v)
		d.Observe(v)
	}
	slices.Sort(all)
	var sum time.Duration
	for _, v := range all {
		sum += v
	}
	for _, q := range []float64{.01, .5, .95, .99, 1} {
		want := all[min(int(q*float64(len(all))), len(all)-1)]
		if got := d.Quantile(q); float64(got) < .8*float64(want) || float64(got) > 1.25*float64(want) {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if got := d.Sum(); math.Abs(float64(got-sum)) > .02*float64(sum) {
		t.Errorf("sum %v, want %v within 2 %%", got, sum)
	}
}

func TestQuantileOfNothingIsZero(t *testing.T) {
	var d Distribution
	for _, q := range []float64{-1, 0, .5, 1, 2, math.NaN()} {
		if got := d.Quantile(q); got != 0 {
			t.Errorf("quantile %v of nothing is %v", q, got)
		}
	}
	d.Observe(time.Hour)
	if got := d.Quantile(.5); got < 17*time.Second {
		t.Errorf("the median of an hour is %v, want the end of the grid", got)
	}
}

func TestSinceSubtracts(t *testing.T) {
	var before Distribution
	before.Observe(time.Millisecond)
	now := before
	now.Observe(time.Second)
	d := now.Since(&before)
	if got := d.Quantile(.5); d.Count() != 1 || got < 900*time.Millisecond || got > 1250*time.Millisecond {
		t.Errorf("%d durations with median %v", d.Count(), got)
	}
	if d := before.Since(&now); d.Count() != 1 {
		t.Errorf("after a restart %d durations, want the later reading whole", d.Count())
	}
	unknown := Distribution{unknown: true}
	if d := now.Since(&unknown); d.Known() {
		t.Error("a difference to something unknown is known")
	}
	if d := unknown.Since(&now); d.Known() {
		t.Error("something unknown has a known difference")
	}
}

func TestMergeRefusesForeignHistograms(t *testing.T) {
	var d Distribution
	d.Observe(1)
	d.merge(nil, nil)
	if d.Known() || d.Count() != 0 {
		t.Error("no histogram is something known")
	}
	d.merge(&metrics.Float64Histogram{Counts: []uint64{1, 2}, Buckets: []float64{0, 1, 2}}, []uint8{1})
	if d.Known() {
		t.Error("a histogram of another shape is known")
	}
	h := &metrics.Float64Histogram{Counts: []uint64{1, 2, 4}, Buckets: []float64{math.Inf(-1), 0, 1e-3, math.Inf(1)}}
	d.merge(h, gridOf(h.Buckets))
	if !d.Known() || d.Count() != 7 {
		t.Errorf("%d durations of 7", d.Count())
	}
}
