package leakcheck

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestBudgetAllowsOnePauseInTenMinutes(t *testing.T) {
	now := time.Now()
	b := newBudget(10*time.Millisecond, now)
	for _, tt := range []struct {
		goroutines int
		minutes    int // between readings of 10 µs per goroutine
	}{{100, 1}, {500, 5}, {1000, 10}} {
		b.left = 0
		for b.at = now; b.pause(tt.goroutines) > b.left; {
			b.earn(b.at.Add(time.Minute))
		}
		if got := int(b.at.Sub(now).Minutes()); got < tt.minutes || got > tt.minutes+1 {
			t.Errorf("%d goroutines: next reading in %d minutes, want %d", tt.goroutines, got, tt.minutes)
		}
	}
	if b.earn(b.at.Add(time.Hour)); b.left != 10*time.Millisecond {
		t.Errorf("saved up %v", b.left)
	}
}

func TestBudgetIsSpentByWhatWasMeasured(t *testing.T) {
	b := newBudget(10*time.Millisecond, time.Now())
	b.spend(100*time.Millisecond, 1000)
	if b.perGoroutine != 100*time.Microsecond || b.left != -90*time.Millisecond {
		t.Errorf("a slow reading was measured as %v each, %v left", b.perGoroutine, b.left)
	}
	b.spend(time.Millisecond, 1000)
	if b.perGoroutine != 90*time.Microsecond {
		t.Errorf("a fast reading after it was measured as %v each", b.perGoroutine)
	}
	b.spend(time.Second, 10)
	if b.perGoroutine != 90*time.Microsecond {
		t.Errorf("ten goroutines were measured as %v each", b.perGoroutine)
	}
}

func TestWindowsStretchWithTheirCost(t *testing.T) {
	for _, tt := range []struct{ interval, cost, want time.Duration }{
		{time.Minute, time.Millisecond, time.Minute},
		{time.Minute, 60 * time.Millisecond, time.Minute},
		{time.Minute, 600 * time.Millisecond, 10 * time.Minute},
		{time.Hour, 600 * time.Millisecond, time.Hour},
		{time.Second, 50 * time.Millisecond, time.Second},
		{time.Second, 100 * time.Millisecond, 100 * time.Second},
	} {
		if got := stretch(tt.interval, tt.cost); got != tt.want {
			t.Errorf("a window of %v that cost %v became %v, want %v", tt.interval, tt.cost, got, tt.want)
		}
	}
}

func TestWatchSaysWhenItOnlyCounts(t *testing.T) {
	c := make(chan bool)
	defer close(c)
	go block(c)
	var l Look
	w := newWatcher(Config{MaxPause: time.Nanosecond, NoHeap: true, NoDescriptors: true, Looked: func(got Look) { l = got }}, nil, time.Now())
	w.window(time.Now())
	if len(l.Unknown) != 1 || !strings.Contains(l.Unknown[0].Error(), "are counted, not told one from another") || l.Pause != 0 {
		t.Errorf("got %+v", l)
	}
	for begin := time.Now(); len(w.goroutines.sites) == 0; w.window(time.Now()) { // its goroutine may not have begun
		if time.Since(begin) > 30*time.Second {
			t.Fatal("nothing was counted")
		}
		runtime.Gosched()
	}
	w = newWatcher(Config{MaxPause: time.Minute, NoHeap: true, NoDescriptors: true, Looked: func(got Look) { l = got }}, nil, time.Now())
	w.window(time.Now())
	if len(l.Unknown) != 0 || l.Pause == 0 {
		t.Errorf("with time enough: %+v", l)
	}
}

func TestLoadExplainsGrowthInProportion(t *testing.T) {
	const n = 24
	row := func(f func(i float64) float64) (y []float64) {
		for i := range n {
			y = append(y, f(float64(i)))
		}
		return y
	}
	ramp := func(i float64) float64 { return 10 + i }
	for _, tt := range []struct {
		name           string
		rate, inFlight func(float64) float64
		y              func(float64) float64
		byInFlight     bool
		want           bool
	}{
		{"twice the requests, twice the goroutines", ramp, ramp, func(i float64) float64 { return 5 * (10 + i) }, false, true},
		{"a leak under a ramp", ramp, ramp, func(i float64) float64 { return i * (10 + i/2) }, false, false},
		{"a leak under a steady load", func(float64) float64 { return 10 }, ramp, func(i float64) float64 { return 10 + i }, false, false},
		{"requests that take ever longer, and their goroutines", func(float64) float64 { return 10 }, ramp, func(i float64) float64 { return 10 + i }, true, true},
		{"no load", func(float64) float64 { return 0 }, func(float64) float64 { return 0 }, func(i float64) float64 { return i }, true, false},
	} {
		d := detector{rate: row(tt.rate), inFlight: row(tt.inFlight)}
		if got := d.load(n, row(tt.y), tt.byInFlight); got.explains != tt.want || !got.known {
			t.Errorf("%s: got %+v", tt.name, got)
		}
	}
}

func TestOneDearLookDoesNotStretchTheWindows(t *testing.T) {
	var used, cost time.Duration
	var looks []Look
	w := newWatcher(Config{
		NoHeap: true, Looked: func(l Look) { looks = append(looks, l) },
		Sources: []Source{{Kind: "dear", Open: func() ([]Member, error) { used += cost; return nil, nil }}},
	}, nil, time.Now())
	w.used = func() time.Duration { return used }
	for _, cost = range []time.Duration{time.Second, 0, time.Second, 2 * time.Second, 0} {
		w.window(time.Now())
	}
	for i, want := range []time.Duration{time.Minute, time.Minute, time.Minute, 1000 * time.Second, time.Minute} {
		if looks[i].Next != want || (len(looks[i].Unknown) > 0) != (want > time.Minute) {
			t.Errorf("look %d cost %v: next in %v, want %v; unknown: %v", i, looks[i].Cost, looks[i].Next, want, looks[i].Unknown)
		}
	}
}

func TestThreadTimeIsTheThreadsOwn(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("it is the time that passes")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := threadTime()
	time.Sleep(50 * time.Millisecond)
	slept := threadTime()
	for threadTime()-slept < 60*time.Millisecond { // it grows while this runs, or the test never ends
	}
	if d := slept - before; d >= 50*time.Millisecond {
		t.Errorf("%v of sleep were counted", d)
	}
}
