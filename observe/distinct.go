package observe

import (
	"fmt"
	"hash/maphash"
	"math"
	"math/bits"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/loadline-go/loadline/runtimemetrics"
)

// A Distinct counts different keys, such as users, within the last minute, five
// minutes and hour: what a counter cannot, for it does not know whom it has
// counted. It is a gauge with the label window = "1m", "5m" or "1h".
//
// The count is an estimate by HyperLogLog: its standard error is 1.6 %, and up
// to some dozens it is nearly always exact. It takes 384 KiB, however many keys
// there are, and keeps no key, only what a hash of it leaves behind. The hash
// has a random seed, so whoever chooses keys cannot choose what they count for.
//
// Each process counts for itself: the sum over replicas counts those twice who
// came to two.
//
// K is a string, a boolean, an integer, or an array or struct made of these. A
// nil Distinct does nothing. Its methods may be called concurrently.
type Distinct[K comparable] struct {
	seed    maphash.Seed
	started time.Time
	sketch  sketch
}

// windows of a Distinct.
var windows = []struct {
	label string
	secs  uint32
}{{"1m", 60}, {"5m", 300}, {"1h", 3600}}

// NewDistinct defines a distinct count; see NewCounter. Its name says who is
// counted: shop_active_users.
func NewDistinct[K comparable](t *Telemetry, m Metric) *Distinct[K] {
	if t == nil {
		return nil
	}
	if typ := reflect.TypeFor[K](); !hashable(typ) {
		panic(fmt.Sprintf("observe: metric %s: keys are strings, booleans, integers, or arrays and structs of these, not %v", m.Name, typ))
	}
	d := define(t, m, Description{Name: m.Name, Kind: runtimemetrics.Gauge, Help: m.Help, Labels: []string{"window"}, Buckets: m.Buckets})
	keys := &Distinct[K]{seed: maphash.MakeSeed(), started: time.Now()}
	t.metrics.register(d, &distinctCollector{desc: desc(d), count: keys.count})
	return keys
}

// hashable tells whether equal keys of a type always have equal hashes, and
// hashing one never panics: a float may be NaN, an interface may hold anything,
// a pointer stands for itself.
func hashable(typ reflect.Type) bool {
	switch typ.Kind() {
	case reflect.String, reflect.Bool,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return true
	case reflect.Array:
		return hashable(typ.Elem())
	case reflect.Struct:
		for i := range typ.NumField() {
			if !hashable(typ.Field(i).Type) {
				return false
			}
		}
		return true
	}
	return false
}

// Seen notes that key was there just now.
func (d *Distinct[K]) Seen(key K) {
	if d != nil {
		d.sketch.add(maphash.Comparable(d.seed, key), d.second())
	}
}

func (d *Distinct[K]) count(window uint32) float64 { return d.sketch.count(d.second(), window) }

// second is the time since the beginning, at least 1.
func (d *Distinct[K]) second() uint32 { return uint32(time.Since(d.started)/time.Second) + 1 }

type distinctCollector struct {
	desc  *prometheus.Desc
	count func(window uint32) float64
}

// Describe implements prometheus.Collector.
func (c *distinctCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector.
func (c *distinctCollector) Collect(ch chan<- prometheus.Metric) {
	for _, w := range windows {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, c.count(w.secs), w.label)
	}
}

// A sketch is a HyperLogLog that forgets. A hash chooses a register by its
// first bits and has a rank, one more than the zeros that follow: half of all
// keys have rank 1, a quarter rank 2. HyperLogLog keeps the highest rank that a
// register saw; a sketch keeps for each rank when it was last seen, so that for
// any window the highest rank in it can be told. Sketches that cannot forget,
// as libraries have them, would have to be kept by the minute and rotated under
// a lock; here an addition is one store.
type sketch [registers * ranks]atomic.Uint32 // seconds, 0: never

const (
	precision = 12
	registers = 1 << precision // the standard error is 1.04/sqrt(registers)
	ranks     = 24             // enough to count 4096 * 2^24 keys, ten times mankind
)

func (s *sketch) add(hash uint64, now uint32) {
	register := hash >> (64 - precision)
	rank := min(bits.LeadingZeros64(hash<<precision), ranks-1)
	at := &s[int(register)*ranks+rank]
	if at.Load() != now { // not to write the same cache line all the time
		at.Store(now)
	}
}

// count estimates the keys of the last seconds, and of up to one more, since
// the clock of the sketch has no fractions.
//
// The estimator is the improved one of Otmar Ertl, "New cardinality estimation
// algorithms for HyperLogLog sketches", https://arxiv.org/abs/1702.01284,
// algorithm 6: without bias at any count, so it needs no tables of corrections.
func (s *sketch) count(now, seconds uint32) float64 {
	since := uint32(1)
	if now > seconds {
		since = now - seconds
	}
	var highest [ranks + 1]int // registers by the highest rank, counted from 1, in the window; 0: none
	for r := 0; r < len(s); r += ranks {
		rank := ranks
		for rank > 0 && s[r+rank-1].Load() < since {
			rank--
		}
		highest[rank]++
	}
	const m = registers
	z := m * tau(1-float64(highest[ranks])/m)
	for rank := ranks - 1; rank > 0; rank-- {
		z = (z + float64(highest[rank])) / 2
	}
	z += m * sigma(float64(highest[0])/m)
	return math.Round(m * m / (2 * math.Ln2) / z)
}

// sigma corrects for registers that saw nothing, tau for those that saw the
// highest rank there is: section 4 of the paper.
func sigma(x float64) float64 {
	if x == 1 {
		return math.Inf(1)
	}
	y, z := 1.0, x
	for before := math.NaN(); z != before; {
		before = z
		x *= x
		z += x * y
		y *= 2
	}
	return z
}

func tau(x float64) float64 {
	if x == 0 || x == 1 {
		return 0
	}
	y, z := 1.0, 1-x
	for before := math.NaN(); z != before; {
		before = z
		x = math.Sqrt(x)
		y /= 2
		z -= (1 - x) * (1 - x) * y
	}
	return z / 3
}
