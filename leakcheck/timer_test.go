package leakcheck

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The tests of timers have every allocation recorded, so they run in a process
// of their own.
func TestVerifyFindsTimersThatWereLeft(t *testing.T) {
	Verify(t)
	for _, test := range []string{"TestTimersChild", "TestTimersOfLibrariesChild"} {
		if out, err := child(t, test, "-test.parallel=20").CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", test, err, out)
		}
	}
}

// linger is a timer, and the place that makes it.
func linger() *time.Timer { return time.AfterFunc(time.Hour, func() {}) } // timer 1

func deadline() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Hour) // timer 2
}

func timerPosition(n string) string {
	text, _ := os.ReadFile("timer_test.go")
	before, _, _ := bytes.Cut(text, []byte(" // timer "+n+"\n"))
	return fmt.Sprintf("timer_test.go:%d", bytes.Count(before, []byte("\n"))+1)
}

func TestTimersChild(t *testing.T) {
	onlyAsChild(t)
	var made []*time.Timer
	wantOne(t, run(Config{Timers: true}, t.Name()+"/fake", func(*fakeT) {
		for range 3 {
			made = append(made, linger())
		}
	}), t.Name()+"/fake left 3 timers behind that have neither fired nor been stopped", "leakcheck.linger\n", timerPosition("1"), "leakcheck.TestTimersChild.func")
	// What one test was blamed for, and what was there before, is not the next one's.
	wantNone(t, run(Config{Timers: true}, t.Name()+"/fake", func(*fakeT) {}))
	for _, timer := range made {
		timer.Stop()
	}
	var cancel context.CancelFunc
	got := run(Config{Timers: true}, t.Name()+"/fake", func(*fakeT) { _, cancel = deadline() })
	wantOne(t, got, "left a context behind whose cancel function was not called", "leakcheck.deadline\n", timerPosition("2"))
	cancel()

	t.Run("on a goroutine", func(t *testing.T) {
		var timer *time.Timer
		wantOne(t, run(Config{Timers: true}, t.Name()+"/fake", func(*fakeT) {
			done := make(chan bool)
			go func() { timer = linger(); close(done) }()
			<-done
		}), "left a timer behind that has neither fired nor been stopped", timerPosition("1"))
		timer.Stop()
	})
	t.Run("ignored", func(t *testing.T) {
		c := Config{Timers: true, Ignore: []string{"github.com/loadline-go/loadline/leakcheck.linger"}}
		var timer *time.Timer
		wantNone(t, run(c, t.Name()+"/fake", func(*fakeT) { timer = linger() }))
		timer.Stop()
	})
	t.Run("not asked for", func(t *testing.T) {
		var timer *time.Timer
		wantNone(t, run(Config{}, t.Name()+"/fake", func(*fakeT) { timer = linger() }))
		timer.Stop()
	})
	patient := Config{Timers: true, Patience: 20 * time.Second} // as long as a busy machine needs
	for _, tt := range []struct {
		name string
		body func()
	}{
		{"stopped", func() {
			for range 100 {
				linger().Stop()
			}
		}},
		{"stopped among others", func() { // so that the runtime has no need to forget it
			for range 3 {
				linger().Stop()
			}
		}},
		{"fires a little later", func() { time.AfterFunc(50*time.Millisecond, func() {}) }},
		{"cancelled", func() {
			ctx, cancel := deadline()
			context.AfterFunc(ctx, func() {})
			cancel()
		}},
		{"tickers and channels", func() {
			kept := []any{time.NewTicker(time.Hour), time.NewTimer(time.Hour), time.After(time.Hour)}
			keptTimers = append(keptTimers, kept...)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range 1000 {
				defer linger().Stop()
			}
			wantNone(t, run(patient, t.Name()+"/fake", func(*fakeT) { tt.body() }))
		})
	}
	t.Run("in a bubble", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			wantNone(t, run(Config{Timers: true}, t.Name()+"/fake", func(*fakeT) { linger() }))
		})
	})
	t.Run("main", func(t *testing.T) {
		var out bytes.Buffer
		var timer *time.Timer
		code := Config{Timers: true, Patience: 100 * time.Millisecond}.verifyMain(mainOf(func() { timer = linger() }), &out)
		timer.Stop()
		if code != 1 || !strings.Contains(out.String(), "leakcheck: TestTimersChild left a timer behind") || !strings.Contains(out.String(), timerPosition("1")) {
			t.Errorf("code %d: %s", code, &out)
		}
	})
}

var keptTimers []any

// TestTimersOfLibrariesChild runs the patterns that Verify tolerates.
func TestTimersOfLibrariesChild(t *testing.T) {
	onlyAsChild(t)
	tolerates(t, Config{Timers: true, Patience: 20 * time.Second})
}

const besideEachOther = "TestTimersBeside"

// Tests that run in parallel, of which one leaves a timer: by its own function,
// from its own goroutine, where nobody can tell, in one of its subtests.
func TestTimersBesideOwnChild(t *testing.T) { beside(t, linger) }
func TestTimersBesideCleanChild(t *testing.T) {
	beside(t, func() *time.Timer { linger().Stop(); return nil })
}
func TestTimersBesideNobodysChild(t *testing.T) {
	beside(t, func() *time.Timer {
		made := make(chan *time.Timer)
		go lingerOn(made)
		return <-made
	})
}

func lingerOn(made chan<- *time.Timer) { made <- linger() }

func TestTimersBesideSubtestsChild(t *testing.T) {
	beside(t, func() *time.Timer {
		t.Run("group", func(t *testing.T) {
			for i := range 3 {
				t.Run(fmt.Sprint(i), func(t *testing.T) {
					Config{Timers: true, Patience: 300 * time.Millisecond}.Verify(t)
					t.Parallel()
					if i == 1 {
						linger()
					}
				})
			}
		})
		return nil
	})
}

func beside(t *testing.T, body func() *time.Timer) {
	if !strings.HasPrefix(os.Getenv(asChild), besideEachOther) {
		t.Skip("runs in a child process")
	}
	Config{Timers: true, Patience: 300 * time.Millisecond}.Verify(t)
	t.Parallel()
	body()
}

func TestVerifyBlamesTimersOnlyOnWhoMadeThem(t *testing.T) {
	Verify(t)
	for _, tt := range []struct {
		tests string
		want  []string
	}{
		{"(Own|Clean|Nobodys|Subtests)", []string{"TestTimersBesideOwnChild", "TestTimersBesideSubtestsChild"}},
		{"(Clean|Nobodys)", []string{"a test"}}, // by VerifyMain, when the tests have passed
		{"Clean", nil},
	} {
		out, err := child(t, besideEachOther+tt.tests+"Child", "-test.parallel=20").CombinedOutput()
		var got []string
		for _, m := range regexp.MustCompile(`leakcheck: (.*) left (?:a timer|\d+ timers) behind`).FindAllStringSubmatch(string(out), -1) {
			got = append(got, m[1])
		}
		slices.Sort(got)
		if !slices.Equal(got, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%s: blamed %q, want %q (%v)\n%s", tt.tests, got, tt.want, err, out)
		}
	}
}
