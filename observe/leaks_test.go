package observe

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/loadline-go/loadline/leakcheck"
	"github.com/loadline-go/loadline/observe/capture"
)

// looked makes a Telemetry's watch say what a test wants it to.
func looked(t *testing.T, tel *Telemetry, look leakcheck.Look) {
	t.Helper()
	if look.At.IsZero() {
		look.At = time.Now()
	}
	tel.leaks.config().Looked(look)
}

var suspect = leakcheck.Suspect{
	Kind:  "goroutine",
	Site:  leakcheck.Frame{Function: "example.com/shop.(*Queue).next", File: "/src/shop/queue.go", Line: 41},
	State: "chan send", Count: 240, PerHour: 60, Since: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), Confidence: 0.97,
	Creator: leakcheck.Frame{Function: "example.com/shop.Serve", File: "/src/shop/serve.go", Line: 7},
	Stack:   "example.com/shop.(*Queue).next\n\t/src/shop/queue.go:41\n",
	Basis:   "grew by 12 in 12 windows",
	Next:    "go tool pprof http://localhost:9464/debug/pprof/goroutine",
}

func TestLeaksAreUnknownBeforeTheFirstLook(t *testing.T) {
	tel := start(t, Config{})
	if got := bodyOf(t, ask(tel, "GET", "/debug/leaks")); !strings.HasPrefix(got, "unknown: the first window has not ended yet") {
		t.Errorf("page: %s", got)
	}
	for _, name := range []string{"observe_leak_suspects", "observe_leaked_goroutines", "observe_leak_unknowns"} {
		if got := family(t, tel, name); len(got) > 0 {
			t.Errorf("%s is there before anything is known: %v", name, got)
		}
	}
}

func TestLeaksAreShownAndCounted(t *testing.T) {
	tel := start(t, Config{})
	heap := leakcheck.Suspect{Kind: "heap", Site: suspect.Site, Count: 10, Bytes: 64 << 20, PerHour: 1 << 20, Since: suspect.Since, Confidence: 0.85}
	waiting := leakcheck.Suspect{Kind: "close_wait", Group: "to 10.0.0.5:443", State: "CLOSE_WAIT", Count: 12, PerHour: 3, Since: suspect.Since, Confidence: 0.9}
	looked(t, tel, leakcheck.Look{
		Windows: 31, Suspects: []leakcheck.Suspect{suspect, waiting, heap}, Cost: 3 * time.Millisecond, Next: time.Minute,
		Unknown: []error{errors.New("leakcheck: heap sites: the memory profile is off\x1b[2J")},
	})

	page := bodyOf(t, ask(tel, "GET", "/debug/leaks"))
	for _, want := range []string{
		"window 31, looked at ", " in 3.00ms, next in ", "3 suspects, the surest first\n",
		"240 goroutines [chan send] in example.com/shop.(*Queue).next (/src/shop/queue.go:41), created by example.com/shop.Serve (/src/shop/serve.go:7), 60 more an hour",
		"  confidence  0.97\n", "  basis       grew by 12 in 12 windows\n", "  next        go tool pprof ",
		"    \t/src/shop/queue.go:41\n", "12 of kind close_wait, to 10.0.0.5:443 [CLOSE_WAIT]",
		"64 MiB of heap allocated at example.com/shop.(*Queue).next", "unknown\n  heap sites: the memory profile is off [2J\n",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is missing in\n%s", want, page)
		}
	}

	for _, header := range [][]string{{"Accept", "application/json"}, nil} {
		path := "/debug/leaks"
		if header == nil {
			path += "?format=json"
		}
		var got leakPage
		if err := json.Unmarshal([]byte(bodyOf(t, ask(tel, "GET", path, header...))), &got); err != nil {
			t.Fatal(err)
		}
		s := got.Suspects[0]
		if got.Windows != 31 || len(got.Suspects) != 3 || len(got.Unknown) != 1 || s.Count != 240 || s.Site.Line != 41 ||
			s.Creator.Function != "example.com/shop.Serve" || s.Stack != suspect.Stack || got.Suspects[1].Site != nil {
			t.Errorf("JSON: %+v", got)
		}
	}

	want := map[string]float64{"goroutine": 1, "heap": 1, "close_wait": 1, "file": 0, "socket": 0, "pipe": 0, "descriptor": 0}
	got := family(t, tel, "observe_leak_suspects")
	for kind, n := range want {
		if m := got["kind="+kind]; m == nil || m.GetGauge().GetValue() != n {
			t.Errorf("suspects of kind %s: %v, want %v", kind, m, n)
		}
	}
	if m := family(t, tel, "observe_leaked_goroutines")["site=shop.Serve (serve.go:7)"]; m.GetGauge().GetValue() != 240 {
		t.Errorf("leaked goroutines: %v", family(t, tel, "observe_leaked_goroutines"))
	}
	if m := family(t, tel, "observe_leak_unknowns")[""]; m.GetGauge().GetValue() != 1 {
		t.Errorf("unknowns: %v", m)
	}
}

