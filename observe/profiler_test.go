package observe

import (
	"bytes"
	"context"
	"crypto/sha256"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	"github.com/loadline-go/loadline/runtimemetrics"
	"github.com/loadline-go/loadline/tracing"
)

// burn takes CPU time by counted work, not by the clock.
func burn(n int) {
	var block [4096]byte
	for range n {
		sum := sha256.Sum256(block[:])
		copy(block[:], sum[:])
	}
}

// Three routes take one, three and six tenths of the CPU. The shares are of
// counted work, so a machine that is busy otherwise does not move them.
func TestProfilerTellsCPUByRoute(t *testing.T) {
	tel := start(t, Config{ProfileEvery: -1})
	mux := http.NewServeMux()
	work := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			// Inside a step and a label of the program's own, and on a goroutine.
			tracing.Do(r.Context(), "step", func(ctx context.Context) error {
				burn(n / 2)
				return nil
			})
			pprof.Do(r.Context(), pprof.Labels("tenant", "a"), func(context.Context) {
				var wg sync.WaitGroup
				wg.Go(func() { burn(n / 2) })
				wg.Wait()
			})
		}
	}
	mux.HandleFunc("GET /one/{id}", work(100))
	mux.HandleFunc("GET /three/{id}", work(300))
	routed := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/six") { // of another router
			SetRoute(r.Context(), "/six/{id}")
			burn(600)
			return
		}
		mux.ServeHTTP(w, r)
	})
	h := tel.Handler(routed)
	plain := tel.Handler(mux)

	p := newTestProfiler(tel)
	total, shares := 0.0, map[string]float64{}
	for round := 0; total < 3 && round < 30; round++ { // seconds of samples
		ctx, stop := context.WithCancel(t.Context())
		var data cpuData
		var failed error
		var wg sync.WaitGroup
		wg.Go(func() { data, failed = p.take(ctx, time.Minute) })
		for !tel.server.watched() {
			time.Sleep(time.Millisecond)
		}
		for i := range 300 {
			path := "/one/1"
			handler := plain
			switch i % 3 {
			case 1:
				path = "/three/1"
			case 2:
				path, handler = "/six/1", h
			}
			handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil))
		}
		stop()
		wg.Wait()
		if failed != nil {
			t.Skip(failed)
		}
		read, err := profile.ParseData(data.bytes)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range read.Sample {
			seconds := float64(s.Value[1]) / 1e9
			route := noRoute
			if l := s.Label[routeLabel]; len(l) > 0 {
				route = l[0]
			}
			shares[route] += seconds
			total += seconds
		}
		p.taken(data)
	}
	labelled := total - shares[noRoute]
	for route, want := range map[string]float64{"/one/{id}": .1, "/three/{id}": .3, "/six/{id}": .6} {
		// Four standard errors of a share of so many samples, one each 10 ms.
		within := 4 * math.Sqrt(want*(1-want)/(labelled*100))
		if got := shares[route] / labelled; math.Abs(got-want) > within {
			t.Errorf("%s: %.3f of the CPU, want %.1f (of %.1f s, %.1f s without a route)", route, got, want, total, shares[noRoute])
		}
	}
	if shares[noRoute] > total/4 {
		t.Errorf("%.1f of %.1f s without a route", shares[noRoute], total)
	}
	if len(p.list()) == 0 {
		t.Error("no profile was kept")
	}
}

func newTestProfiler(tel *Telemetry) *profiler {
	p := tel.profiler
	p.every = time.Minute
	return p
}

// A goroutine that served a request while a profile was taken has its own labels back.
func TestProfilerLeavesNoLabel(t *testing.T) {
	tel := start(t, Config{ProfileEvery: -1})
	mux := http.NewServeMux()
	mux.HandleFunc("/x", func(w http.ResponseWriter, r *http.Request) {
		if v, _ := pprof.Label(r.Context(), routeLabel); v != "/x" {
			t.Errorf("route label %q in the handler's context", v)
		}
		if v, _ := pprof.Label(r.Context(), "own"); v != "yes" {
			t.Errorf("own label %q in the handler's context", v)
		}
	})
	h := tel.Handler(mux)
	defer tel.server.watch()()
	pprof.Do(t.Context(), pprof.Labels("own", "yes"), func(ctx context.Context) {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/x", nil))
		var text bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&text, 1); err != nil {
			t.Fatal(err)
		}
		if s := text.String(); strings.Contains(s, `"route"`) || !strings.Contains(s, `"own":"yes"`) {
			t.Errorf("labels after the request:\n%.2000s", s)
		}
	})
	if got := requests(t, tel); got["GET 200 /x"] != 1 && len(got) != 1 {
		t.Errorf("%v", got)
	}
}

// Somebody who asks for a CPU profile gets it, whatever the service does itself.
func TestProfilerYields(t *testing.T) {
	tel := start(t, Config{ProfileEvery: -1})
	p := newTestProfiler(tel)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { p.run(ctx) })
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { p.take(ctx, time.Minute) }) // for a minute, unless it is asked to stop
	eventually(t, "a profile is taken", tel.server.watched)
	for range 3 {
		if r := ask(tel, "GET", "/debug/pprof/profile?seconds=0.01"); r.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", r.Status, bodyOf(t, r))
		}
	}
}

