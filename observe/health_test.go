package observe

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// readyz asks and returns status and body.
func readyz(h *health) (int, string) {
	w := httptest.NewRecorder()
	h.serveReady(w, httptest.NewRequest("GET", "/readyz", nil))
	return w.Code, w.Body.String()
}

func bareHealth() *health { return newHealth(newMetrics(2000, nil, new(lines).logger())) }

// angry is an error whose text cannot be had.
type angry struct{}

func (angry) Error() string { panic("no text") }

func TestReadyzHasOneLineACheck(t *testing.T) {
	for _, test := range []struct {
		name  string
		probe func(context.Context) error
		want  string
	}{
		{"passes", func(context.Context) error { return nil }, "ok     db\nready\n"},
		{"fails", func(context.Context) error { return errors.New("no route to host") }, "failed db: no route to host\nnot ready\n"},
		{"panics", func(context.Context) error { panic("boom\nboom") }, "failed db: panic: boom boom\nnot ready\n"},
		{"ignores its context", func(context.Context) error { time.Sleep(time.Hour); return nil }, "failed db: no answer within 1s\nnot ready\n"},
		{"heeds its context", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, "failed db: context deadline exceeded\nnot ready\n"},
		{"has a hostile text", func(context.Context) error { return errors.New("a\r\nok db\x1b[2J\x00\u2028ready\n") }, "failed db: a ok db [2J ready\nnot ready\n"},
		{"has a long text", func(context.Context) error { return errors.New(strings.Repeat("x", 1e6)) }, "failed db: " + strings.Repeat("x", 200) + "…\nnot ready\n"},
		{"has no text", func(context.Context) error { return errors.New("\n") }, "failed db: an error without text\nnot ready\n"},
		{"has a text that panics", func(context.Context) error { return angry{} }, "failed db: panic: no text\nnot ready\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := bareHealth()
				h.add(Check{Name: "db", Probe: test.probe})
				code, body := readyz(h)
				// A deadline that both sides see at once may be told by either.
				if test.name == "heeds its context" && strings.Contains(body, "no answer within 1s") {
					body = test.want
				}
				if body != test.want {
					t.Errorf("got  %q\nwant %q", body, test.want)
				}
				if want := map[bool]int{true: 200, false: 503}[test.name == "passes"]; code != want {
					t.Errorf("status %d, want %d", code, want)
				}
				time.Sleep(2 * time.Hour) // the probe ends
			})
		})
	}
}

func TestChecksRunAtOnceAndAtMostOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := bareHealth()
		var runs atomic.Int64
		for _, name := range []string{"a", "b", "c"} {
			h.add(Check{Name: name, Probe: func(context.Context) error {
				runs.Add(1)
				time.Sleep(100 * time.Millisecond)
				return nil
			}})
		}
		began := time.Now()
		for range 50 {
			readyz(h)
		}
		if got := runs.Load(); got != 3 {
			t.Errorf("50 questions made %d runs of 3 checks", got)
		}
		if took := time.Since(began); took != 100*time.Millisecond {
			t.Errorf("took %v: not at once", took)
		}
		time.Sleep(checkAge)
		readyz(h)
		if got := runs.Load(); got != 6 {
			t.Errorf("%d runs after a second", got)
		}
	})
}

func TestCallersShareOneRun(t *testing.T) {
	h := bareHealth()
	var runs atomic.Int64
	h.add(Check{Name: "db", Probe: func(context.Context) error { runs.Add(1); return nil }})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { readyz(h) })
	}
	wg.Wait()
	if got := runs.Load(); got > 2 { // two where the machine stood still for a second
		t.Errorf("50 callers made %d runs", got)
	}
}

func TestHangingProbeIsNotStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := bareHealth()
		var runs atomic.Int64
		h.add(Check{Name: "disk", Timeout: 10 * time.Millisecond, Probe: func(context.Context) error {
			runs.Add(1)
			time.Sleep(time.Minute)
			return nil
		}})
		readyz(h)
		for range 10 {
			time.Sleep(checkAge)
			if _, body := readyz(h); body != "failed disk: the last run has not ended\nnot ready\n" {
				t.Error(body)
			}
		}
		if runs.Load() != 1 {
			t.Errorf("%d runs at once", runs.Load())
		}
		time.Sleep(time.Minute)
		readyz(h)
		if runs.Load() != 2 {
			t.Error("it was not run again after it had ended")
		}
		time.Sleep(time.Minute)
	})
}

func TestCallerThatGoesAwayFailsNoCheck(t *testing.T) {
	h := bareHealth()
	h.add(Check{Name: "db", Probe: func(ctx context.Context) error { return ctx.Err() }})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if results, ok := h.run(ctx); !ok {
		t.Error(results)
	}
}

func TestDrainFailsReadyzAtOnce(t *testing.T) {
	tel := start(t, Config{})
	tel.Check(Check{Name: "db", Probe: func(context.Context) error { return nil }})
	isReady := func() float64 { return family(t, tel, "observe_ready")[""].GetGauge().GetValue() }
	if code, body := readyz(tel.health); code != 200 || body != "ok     db\nready\n" || isReady() != 1 {
		t.Error(code, body, isReady())
	}
	tel.Drain()
	if isReady() != 0 {
		t.Error("the gauge waits for somebody to ask")
	}
	if code, body := readyz(tel.health); code != 503 || body != "ok     db\nnot ready: draining\n" {
		t.Error(code, body)
	}
	if up := family(t, tel, "observe_check_up")["check=db"].GetGauge().GetValue(); up != 1 {
		t.Error("the check itself still passes")
	}
}

func TestCheckPanicsOnMistakesOfTheProgram(t *testing.T) {
	probe := func(context.Context) error { return nil }
	tel := start(t, Config{})
	tel.Check(Check{Name: "db", Probe: probe})
	for _, test := range []struct {
		check Check
		want  string
	}{
		{Check{Probe: probe}, `observe: Check: name "": want a word`},
		{Check{Name: "the db", Probe: probe}, `observe: Check: name "the db": want a word`},
		{Check{Name: "db\x1b", Probe: probe}, `observe: Check: name "db\x1b": want a word`},
		{Check{Name: "cache"}, `observe: Check cache: Probe is nil`},
		{Check{Name: "db", Probe: probe}, `observe: Check db: the name is taken`},
	} {
		if got := panicOf(func() { tel.Check(test.check) }); got != test.want {
			t.Errorf("got %v, want %s", got, test.want)
		}
	}
	if code, _ := readyz(tel.health); code != 200 {
		t.Error("a panic left the checks locked or changed")
	}
}

func panicOf(f func()) (p any) {
	defer func() { p = recover() }()
	f()
	return nil
}