func TestLeakSitesAreBounded(t *testing.T) {
	tel := start(t, Config{})
	var all []leakcheck.Suspect
	for i := range 1000 {
		s := suspect
		s.Creator.Function, s.Count = fmt.Sprintf("shop.bad\xff\n%d", i), 1
		all = append(all, s)
	}
	looked(t, tel, leakcheck.Look{Suspects: all})
	got := family(t, tel, "observe_leaked_goroutines")
	if len(got) != maxLeakSites+1 || got["site=other"].GetGauge().GetValue() != 1000-maxLeakSites {
		t.Errorf("%d series, other is %v", len(got), got["site=other"])
	}
	parse(t, scrape(t, tel, "text/plain"))
}

func TestLeaksOff(t *testing.T) {
	tel := start(t, Config{NoLeaks: true})
	if got := bodyOf(t, ask(tel, "GET", "/debug/leaks")); got != "unknown: the watch is off (Config.NoLeaks)\n" {
		t.Errorf("page: %s", got)
	}
	if got := family(t, tel, "observe_leak_suspects"); len(got) > 0 {
		t.Errorf("suspects: %v", got)
	}
}

func TestLeaksTellWhatIsWrongWithTheirConfig(t *testing.T) {
	_, err := Start(context.Background(), Config{AdminAddr: Off, Leaks: leakcheck.Config{Interval: -1, Ignore: []string{""}}})
	if err == nil || !strings.Contains(err.Error(), "\nConfig.Leaks.Interval: -1ns is negative") || !strings.Contains(err.Error(), "Config.Leaks.Ignore[0]: is empty") {
		t.Errorf("got %v", err)
	}
}

func TestASuspectIsLogged(t *testing.T) {
	var log lines
	tel := start(t, Config{Logger: log.logger()})
	tel.leaks.report(suspect)
	for _, want := range []string{
		`msg="observe: leak suspected" kind=goroutine site="example.com/shop.(*Queue).next (/src/shop/queue.go:41)"`,
		`creator="example.com/shop.Serve (/src/shop/serve.go:7)" state="chan send" count=240 per_hour=60 since=2026-11-21T12:00:00.000Z confidence=0.97`,
		`basis="grew by 12 in 12 windows" next="go tool pprof `,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%q is missing in %s", want, log.String())
		}
	}
	if strings.Contains(log.String(), "group=") || strings.Contains(log.String(), "bytes=") {
		t.Errorf("says what it does not know: %s", log.String())
	}
}

