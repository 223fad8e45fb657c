package doctor

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
	"unsafe"
)

// FuzzDiagnose diagnoses evidence made of any numbers: no panic, finite shares, the
// same report twice, and a page that can be printed and marshalled.
func FuzzDiagnose(f *testing.F) {
	for seed := range uint64(40) {
		f.Add(seed, int64(10*time.Second), uint8(seed%8))
	}
	f.Add(uint64(1), int64(-1), uint8(3))
	f.Add(uint64(1), int64(math.MaxInt64), uint8(3))
	f.Add(uint64(1), int64(10*time.Millisecond), uint8(0))
	f.Fuzz(func(t *testing.T, seed uint64, interval int64, wild uint8) {
		r := rand.New(rand.NewPCG(seed, 1))
		var e Evidence
		fill(reflect.ValueOf(&e).Elem(), r, wild%16)
		e.Now.Interval = time.Duration(interval)
		checkReport(t, e)
	})
}

func checkReport(t *testing.T, e Evidence) Report {
	t.Helper()
	a, b := Diagnose(e), Diagnose(e)
	if a.String() != b.String() {
		t.Fatalf("two diagnoses of the same evidence differ:\n%s\n%s", a, b)
	}
	if a.Verdict != Healthy && a.Verdict != Sick && a.Verdict != Unknown || a.Verdict == Unknown && a.Reason == "" {
		t.Fatalf("verdict %q, reason %q", a.Verdict, a.Reason)
	}
	for _, f := range a.Findings {
		if !(f.Share >= 0 && f.Share <= 1) || !(f.Confidence >= 0 && f.Confidence <= 1) {
			t.Fatalf("share %v, confidence %v of %s", f.Share, f.Confidence, f.Cause)
		}
		if f.Summary == "" || f.Remedy == "" || f.Next == "" || len(f.Proof) == 0 || f.Level == "" {
			t.Fatalf("an incomplete finding: %+v", f)
		}
	}
	for _, s := range a.Split {
		sum := s.Running + s.Ready + s.GCAssist + s.Lock + s.Pool + s.Other
		for _, p := range s.Parts {
			sum += p.Seconds
		}
		if math.IsNaN(sum) || math.Abs(sum-s.Total) > 1e-6*max(s.Total, 1e-9) {
			t.Fatalf("the parts of %q add up to %v, not to %v", s.Route, sum, s.Total)
		}
	}
	if _, err := json.Marshal(a); err != nil {
		t.Fatal(err)
	}
	return a
}

// fill sets every field to something, hostile in one case of 16 for each wild.
func fill(v reflect.Value, r *rand.Rand, wild uint8) {
	hostile := []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, math.MaxFloat64, -math.MaxFloat64, 5e-324, 1e300, 0}
	switch v.Kind() {
	case reflect.Float64:
		if uint8(r.Uint32()%16) < wild {
			v.SetFloat(hostile[r.IntN(len(hostile))])
			return
		}
		v.SetFloat(math.Exp(r.NormFloat64()*4) * float64(r.IntN(3)))
	case reflect.Int64:
		v.SetInt(int64(math.Exp(r.Float64()*40)) - int64(r.IntN(2))*int64(math.Exp(r.Float64()*40)))
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.String:
		v.SetString([]string{"", "a", "b", "/orders", "GET /\x1b[31m", "lock", "call", "cpu", "db", "http", "goroutine", "heap", "cgroup"}[r.IntN(13)])
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), r.IntN(5), 8))
		for i := range v.Len() {
			fill(v.Index(i), r, wild)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(r.Int64N(1<<36), 0).UTC()))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), r, wild)
		}
	}
}

// TestBadIntervals: what says nothing is unknown, with the reason.
func TestBadIntervals(t *testing.T) {
	rows, err := readTable("testdata/table.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, interval := range []time.Duration{-time.Hour, 0, 10 * time.Millisecond, 10 * time.Hour} {
		w := rows[1].window(t, rows[0])
		w.Interval = interval
		if r := Diagnose(Evidence{Now: w}); r.Verdict != Unknown || r.Reason == "" || len(r.Findings) != 0 {
			t.Errorf("an interval of %v: %s", interval, r)
		}
	}
	w := rows[1].window(t, rows[0])
	w.Routes = w.Routes[:1]
	w.Routes[0] = Route{Route: "/", Requests: 1, Seconds: 9}
	w.InFlight = 1
	if r := Diagnose(Evidence{Now: w, Usual: usualWindow(t, rows[0])}); r.Verdict == Sick {
		t.Errorf("one request: %s", r)
	}
}

// TestUnknownRuntime: a platform without the runtime's, the cgroup's or the host's
// figures is diagnosed by what is left.
func TestUnknownRuntime(t *testing.T) {
	rows, err := readTable("testdata/table.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		w := row.window(t, rows[0])
		v := reflect.ValueOf(&w.Runtime).Elem()
		for i := range v.NumField() {
			if f := v.Field(i); f.Kind() == reflect.Float64 {
				f.SetFloat(math.NaN())
			}
		}
		r := checkReport(t, Evidence{Now: w, Usual: usualWindow(t, rows[0])})
		if row.name == "dependency slow" && (len(r.Findings) == 0 || r.Findings[0].Cause != DependencySlow) {
			t.Errorf("%s", r)
		}
	}
}

// TestLargeServices: 500 routes cost less than 64 KiB, beside the page of the report.
func TestLargeServices(t *testing.T) {
	e := large(500)
	n := testing.AllocsPerRun(20, func() { Diagnose(e) })
	if n > 2000 {
		t.Errorf("%v allocations", n)
	}
	var before, after int64
	result := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Diagnose(e)
		}
	})
	if before, after = result.AllocedBytesPerOp(), 64<<10; before > after {
		t.Errorf("%d bytes, at most %d", before, after)
	}
	if unsafe.Sizeof(e) > 8<<10 {
		t.Errorf("Evidence has %d bytes, and is passed by value", unsafe.Sizeof(e))
	}
}

func BenchmarkDiagnose(b *testing.B) {
	e := large(500)
	b.ReportAllocs()
	for b.Loop() {
		Diagnose(e)
	}
}

// large is a service of n routes, one of which is slow.
func large(n int) Evidence {
	make1 := func(slow float64) Window {
		w := Window{Time: time.Unix(0, 0), Interval: 10 * time.Second, Runtime: Runtime{Processors: 8, CPUs: 8, CPU: 2, MemoryBy: "cgroup", MemoryFree: .5}}
		for i := range n {
			r := Route{Route: "/route/" + string(rune('a'+i%26)) + string(rune('a'+i/26)), Requests: 20, Seconds: .2, P50: .01, P99: .02}
			r.Parts = []Part{{Name: "orders", Calls: 20, Seconds: .1}, {Name: "prices", Calls: 20, Seconds: .05}}
			r.Waited = .15
			if i == 7 {
				r.Seconds += slow
			}
			w.InFlight += r.Seconds / 10
			w.Routes = append(w.Routes, r)
		}
		for _, name := range []string{"orders", "prices"} {
			w.Dependencies = append(w.Dependencies, Dependency{Name: name, Kind: "db", Calls: 20 * float64(n), Seconds: .1 * float64(n)})
		}
		return w
	}
	return Evidence{Now: make1(30), Usual: make1(0), Running: time.Hour}
}
