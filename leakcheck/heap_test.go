package leakcheck

import (
	"bytes"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"
)

// hoard keeps what it allocates: 4 MiB in pieces of a size that is sampled
// now and then, and as much in ones that are sampled each time.
func hoard() (kept [][]byte) {
	for range 256 {
		kept = append(kept, make([]byte, 16<<10))
	}
	return append(kept, bytes.Repeat([]byte{1}, 4<<20))
}

func TestHeapSitesAreFoundOutsideTheStandardLibrary(t *testing.T) {
	kept := hoard()
	runtime.GC() // twice: the profile shows what the last but one cycle found
	runtime.GC()
	var h heapReader
	groups, err := h.read(func([]frame) bool { return false })
	if err != nil {
		t.Fatal(err)
	}
	runtime.KeepAlive(kept)
	for key, g := range groups {
		if strings.HasPrefix(key, ownPackage) {
			t.Errorf("a site of %q", key)
		}
		if !isStandard(key) {
			continue
		}
		// What nobody outside has called, such as a package's initialisation, has its own site.
		stack := g.about(0).Stack
		for line := range strings.Lines(stack) {
			if fn := strings.TrimSpace(line); !strings.HasPrefix(line, "\t") && !isStandard(fn) {
				t.Errorf("a site of %q, although %s called it:\n%s", key, fn, stack)
			}
		}
	}
	// Its own package knows its bounds, so take the reader's word by hand.
	total := 0.0
	for i := range h.records {
		frames := framesOf(h.records[i].Stack0[:])
		for _, f := range frames {
			if f.fn == ownPackage+"hoard" {
				r := &h.records[i]
				total += unsampled(r.InUseBytes(), r.InUseObjects(), runtime.MemProfileRate)
				break
			}
		}
	}
	// The sampled half has a standard deviation of the root of 8 samples.
	if total < 4<<20 || total > 16<<20 {
		t.Errorf("estimated %s, want about 8 MiB", size(total))
	}
}

func TestSamplesAreScaled(t *testing.T) {
	for _, tt := range []struct {
		bytes, objects int64
		rate           int
		want           float64
	}{
		{0, 0, 512 << 10, 0},
		{100, 0, 512 << 10, 0},
		{1 << 20, 1, 1, 1 << 20},
		{512 << 10, 1, 512 << 10, 512 << 10 / (1 - math.Exp(-1))},
		{1 << 30, 1, 512 << 10, 1 << 30},
		{16, 1, 512 << 10, 512 << 10},
	} {
		if got := unsampled(tt.bytes, tt.objects, tt.rate); math.Abs(got-tt.want) > tt.want/1000 {
			t.Errorf("%d bytes of %d objects at %d: got %v, want %v", tt.bytes, tt.objects, tt.rate, got, tt.want)
		}
	}
}

// A heapRow runs the detector on one site's bytes.
func heapRow(windows int, bytes, made func(window int) float64) (at int) {
	d := detector{heap: true}
	for w := range windows {
		t := &tally{size: bytes(w), made: made(w), about: func(uint64) Suspect { return Suspect{} }}
		r := reading{
			at: time.Now(), groups: map[string]*tally{"site": t},
			rate: math.NaN(), inFlight: math.NaN(), ended: math.NaN(), live: 10<<20 + t.size,
		}
		if found := d.observe(r); len(found) > 0 {
			return w
		}
	}
	return -1
}

func TestHeapTruthTable(t *testing.T) {
	const mib = 1 << 20
	cumulated := func(f func(int) float64) func(int) float64 {
		return func(w int) (sum float64) {
			for i := range w + 1 {
				sum += f(i)
			}
			return sum
		}
	}
	flat := func(v float64) func(int) float64 { return func(int) float64 { return v } }
	for _, tt := range []struct {
		name        string
		bytes, made func(int) float64
		from, to    int // the windows in which it may be found; 0, 0 for never
	}{
		{"an unbounded map", func(w int) float64 { return float64(w) * mib }, func(w int) float64 { return float64(w) * mib }, 15, 24},
		{"an unbounded map that allocates thrice for what it keeps", func(w int) float64 { return float64(w) * mib }, func(w int) float64 { return float64(3*w) * mib }, 38, 48},
		{"growth of less than a MiB", func(w int) float64 { return float64(w) * 4096 }, func(w int) float64 { return float64(w) * mib }, 0, 0},
		{"nothing", flat(50 * mib), cumulated(flat(mib)), 0, 0},
		{"a cache that fills with random keys, slowly", func(w int) float64 { return 100 * mib * (1 - math.Exp(-float64(w)/40)) }, cumulated(flat(3 * mib)), 0, 0},
		{"a cache that fills to its cap", func(w int) float64 { return float64(min(w, 15)) * mib }, cumulated(flat(mib)), 0, 0},
		{"a batch's saw-tooth", func(w int) float64 { return float64(w%12) * mib }, cumulated(flat(mib)), 0, 0},
		{"sessions by day and night", func(w int) float64 { return 50 * mib * (1 - math.Cos(float64(w)/8)) }, cumulated(func(w int) float64 { return 20 * mib * (1 - math.Cos(float64(w)/8)) }), 0, 0},
		{"a warm-up", func(w int) float64 { return 50 * mib * (1 - math.Exp(-float64(w)/8)) }, cumulated(flat(mib)), 0, 0},
	} {
		at := heapRow(200, tt.bytes, tt.made)
		if tt.to == 0 && at >= 0 || tt.to > 0 && (at < tt.from || at > tt.to) {
			t.Errorf("%s: found in window %d, want %d to %d", tt.name, at, tt.from, tt.to)
		}
	}
}