func TestProfilesPage(t *testing.T) {
	tel := start(t, Config{ProfileEvery: -1})
	if r := ask(tel, "GET", "/debug/profiles"); r.StatusCode != http.StatusNotFound || !strings.Contains(bodyOf(t, r), "ProfileEvery is negative") {
		t.Error(r.Status)
	}
	p := newTestProfiler(tel)
	if got := bodyOf(t, ask(tel, "GET", "/debug/profiles")); !strings.Contains(got, "no profiles yet: one of 10s is taken every 1m0s") {
		t.Error(got)
	}
	made := &profile.Profile{
		SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}},
		PeriodType: &profile.ValueType{Type: "cpu", Unit: "nanoseconds"}, Period: 1e7, TimeNanos: 1, DurationNanos: 10e9,
		Sample: []*profile.Sample{
			{Value: []int64{300, 3e9}, Label: map[string][]string{routeLabel: {"/a\n/b"}}},
			{Value: []int64{100, 1e9}},
		},
	}
	for range 2 {
		p.sample(runtimemetrics.Delta{Interval: 5 * time.Second, CPUUser: 1, CPUSystem: .6})
	}
	if n := len(family(t, tel, "observe_cpu_seconds_total")); n != 0 {
		t.Errorf("%d series before the first profile", n)
	}
	for range profilesKept + 2 {
		made.TimeNanos += int64(time.Minute)
		var data bytes.Buffer
		if err := made.Write(&data); err != nil {
			t.Fatal(err)
		}
		p.taken(cpuData{bytes: data.Bytes()})
	}
	text := bodyOf(t, ask(tel, "GET", "/debug/profiles"))
	if n := strings.Count(text, "10.0 s, 0.40 cores busy   /debug/profiles/"); n != profilesKept {
		t.Errorf("%d profiles on the page, want %d:\n%s", n, profilesKept, text)
	}
	if !strings.Contains(text, "   75.0 %  /a") || strings.Contains(text, "/a\n") || !strings.Contains(text, "   25.0 %  none\n") {
		t.Error(text)
	}
	// The CPU time between two samples is divided as the last profile was.
	p.sample(runtimemetrics.Delta{Interval: 5 * time.Second, CPUUser: 1, CPUSystem: .6})
	p.sample(runtimemetrics.Delta{Interval: 5 * time.Second, CPUUser: math.NaN()})
	if got := family(t, tel, "observe_cpu_seconds_total")["http_route=none"].GetCounter().GetValue(); math.Abs(got-(4+2)) > 1e-9 {
		t.Errorf("none has %v s, want a quarter of 16 s before the first profile and of 8 s after it", got)
	}
	_, path, _ := strings.Cut(text, "busy   ")
	path, _, _ = strings.Cut(path, "\n")
	if r := ask(tel, "GET", path); r.StatusCode != http.StatusOK || r.Header.Get("Content-Disposition") == "" {
		t.Errorf("%s: %s", path, r.Status)
	} else if _, err := profile.Parse(r.Body); err != nil {
		t.Error(err)
	}
	if r := ask(tel, "GET", "/debug/profiles/0"); r.StatusCode != http.StatusNotFound {
		t.Error(r.Status)
	}
	before := len(p.list())
	p.taken(cpuData{bytes: []byte("half a prof")})
	if n := len(p.list()); n != before {
		t.Error("a torn profile was kept")
	}
}

func TestLocksAndWaitsAreProfiled(t *testing.T) {
	if runtime.SetMutexProfileFraction(-1) != 0 {
		t.Skip("the tests run with a mutex profile")
	}
	tel := start(t, Config{ProfileEvery: time.Hour})
	if got := runtime.SetMutexProfileFraction(-1); got != mutexFraction {
		t.Errorf("mutex fraction %d", got)
	}
	waits := func() (n int64) {
		var data bytes.Buffer
		if err := pprof.Lookup("block").WriteTo(&data, 0); err != nil {
			t.Fatal(err)
		}
		read, err := profile.Parse(&data)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range read.Sample {
			n += s.Value[0]
		}
		return n
	}
	before := waits()
	eventually(t, "a wait is profiled", func() bool {
		done := make(chan bool)
		go func() { time.Sleep(time.Millisecond); close(done) }()
		<-done
		return waits() > before
	})
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := runtime.SetMutexProfileFraction(-1); got != 0 {
		t.Errorf("mutex fraction %d after Shutdown", got)
	}
	runtime.SetMutexProfileFraction(7)
	defer runtime.SetMutexProfileFraction(0)
	own := start(t, Config{ProfileEvery: time.Hour})
	own.Shutdown(t.Context())
	if got := runtime.SetMutexProfileFraction(-1); got != 7 {
		t.Errorf("the program's own mutex fraction became %d", got)
	}
}
