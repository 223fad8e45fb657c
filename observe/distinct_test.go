package observe

import (
	"fmt"
	"hash/maphash"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/loadline-go/loadline/runtimemetrics"
)

// mix is the finalizer of SplitMix64: a good hash of small numbers, the same in each run.
func mix(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

// The promised standard error, against exact counts: the root mean square over
// many sketches, at counts from where registers are empty to where all are full.
func TestSketchIsAsExactAsItSays(t *testing.T) {
	const runs = 100
	counts := []int{1, 10, 100, 1000, 3000, 10_000}
	squares := make([]float64, len(counts))
	for run := range runs {
		var s sketch
		n := 0
		for i, c := range counts {
			for ; n < c; n++ {
				s.add(mix(uint64(run)<<32|uint64(n)), 1)
			}
			off := (s.count(1, 60) - float64(c)) / float64(c)
			squares[i] += off * off
		}
	}
	for i, c := range counts {
		// A fifth on top: what is estimated from a hundred has an error of its own.
		if rms := math.Sqrt(squares[i] / runs); rms > 1.2*1.04/math.Sqrt(registers) {
			t.Errorf("%d keys: error %.2f %%", c, 100*rms)
		}
	}
}

func TestSketchCountsNobodyAndTheWholeWorld(t *testing.T) {
	var s sketch
	if got := s.count(1, 60); got != 0 {
		t.Errorf("an empty sketch counts %v", got)
	}
	for i := range s {
		s[i].Store(1)
	}
	if got := s.count(1, 60); math.IsNaN(got) || got < 1e10 {
		t.Errorf("a full sketch counts %v", got)
	}
}

// Each second a new user comes, and none stays. A user counts for a window
// until it is over, and for no longer than a second more.
func TestSketchForgets(t *testing.T) {
	var s sketch
	const total = 4000
	for second := uint32(1); second <= total; second++ {
		s.add(mix(uint64(second)), second)
	}
	for _, now := range []uint32{total, total + 30, total + 59, total + 61, total + 200, total + 3601} {
		for _, w := range windows {
			want := 0.0
			for second := uint32(1); second <= total; second++ {
				if now-second <= w.secs {
					want++
				}
			}
			if got := s.count(now, w.secs); math.Abs(got-want) > math.Ceil(5*1.04/math.Sqrt(registers)*want) {
				t.Errorf("at second %d: %v users in %s, want about %v", now, got, w.label, want)
			}
		}
	}
}

// Keys that somebody found to fall into one register count for one where he
// knows the seed, and in full where he does not.
func TestSketchCannotBeSteered(t *testing.T) {
	known, secret := maphash.MakeSeed(), maphash.MakeSeed()
	var attacked, ours sketch
	const keys = 100
	for found, n := 0, 0; found < keys; n++ {
		key := fmt.Sprint("user", n)
		if h := maphash.Comparable(known, key); h>>(64-precision) == 0 {
			attacked.add(h, 1)
			ours.add(maphash.Comparable(secret, key), 1)
			found++
		}
	}
	// A count this small misses only where two share a register: one or two of a hundred.
	if got := ours.count(1, 60); attacked.count(1, 60) > 3 || math.Abs(got-keys) > 15 {
		t.Errorf("%d keys count as %v where the seed is known and as %v where it is not", keys, attacked.count(1, 60), got)
	}
}

func activeUsers(t *testing.T, tel *Telemetry, name string) (counts [3]float64) {
	t.Helper()
	f := family(t, tel, name)
	for i, w := range windows {
		m := f["window="+w.label]
		if m == nil {
			t.Fatalf("no window %s: %v", w.label, f)
		}
		counts[i] = m.GetGauge().GetValue()
	}
	return counts
}

func TestDistinctCountsWhoWasThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := start(t, Config{Captures: noCaptures})
		users := NewDistinct[string](tel, Metric{Name: "shop_active_users", Help: "Users who did something."})
		if got := activeUsers(t, tel, "shop_active_users"); got != [3]float64{} {
			t.Errorf("%v before the first", got)
		}
		for range 3 { // again is not another
			for i := range 100 {
				users.Seen(fmt.Sprint("user", i))
			}
		}
		about := func(want ...float64) {
			t.Helper()
			got := activeUsers(t, tel, "shop_active_users")
			for i := range got {
				if math.Abs(got[i]-want[i]) > 10 { // six standard errors
					t.Errorf("%v users in %s, want about %v", got[i], windows[i].label, want[i])
				}
			}
		}
		about(100, 100, 100)
		time.Sleep(2 * time.Minute)
		for i := range 50 {
			users.Seen(fmt.Sprint("user", i))
		}
		about(50, 100, 100)
		time.Sleep(4 * time.Minute)
		about(0, 50, 100)
		time.Sleep(time.Hour)
		if got := activeUsers(t, tel, "shop_active_users"); got != [3]float64{} {
			t.Errorf("%v after an hour without anybody", got)
		}
	})
}