func TestASuspectIsCaptured(t *testing.T) {
	dir := t.TempDir()
	tel := start(t, Config{Captures: capture.Config{Dir: dir, CPUProfile: -1}})
	looked(t, tel, leakcheck.Look{Suspects: []leakcheck.Suspect{suspect}})
	tel.leaks.report(suspect)
	deadline := time.Now().Add(time.Minute)
	for {
		found, _ := filepath.Glob(filepath.Join(dir, "*", "leaks.txt"))
		if len(found) == 1 {
			if page, err := os.ReadFile(found[0]); err == nil && strings.Contains(string(page), "240 goroutines [chan send]") {
				break
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("no bundle with the page: %v", found)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestMemoryIsJoinedWithItsSite(t *testing.T) {
	for _, tt := range []struct {
		memory
		want string
	}{
		{memory{known: true, used: 312 << 20, limit: 512 << 20, by: "cgroup", after: 42 * time.Minute}, "312 MiB of 512 MiB used (the container's limit), reached in about 42 min at this growth"},
		{memory{known: true, used: 20 << 30, limit: 32 << 30, by: "host", after: 50 * time.Hour}, "20.0 GiB of 32.0 GiB used (the host's memory), reached in about 2 days at this growth"},
		{memory{known: true, used: 1 << 20, limit: 2 << 20, by: "gomemlimit"}, "1 MiB of 2 MiB used (GOMEMLIMIT)"},
	} {
		if got := tt.memory.String(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

// A leak of this process, found by looking at it every few milliseconds.
func TestWatchFindsALeakOfTheService(t *testing.T) {
	var log lines
	tel := start(t, Config{Logger: log.logger(), Captures: capture.Config{Dir: Off}, Leaks: leakcheck.Config{Interval: 5 * time.Millisecond, MaxPause: time.Minute}})
	stop, leaked, ended := make(chan bool), make(chan bool), make(chan bool)
	go func() {
		defer close(ended)
		n := 0
		for tick := time.NewTicker(5 * time.Millisecond); ; n++ {
			select {
			case <-stop:
				tick.Stop()
				for range n {
					<-leaked
				}
				return
			case <-tick.C:
				go leakHere(leaked)
			}
		}
	}()
	defer func() { close(stop); <-ended }()
	deadline := time.Now().Add(time.Minute)
	for {
		page := bodyOf(t, ask(tel, "GET", "/debug/leaks"))
		if strings.Contains(page, "observe.leakHere (") && strings.Contains(page, "leaks_test.go:") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not found:\n%s", page)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if got := family(t, tel, "observe_leak_suspects")["kind=goroutine"].GetGauge().GetValue(); got < 1 {
		t.Errorf("%v suspects", got)
	}
	if !strings.Contains(log.String(), "observe: leak suspected") || !strings.Contains(log.String(), "observe.leakHere") {
		t.Errorf("logged %s", log.String())
	}
}

func leakHere(c chan bool) { c <- true }

func TestLeaksAreComparedWithTheServersLoad(t *testing.T) {
	tel := start(t, Config{})
	mux := http.NewServeMux()
	var inFlight int
	mux.HandleFunc("GET /pay", func(http.ResponseWriter, *http.Request) { inFlight, _ = tel.leaks.config().Load() })
	h := tel.Handler(mux)
	for range 7 {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/pay", nil))
	}
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/unknown", nil))
	if after, requests := tel.leaks.config().Load(); inFlight != 1 || after != 0 || requests != 8 {
		t.Errorf("%d in flight, then %d after %d requests", inFlight, after, requests)
	}
	own := leaks{tel: tel, want: leakcheck.Config{Load: func() (int, uint64) { return 3, 5 }}}
	if n, requests := own.config().Load(); n != 3 || requests != 5 {
		t.Errorf("the program's own: %d, %d", n, requests)
	}
}

func TestRowsAndTransactionsLeftOpenAreSuspected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		tel := start(t, Config{Captures: noCaptures, Logger: log.logger()})
		db := tel.OpenDB(table{rows: func() driver.Rows { return &numbers{n: 1 << 30} }}, "orders")
		defer db.Close()
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		leave := func() {
			rows, err := db.Query("SELECT n FROM leaky")
			if err != nil {
				t.Fatal(err)
			}
			rows.Next()
			t.Cleanup(func() { rows.Close() })
		}
		leave()
		time.Sleep(3*time.Minute + 30*time.Second) // three looks
		page := bodyOf(t, ask(tel, "GET", "/debug/leaks"))
		if !strings.Contains(page, "no suspects") || !strings.Contains(page, "left alone for a minute and not closed\n") ||
			!strings.Contains(page, "  1 of kind rows, of the database orders, SELECT leaky: each was left alone") || !strings.Contains(page, "  1 of kind tx, of the database orders: ") {
			t.Errorf("after three minutes:\n%s", page)
		}
		for range 5 {
			leave() // here
		}
		time.Sleep(4 * time.Minute)
		page = bodyOf(t, ask(tel, "GET", "/debug/leaks"))
		for _, want := range []string{
			"2 suspects", "6 of kind rows, of the database orders, SELECT leaky, opened at github.com/loadline-go/loadline/observe.TestRowsAndTransactionsLeftOpen",
			"leaks_test.go:", "1 of kind tx, of the database orders, ",
		} {
			if !strings.Contains(page, want) {
				t.Errorf("%q is missing in\n%s", want, page)
			}
		}
		got := family(t, tel, "observe_leak_suspects")
		if got["kind=rows"].GetGauge().GetValue() != 1 || got["kind=tx"].GetGauge().GetValue() != 1 || got["kind=body"].GetGauge().GetValue() != 0 {
			t.Errorf("suspects: %v", got)
		}
		if n := strings.Count(log.String(), "observe: leak suspected"); n != 2 {
			t.Errorf("%d records, want one for each:\n%s", n, log.String())
		}
		var asked leakPage
		if err := json.Unmarshal([]byte(bodyOf(t, ask(tel, "GET", "/debug/leaks?format=json"))), &asked); err != nil || len(asked.LeftOpen) != 2 || asked.LeftOpen[0].Count != 6 {
			t.Errorf("%v: %+v", err, asked.LeftOpen)
		}
	})
}

func TestBodiesLeftOpenAreSuspected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := start(t, Config{Captures: noCaptures})
		client := &http.Client{Transport: tel.Transport(roundTripper(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("x")), Request: r}, nil
		}))}
		forget := func() {
			resp, err := client.Get("http://stock:8080/items/7")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { resp.Body.Close() })
		}
		for range 3 {
			forget()
		}
		time.Sleep(3*time.Minute + 30*time.Second)
		page := bodyOf(t, ask(tel, "GET", "/debug/leaks"))
		if !strings.Contains(page, "no suspects") || !strings.Contains(page, "  3 of kind body, of GET stock:8080: each was left alone") {
			t.Errorf("after three minutes:\n%s", page)
		}
		for range 2 {
			forget()
		}
		time.Sleep(3 * time.Minute)
		page = bodyOf(t, ask(tel, "GET", "/debug/leaks"))
		if !strings.Contains(page, "1 suspect\n\n5 of kind body, of GET stock:8080, opened at github.com/loadline-go/loadline/observe.TestBodiesLeftOpenAreSuspected") ||
			!strings.Contains(page, "leaks_test.go:") || !strings.Contains(page, "  stack\n") {
			t.Errorf("after six:\n%s", page)
		}
		if got := family(t, tel, "observe_leak_suspects")["kind=body"].GetGauge().GetValue(); got != 1 {
			t.Errorf("%v suspects", got)
		}
	})
}

