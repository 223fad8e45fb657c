package observe

import (
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestSaturationHasHysteresis(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		name   string
		limits Saturation
		steps  []string // scheduler delay, headroom, fill -> the limits that are passed
	}{
		{"scheduler", Saturation{SchedDelay: 100 * ms}, []string{"0s 1 0 -", "100ms 1 0 -", "101ms 1 0 wait", "80ms 1 0 wait", "76ms 1 0 wait", "75ms 1 0 -", "100ms 1 0 -", "200ms 0 1 wait"}},
		{"memory", Saturation{MemoryHeadroom: .1}, []string{"1h 1 1 -", "0s .1 0 -", "0s .09 0 free", "0s .11 0 free", "0s .13 0 -", "0s .11 0 -", "0s NaN 0 -", "0s 0 0 free", "0s NaN 0 -"}},
		{"much memory", Saturation{MemoryHeadroom: .9}, []string{"0s .8 0 free", "0s .92 0 free", "0s .93 0 -"}},
		{"fill", Saturation{Fill: func() float64 { return 0 }}, []string{"0s 1 .9 -", "0s 1 .91 full", "0s 1 .7 full", "0s 1 .6 -", "0s 1 7 full", "0s 1 NaN -", "0s 1 -1 -"}},
		{"each for itself", Saturation{SchedDelay: 100 * ms, MemoryHeadroom: .1}, []string{"200ms .05 0 wait free", "0s .05 0 free", "200ms .5 0 wait", "0s .5 0 -"}},
	} {
		s := saturation{limits: test.limits}
		for i, step := range test.steps {
			var delay, free, full string
			fmt.Sscan(step, &delay, &free, &full)
			sched, err := time.ParseDuration(delay)
			if err != nil {
				t.Fatal(err)
			}
			text := "ready"
			if err := s.judge(sched, parsed(t, free), parsed(t, full)); err != nil {
				text = err.Error()
			}
			for _, word := range []string{"wait", "free", "full"} {
				if strings.Contains(text, word) != strings.Contains(strings.Join(strings.Fields(step)[3:], " "), word) {
					t.Errorf("%s: after %q: %s", test.name, test.steps[:i+1], text)
				}
			}
		}
	}
}

func parsed(t *testing.T, s string) (f float64) {
	if s == "NaN" {
		return math.NaN()
	}
	if _, err := fmt.Sscan(s, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestSaturatedInstanceIsUnreadyAndAlive(t *testing.T) {
	var fill atomic.Int64
	tel := start(t, Config{Saturation: Saturation{Fill: func() float64 { return float64(fill.Load()) / 10 }}})
	fresh := func(percent int64) (int, string) {
		fill.Store(percent / 10)
		tel.health.checks[0].last = checkResult{} // not to wait until it is old
		w := do(tel.Admin(), "GET", "/readyz")
		return w.Code, w.Body.String()
	}
	for _, step := range []struct {
		fill int64
		code int
		body string
	}{
		{50, 200, "ok     saturation\nready\n"},
		{100, 503, "failed saturation: 100 % full, the limit is 90 %\nnot ready\n"},
		{80, 503, "failed saturation: 80 % full, the limit is 90 %\nnot ready\n"},
		{60, 200, "ok     saturation\nready\n"},
	} {
		if code, body := fresh(step.fill); code != step.code || body != step.body {
			t.Errorf("%d %% full: %d %q, want %d %q", step.fill, code, body, step.code, step.body)
		}
		if w := do(tel.Admin(), "GET", "/livez"); w.Code != 200 {
			t.Errorf("/livez is %d", w.Code)
		}
	}
}

// What the runtime's sampler measured is what counts: every machine's memory is
// used by more than a thousandth, and some goroutine waits for more than a
// nanosecond.
func TestSaturationReadsTheSampler(t *testing.T) {
	for word, limits := range map[string]Saturation{"free": {MemoryHeadroom: .999}, "wait": {SchedDelay: 1}} {
		tel := start(t, Config{Interval: 100 * time.Millisecond, Saturation: limits})
		eventually(t, word, func() bool {
			if d, ok := tel.sampler.Latest(); ok && word == "free" && math.IsNaN(d.Headroom.Ratio) {
				return true // on a system where no limit of memory is known
			}
			w := do(tel.Admin(), "GET", "/readyz")
			return w.Code == 503 && strings.Contains(w.Body.String(), word)
		})
		tel.Shutdown(t.Context())
	}
}

func TestWithoutLimitsThereIsNoSaturation(t *testing.T) {
	tel := start(t, Config{})
	if w := do(tel.Admin(), "GET", "/readyz"); w.Body.String() != "ready\n" {
		t.Error(w.Body)
	}
}