func TestDistinctTakesKeysOfManyTypes(t *testing.T) {
	tel := start(t, Config{})
	ids := NewDistinct[int](tel, Metric{Name: "shop_ids", Help: "h"})
	uuids := NewDistinct[[16]byte](tel, Metric{Name: "shop_uuids", Help: "h"})
	type tenantUser struct {
		Tenant string
		User   uint32
	}
	both := NewDistinct[tenantUser](tel, Metric{Name: "shop_tenant_users", Help: "h"})
	const n = 20_000
	for i := range n {
		ids.Seen(i)
		uuids.Seen([16]byte{0: byte(i), 9: byte(i >> 8)})
		both.Seen(tenantUser{"a", uint32(i)})
	}
	for _, name := range []string{"shop_ids", "shop_uuids", "shop_tenant_users"} {
		if got := activeUsers(t, tel, name)[0]; math.Abs(got-n) > 0.1*n { // six standard errors
			t.Errorf("%s: %v, want about %d", name, got, n)
		}
	}
	var none *Distinct[string]
	none.Seen("a")
	if NewDistinct[any](nil, Metric{}) != nil {
		t.Error("not nil without a Telemetry")
	}
}

func TestDistinctRefusesWhatCannotWork(t *testing.T) {
	tel := start(t, Config{})
	for want, f := range map[string]func(){
		"observe: metric shop_users: keys are strings, booleans, integers, or arrays and structs of these, not interface {}": func() { NewDistinct[any](tel, Metric{Name: "shop_users", Help: "h"}) },
		"observe: metric shop_users: keys are strings, booleans, integers, or arrays and structs of these, not float64":      func() { NewDistinct[float64](tel, Metric{Name: "shop_users", Help: "h"}) },
		"observe: metric shop_users: keys are strings, booleans, integers, or arrays and structs of these, not [2]*int":      func() { NewDistinct[[2]*int](tel, Metric{Name: "shop_users", Help: "h"}) },
		"observe: metric shop_users_total: only a counter's name ends in _total":                                             func() { NewDistinct[int](tel, Metric{Name: "shop_users_total", Help: "h"}) },
		"observe: metric shop_users: only a histogram has Buckets": func() {
			NewDistinct[int](tel, Metric{Name: "shop_users", Help: "h", Buckets: []float64{1}})
		},
	} {
		if got := fmt.Sprint(panicOf(f)); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestDistinctIsListed(t *testing.T) {
	tel := start(t, Config{})
	NewDistinct[int](tel, Metric{Name: "shop_active_users", Unit: "users", Help: "Users."})
	d := tel.metrics.definitions()
	if len(d) != 1 || d[0].Kind != runtimemetrics.Gauge || d[0].Unit != "{users}" || strings.Join(d[0].Labels, " ") != "window" {
		t.Errorf("%+v", d)
	}
}

func TestDistinctMayBeUsedConcurrentlyAndDoesNotAllocate(t *testing.T) {
	tel := start(t, Config{})
	users := NewDistinct[string](tel, Metric{Name: "shop_active_users", Help: "Users."})
	names := make([]string, 1000)
	for i := range names {
		names[i] = fmt.Sprint("user", i)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i, name := range names {
				users.Seen(name)
				if i%100 == 0 {
					users.count(60)
				}
			}
		})
	}
	wg.Wait()
	if got := activeUsers(t, tel, "shop_active_users")[2]; math.Abs(got-1000) > 100 {
		t.Errorf("%v, want about 1000", got)
	}
	if n := allocations(100, func() { users.Seen(names[7]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkDistinct(b *testing.B) {
	tel := start(b, Config{})
	users := NewDistinct[string](tel, Metric{Name: "shop_active_users", Help: "Users."})
	b.Run("Seen", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			users.Seen("user-4711")
		}
	})
	for i := range 100_000 {
		users.Seen(fmt.Sprint(i))
	}
	b.Run("scrape", func(b *testing.B) {
		for b.Loop() {
			for _, w := range windows {
				users.count(w.secs)
			}
		}
	})
}
