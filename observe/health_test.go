package observe

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
		time.Sleep(time.Second)
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
			time.Sleep(time.Second)
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
	tel.Check(Check{Name: "db", Groups: []string{"databases"}, Probe: probe})
	for _, test := range []struct {
		check Check
		want  string
	}{
		{Check{Probe: probe}, `observe: Check: name "": want a word`},
		{Check{Name: "the db", Probe: probe}, `observe: Check: name "the db": want a word`},
		{Check{Name: "db\x1b", Probe: probe}, `observe: Check: name "db\x1b": want a word`},
		{Check{Name: "a/b", Probe: probe}, `observe: Check: name "a/b": want a word`},
		{Check{Name: "cache"}, `observe: Check cache: Probe is nil`},
		{Check{Name: "cache", Groups: []string{""}, Probe: probe}, `observe: Check: name "": want a word`},
		{Check{Name: "cache", Groups: []string{"cache"}, Probe: probe}, `observe: Check cache: the name is taken`},
		{Check{Name: "cache", Groups: []string{"db"}, Probe: probe}, `observe: Check cache: the name is taken`},
		{Check{Name: "databases", Probe: probe}, `observe: Check databases: the name is taken`},
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

func TestReadyzOfAGroup(t *testing.T) {
	tel := start(t, Config{})
	var failing atomic.Bool
	failing.Store(true)
	runs := map[string]*atomic.Int64{}
	for _, c := range []Check{
		{Name: "orders", Groups: []string{"databases", "start"}},
		{Name: "users", Groups: []string{"databases"}},
		{Name: "cache"},
	} {
		n := new(atomic.Int64)
		runs[c.Name] = n
		name := c.Name
		c.Probe = func(context.Context) error {
			n.Add(1)
			if name == "users" && failing.Load() {
				return errors.New("refused")
			}
			return nil
		}
		c.MaxAge = time.Nanosecond
		tel.Check(c)
	}
	for _, test := range []struct {
		path, want string
		code       int
	}{
		{"/readyz", "ok     orders\nfailed users: refused\nok     cache\nnot ready\n", 503},
		{"/readyz/databases", "ok     orders\nfailed users: refused\nnot ready\n", 503},
		{"/readyz/start", "ok     orders\nready\n", 200},
		{"/readyz/cache", "ok     cache\nready\n", 200},
		{"/readyz?exclude=users", "ok     orders\nok     cache\nready\n", 200},
		{"/readyz?exclude=databases&exclude=nobody", "ok     cache\nready\n", 200},
		{"/readyz/databases?exclude=users", "ok     orders\nready\n", 200},
		{"/readyz/users?exclude=users", "ready\n", 200},
		{"/readyz/nobody", "no check and no group has this name\n", 404},
		{"/readyz/%3Cscript%3E", "no check and no group has this name\n", 404},
	} {
		if w := do(tel.Admin(), "GET", test.path); w.Code != test.code || w.Body.String() != test.want {
			t.Errorf("%s: %d %q\nwant %d %q", test.path, w.Code, w.Body, test.code, test.want)
		}
	}
	if got := family(t, tel, "observe_ready")[""].GetGauge().GetValue(); got != 0 {
		t.Errorf("observe_ready is %v: a part is not the whole", got)
	}
	before := runs["cache"].Load()
	do(tel.Admin(), "GET", "/readyz/databases")
	if runs["cache"].Load() != before {
		t.Error("a check ran that was not asked for")
	}
	tel.Drain()
	if w := do(tel.Admin(), "GET", "/readyz/cache"); w.Code != 503 || w.Body.String() != "ok     cache\nnot ready: draining\n" {
		t.Error(w.Code, w.Body)
	}
}

func TestReadyzInJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := bareHealth()
		h.add(Check{Name: "db", MaxAge: time.Minute, Probe: func(context.Context) error { time.Sleep(20 * time.Millisecond); return nil }})
		h.add(Check{Name: "cache", Probe: func(context.Context) error { return errors.New("refused\n") }})
		h.add(Check{Name: "disk", Timeout: 2 * time.Second, Probe: func(context.Context) error { time.Sleep(time.Hour); return nil }})
		ask := func(accept string) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			r := httptest.NewRequest("GET", "/readyz", nil)
			r.Header.Set("Accept", accept)
			h.serveReady(w, r)
			return w
		}
		ask("application/json")
		time.Sleep(10 * time.Second)
		w := ask("text/html, Application/JSON;q=0.9")
		want := `{"ready":false,"draining":false,"checks":[` +
			`{"name":"db","result":"ok","took_seconds":0.02,"age_seconds":11.98},` +
			`{"name":"cache","result":"error","error":"refused","took_seconds":0,"age_seconds":0},` +
			`{"name":"disk","result":"timeout","error":"the last run has not ended","took_seconds":0,"age_seconds":0}]}` + "\n"
		if w.Code != 503 || w.Body.String() != want || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%d %v\ngot  %swant %s", w.Code, w.Header(), w.Body, want)
		}
		for _, accept := range []string{"", "*/*", "text/plain", "application/jsonx", "application/*"} {
			if w := ask(accept); !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
				t.Errorf("Accept: %s gets %s", accept, w.Header().Get("Content-Type"))
			}
		}
		time.Sleep(2 * time.Hour)
	})
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/livez", nil)
	r.Header.Set("Accept", "application/json")
	serveLive(w, r)
	if w.Body.String() != `{"alive":true}`+"\n" {
		t.Error(w.Body)
	}
}

func TestRunsOfChecksAreMeasuredByResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMetrics(2000, nil, new(lines).logger())
		h := newHealth(m)
		h.add(Check{Name: "fine", Probe: func(context.Context) error { time.Sleep(100 * time.Millisecond); return nil }})
		h.add(Check{Name: "fails", Probe: func(context.Context) error { return errors.New("refused") }})
		h.add(Check{Name: "panics", Probe: func(context.Context) error { panic("boom") }})
		h.add(Check{Name: "hangs", Timeout: 3 * time.Second, Probe: func(context.Context) error { time.Sleep(time.Minute); return nil }})
		h.add(Check{Name: "heeds", Timeout: 3 * time.Second, Probe: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }})
		for range 2 {
			h.run(t.Context())
			time.Sleep(10 * time.Second)
		}
		got := map[string]string{}
		families, err := m.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == checkDuration.Name {
				for _, s := range f.GetMetric() {
					h := s.GetHistogram()
					got[s.GetLabel()[0].GetValue()] += fmt.Sprintf("%s %d %.1f", s.GetLabel()[1].GetValue(), h.GetSampleCount(), h.GetSampleSum())
				}
			}
		}
		want := map[string]string{"fine": "ok 2 0.2", "fails": "error 2 0.0", "panics": "panic 2 0.0", "hangs": "timeout 1 3.0", "heeds": "timeout 2 6.0"}
		if !maps.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
		time.Sleep(time.Hour)
	})
}