func TestNextIsTheCommandOfThisProcess(t *testing.T) {
	tel := start(t, Config{AdminAddr: "localhost:0"})
	s := suspect
	s.Next = "curl http://localhost:9464/debug/pprof/ && ls -l /proc/$(pidof NAME)/fd"
	if got, want := tel.leaks.here(s).Next, fmt.Sprintf("curl http://%s/debug/pprof/ && ls -l /proc/%d/fd", tel.AdminAddr(), os.Getpid()); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestProofOfLeaksTellsItsRiskAndIsBounded(t *testing.T) {
	tel := start(t, Config{})
	r := ask(tel, "GET", "/debug/leaks/proof")
	if r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") != "POST" {
		t.Errorf("GET: %s", r.Status)
	}
	if got := bodyOf(t, r); !strings.Contains(got, "CAN END THE PROCESS") || !strings.Contains(got, "curl -fsS -X POST -o leaks.pprof http://localhost:9464/debug/leaks/proof") {
		t.Errorf("GET: %s", got)
	}
	for _, header := range [][]string{
		{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "http://example.com"},
		{"X-Forwarded-For", "10.0.0.1"}, {"RemoteAddr", "10.0.0.1:1"},
	} {
		if r := ask(tel, "POST", "/debug/leaks/proof", header...); r.StatusCode != http.StatusForbidden {
			t.Errorf("POST with %v: %s", header, r.Status)
		}
	}
	if pprof.Lookup(leakProfile) == nil {
		r := ask(tel, "POST", "/debug/leaks/proof")
		if got := bodyOf(t, r); r.StatusCode != http.StatusNotImplemented || !strings.HasPrefix(got, "unknown: ") {
			t.Errorf("POST where there is no proof: %s %s", r.Status, got)
		}
		return
	}
	if r := ask(tel, "POST", "/debug/leaks/proof", "Sec-Fetch-Site", "same-origin", "Origin", "http://localhost:9464"); r.StatusCode != http.StatusOK || !strings.HasPrefix(bodyOf(t, r), "\x1f\x8b") {
		t.Errorf("POST: %s", r.Status)
	}
	if r := ask(tel, "POST", "/debug/leaks/proof"); r.StatusCode != http.StatusTooManyRequests || r.Header.Get("Retry-After") == "" {
		t.Errorf("POST again: %s", r.Status)
	}
}

func TestProofTakesTurns(t *testing.T) {
	var p proof
	now := time.Now()
	if p.reserve(now) != 0 || p.reserve(now.Add(time.Second)) != proofEvery-time.Second || p.reserve(now.Add(proofEvery)) != 0 {
		t.Error("turns are not a minute apart")
	}
}
