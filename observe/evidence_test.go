package observe

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loadline-go/loadline/observe/doctor"
	"github.com/loadline-go/loadline/runtimemetrics"
)

// windowOf returns what is found in a window that work fills, second by second.
func windowOf(t *testing.T, tel *Telemetry, work func()) doctor.Window {
	t.Helper()
	e := newEvidence(tel)
	e.begin()
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-time.After(250 * time.Millisecond):
				e.sample()
			case <-stop:
				return
			}
		}
	}()
	work()
	close(stop)
	<-done
	var w doctor.Window
	e.look(&w)
	return w
}

func near(got, want, tolerance float64) bool { return math.Abs(got-want) <= tolerance }

func TestAWindowHoldsWhatHappenedInIt(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, tel *Telemetry) {
		db := tel.OpenDB(lazy{}, "orders")
		defer db.Close()
		db.SetMaxOpenConns(1)
		transport := tel.Transport(late{})
		mux := http.NewServeMux()
		mux.HandleFunc("GET /slow/{id}", func(_ http.ResponseWriter, r *http.Request) { time.Sleep(3 * time.Second) })
		mux.HandleFunc("POST /fails", func(w http.ResponseWriter, r *http.Request) { time.Sleep(time.Second); w.WriteHeader(503) })
		mux.HandleFunc("GET /panics", func(http.ResponseWriter, *http.Request) { time.Sleep(time.Second); panic(http.ErrBodyNotAllowed) })
		mux.HandleFunc("GET /db", func(_ http.ResponseWriter, r *http.Request) { db.ExecContext(r.Context(), "UPDATE orders SET n = 1") })
		mux.HandleFunc("GET /http", func(_ http.ResponseWriter, r *http.Request) {
			for _, path := range []string{"/", "/broken", "/broken", "/missing"} {
				out, _ := http.NewRequestWithContext(r.Context(), "GET", "http://payments:8080"+path, nil)
				if resp, err := transport.RoundTrip(out); err == nil {
					resp.Body.Close()
				}
			}
		})
		h := tel.Handler(mux)
		serve := func(method, path string) {
			defer func() { recover() }()
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, path, nil))
		}
		serve("GET", "/slow/1") // before
		cache := tel.Cache("prices", func(context.Context) (CacheStats, error) { return CacheStats{Hits: 7, Misses: 3}, nil })
		defer cache.Close()
		depth := held[Depth]{v: Depth{Length: 1, Capacity: 100, Added: 10, Taken: 9}}
		defer tel.Queue("mails", func(context.Context) (Depth, error) { return depth.get(), nil })()
		time.Sleep(time.Second)

		w := windowOf(t, tel, func() {
			for range 2 {
				serve("GET", "/slow/2")
			}
			serve("POST", "/fails")
			serve("GET", "/panics")
			go serve("GET", "/db")
			go serve("GET", "/db")
			time.Sleep(3 * time.Second) // the second waits for the connection
			serve("GET", "/http")
			for _, err := range []error{nil, errBoom} {
				tel.Run(t.Context(), Job{Name: "report", Enqueued: time.Now().Add(-time.Minute)}, func(context.Context) error { time.Sleep(2 * time.Second); return err })
			}
			tel.Call(t.Context(), "mail", "send", func(context.Context) error { time.Sleep(time.Second); return errBoom })
			for range 3 {
				Load(t.Context(), cache, "a", func(context.Context) (int, error) { time.Sleep(time.Second); return 0, nil })
			}
			depth.set(Depth{Length: 5, Capacity: 100, Added: 30, Taken: 25, Oldest: time.Minute})
			tel.losses.add("logs", "queue_full", 4)
			time.Sleep(6 * time.Second) // until the queue is asked
		})
		if w.Interval < 20*time.Second || w.Interval > time.Minute {
			t.Errorf("an interval of %v", w.Interval)
		}
		routes := map[string]string{}
		for _, r := range w.Routes {
			routes[r.Route] = fmt.Sprintf("%v requests, %v errors, %v panics, %v s, waited %v, parts %v", r.Requests, r.Errors, r.Panics, r.Seconds, r.Waited, r.Parts)
			if (r.P50 > 0) != (r.Requests > 0 && r.Seconds > 0) || r.Seconds > 0 && !near(r.P50, r.Seconds/r.Requests, .4*r.Seconds/r.Requests) {
				t.Errorf("%s: p50 %v of %v s in %v requests", r.Route, r.P50, r.Seconds, r.Requests)
			}
		}
		for route, want := range map[string]string{
			"GET /slow/{id}": "2 requests, 0 errors, 0 panics, 6 s, waited 0, parts []",
			"POST /fails":    "1 requests, 1 errors, 0 panics, 1 s, waited 0, parts []",
			"GET /panics":    "1 requests, 1 errors, 1 panics, 1 s, waited 0, parts []",
			"GET /db":        "2 requests, 0 errors, 0 panics, 3 s, waited 2, parts [{orders 3 0 2}]",
			"GET /http":      "1 requests, 0 errors, 0 panics, 4 s, waited 4, parts [{payments:8080 4 2 4}]",
		} {
			if routes[route] != want {
				t.Errorf("%s: %s, want %s", route, routes[route], want)
			}
		}
		find := func(name string) doctor.Dependency {
			i := slices.IndexFunc(w.Dependencies, func(d doctor.Dependency) bool { return d.Name == name })
			if i < 0 {
				t.Fatalf("no dependency %s in %+v", name, w.Dependencies)
			}
			return w.Dependencies[i]
		}
		if d := find("payments:8080"); d.Calls != 4 || d.Errors != 2 || d.Seconds != 4 || !near(d.P50, 1, .1) || d.Kind != kindHTTP {
			t.Errorf("%+v", d)
		}
		if d := find("orders"); d.Calls != 3 || d.Seconds != 2 || d.Kind != kindDatabase || d.Active == 0 || d.Active > 1 {
			t.Errorf("%+v", d)
		}
		if d := find("mail"); d.Calls != 1 || d.Errors != 1 || d.Seconds != 1 || d.Kind != kindOther {
			t.Errorf("%+v", d)
		}
		if q := w.Queries; len(q) != 1 || q[0].Pool != "orders" || q[0].Summary != "UPDATE orders" || q[0].Calls != 2 || q[0].Seconds != 2 {
			t.Errorf("queries %+v", q)
		}
		if p := w.Pools; len(p) != 1 || p[0].Name != "orders" || p[0].Max != 1 || p[0].Waits != 1 || p[0].WaitSeconds != 1 || p[0].Open != 1 || p[0].InUse <= 0 || p[0].InUse >= 1 {
			t.Errorf("pools %+v", p)
		}
		if j := w.Jobs; len(j) != 1 || j[0].Job != "report" || j[0].Runs != 2 || j[0].Errors != 1 || j[0].Seconds != 4 || j[0].WaitSeconds != 120 || j[0].Active <= 0 || j[0].Active >= 1 {
			t.Errorf("jobs %+v", j)
		}
		if q := w.Queues; len(q) != 1 || q[0].Queue != "mails" || q[0].Before != 1 || q[0].Length != 5 || q[0].Added != 20 || q[0].Taken != 16 || q[0].Oldest != 60 || q[0].Capacity != 100 {
			t.Errorf("queues %+v", q)
		}
		if c := w.Caches; len(c) != 1 || c[0].Cache != "prices" || c[0].Hits != 0 || c[0].Misses != 0 || c[0].LoadSeconds != 3 {
			t.Errorf("caches %+v", c)
		}
		if l := w.Losses; len(l) != 1 || l[0] != (doctor.Loss{Signal: "logs", Reason: "queue_full", Count: 4}) {
			t.Errorf("losses %+v", l)
		}
		if !(w.InFlight > 0) || w.InFlight > 2 {
			t.Errorf("%v requests in flight", w.InFlight)
		}
		if r := w.Runtime; !(r.Processors >= 1) || !(r.Goroutines > 1) || !(r.CPUs >= 1) || math.IsNaN(r.SchedWait) {
			t.Errorf("%+v", r)
		}
	})
}

func TestAQuietWindowHoldsNothing(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, tel *Telemetry) {
		h := tel.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			tel.Call(r.Context(), "mail", "send", func(context.Context) error { time.Sleep(time.Second); return nil })
		}))
		for range 10 {
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		}
		w := windowOf(t, tel, func() { time.Sleep(10 * time.Second) })
		if len(w.Routes) != 1 || w.Routes[0].Requests+w.Routes[0].Seconds+w.Routes[0].P99+w.Routes[0].Waited != 0 || len(w.Routes[0].Parts) != 0 {
			t.Errorf("%+v", w.Routes)
		}
		if len(w.Dependencies) == 0 || w.Dependencies[0].Calls+w.Dependencies[0].Seconds+w.Dependencies[0].P99 != 0 {
			t.Errorf("%+v", w.Dependencies)
		}
	})
}

func TestTheEvidenceOfTwoIsTheirOwn(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, tel *Telemetry) {
		h := tel.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(time.Second) }))
		serve := func() { h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)) }
		a, b := newEvidence(tel), newEvidence(tel)
		var w doctor.Window
		a.begin()
		serve()
		b.begin()
		serve()
		if a.look(&w); w.Routes[0].Requests != 2 {
			t.Errorf("the first saw %v of 2", w.Routes[0].Requests)
		}
		serve()
		if b.look(&w); w.Routes[0].Requests != 2 {
			t.Errorf("the second saw %v of 2", w.Routes[0].Requests)
		}
		if a.look(&w); w.Routes[0].Requests != 1 {
			t.Errorf("the first saw %v of 1", w.Routes[0].Requests)
		}
	})
}

// Differences of quantiles are those of a histogram that saw the interval alone.
func TestTheQuantilesAreThoseOfTheInterval(t *testing.T) {
	tel := start(t, Config{})
	v, _ := tel.server.duration.with("GET", "/x", "200", "", "http")
	all := total{spread: true}
	all.add(v.own, outcomeFine)
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 50 {
		low := math.Exp2(random.Float64()*20 - 15)
		var alone []float64
		for range 1 + random.IntN(2000) {
			x := low * (1 + random.Float64())
			alone = append(alone, x)
			v.own.observe(x, processor(random.IntN(8)))
		}
		slices.Sort(alone)
		g := all.grown()
		if int(g.count) != len(alone) {
			t.Fatalf("round %d: %v of %d", round, g.count, len(alone))
		}
		for _, q := range []struct{ got, q float64 }{{g.p50, .5}, {g.p99, .99}} {
			if want := alone[min(int(q.q*float64(len(alone))), len(alone)-1)]; !near(q.got, want, .1*want) {
				t.Errorf("round %d: the quantile %v of %d is %v, want %v", round, q.q, len(alone), q.got, want)
			}
		}
		if g = all.grown(); g != (growth{}) {
			t.Fatalf("round %d: %+v without anything", round, g)
		}
	}
}

func TestRetriesAndConnectionsAreEvidence(t *testing.T) {
	tel := start(t, Config{})
	failures := 2
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		if failures > 0 {
			failures--
			w.WriteHeader(503)
		}
	}))
	defer server.Close()
	client := &http.Client{Transport: tel.Transport(&http.Transport{})}
	w := windowOf(t, tel, func() {
		r, _ := http.NewRequest("GET", server.URL, nil)
		for range 3 {
			resp, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		}
	})
	i := slices.IndexFunc(w.Dependencies, func(d doctor.Dependency) bool { return d.Name == strings.TrimPrefix(server.URL, "http://") })
	if i < 0 {
		t.Fatalf("%+v", w.Dependencies)
	}
	if d := w.Dependencies[i]; d.Calls != 3 || d.Errors != 2 || d.Retries != 2 || d.Connections != 3 || !(d.Connecting > 0) {
		t.Errorf("%+v", d)
	}
}

func TestRepeatedQueriesAreEvidence(t *testing.T) {
	inBubble(t, Config{RepeatedQueries: 3}, func(t *testing.T, tel *Telemetry) {
		db := tel.OpenDB(lazy{}, "orders")
		defer db.Close()
		mux := http.NewServeMux()
		mux.HandleFunc("GET /list", func(_ http.ResponseWriter, r *http.Request) {
			for range 10 {
				db.ExecContext(r.Context(), "UPDATE items SET n = 1")
			}
		})
		w := windowOf(t, tel, func() {
			for range 2 {
				tel.Handler(mux).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/list", nil))
			}
		})
		if r := w.Routes[0]; r.Repeated != 2 || r.Query != "UPDATE items" {
			t.Errorf("%+v", r)
		}
	})
}

func TestWhatIsUsualForgetsSlowlyAndLearnsFromHealthyWindowsOnly(t *testing.T) {
	window := func(requests, each float64) *doctor.Window {
		nan := math.NaN()
		return &doctor.Window{Interval: 10 * time.Second, Routes: []doctor.Route{{
			Route: "GET /", Requests: requests, Seconds: requests * each, P50: each, CPU: nan, Waited: nan,
			Parts: []doctor.Part{{Name: "orders", Calls: requests, Seconds: requests * each / 2}},
		}}, Runtime: doctor.Runtime{CPU: requests / 1000, Steal: nan}}
	}
	mean := func(w doctor.Window) float64 { return w.Routes[0].Seconds / w.Routes[0].Requests }
	var u usual
	u.add(window(1000, .01), true)
	if u.window().Interval != 0 {
		t.Error("a window is usual at once")
	}
	for range 100 {
		u.add(window(1000, .01), true)
	}
	if w := u.window(); !near(mean(w), .01, 1e-9) || !near(w.Runtime.CPU, 1, 1e-9) || !near(w.Routes[0].P50, .01, 1e-9) || !near(w.Routes[0].Parts[0].Seconds/w.Routes[0].Parts[0].Calls, .005, 1e-9) {
		t.Errorf("%+v", w)
	}
	// The halves of a fault: the window before it was found is not usual either.
	before := u.window().Interval
	u.add(window(1000, 5), true)
	for range 1000 {
		u.add(window(1000, 10), false)
	}
	if w := u.window(); !near(mean(w), .01, 1e-9) || w.Interval < before {
		t.Errorf("a fault became usual: %v", mean(w))
	}
	// A ramp to ten times the traffic is as usual per request, and its rate follows.
	for i := range 60 {
		u.add(window(1000+150*float64(i), .01), true)
	}
	w := u.window()
	if rate := w.Routes[0].Requests / w.Interval.Seconds(); !near(mean(w), .01, 1e-9) || rate < 400 || rate > 1000 {
		t.Errorf("mean %v, rate %v", mean(w), rate)
	}
	// A night without traffic does not forget what a request takes.
	for range 3 * usualHalfLife {
		u.add(window(0, 0), true)
	}
	if w := u.window(); !near(mean(w), .01, 1e-9) || !(w.Routes[0].Requests > 100) {
		t.Errorf("after a night: %v of %v requests", mean(w), w.Routes[0].Requests)
	}
	// What never was known stays so; what is said to be impossible is not believed.
	u.add(&doctor.Window{Interval: -time.Second}, true)
	u.add(window(math.NaN(), math.Inf(1)), true)
	u.add(window(10, .01), true)
	u.add(window(10, .01), true)
	if w := u.window(); !math.IsNaN(w.Runtime.Steal) || math.IsNaN(w.Routes[0].Requests) {
		t.Errorf("%+v", w)
	}
	// Routes that come, go and change places keep their own figures.
	a, b := window(100, .01), window(100, .02)
	b.Routes[0].Route = "GET /b"
	u = usual{}
	two := &doctor.Window{Interval: time.Second, Routes: []doctor.Route{b.Routes[0], a.Routes[0]}}
	for _, w := range []*doctor.Window{a, two, two} {
		u.add(w, true)
	}
	if r := u.window().Routes; len(r) != 2 || r[0].Route != "GET /b" || r[1].Route != "GET /" || !near(r[1].Requests, 100+100*math.Exp2(-1./usualHalfLife), 1e-9) {
		t.Errorf("%+v", r)
	}
}

// lookAt500 is a Telemetry with 500 routes that have been busy, each with a dependency.
func lookAt500(t testing.TB) (tel *Telemetry, serve func()) {
	tel = start(t, Config{})
	mux := http.NewServeMux()
	for i := range 500 {
		dependency := fmt.Sprint("dependency ", i%50)
		mux.HandleFunc(fmt.Sprintf("GET /route%d", i), func(_ http.ResponseWriter, r *http.Request) {
			tel.Call(r.Context(), dependency, "get", func(context.Context) error { return nil })
		})
	}
	h := tel.Handler(mux)
	requests := make([]*http.Request, 500)
	for i := range requests {
		requests[i] = httptest.NewRequest("GET", fmt.Sprintf("/route%d", i), nil)
	}
	return tel, func() {
		for _, r := range requests {
			h.ServeHTTP(&quietWriter{http.Header{}}, r)
		}
	}
}

func TestALookAllocatesLittle(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	tel, serve := lookAt500(t)
	e := newEvidence(tel)
	var w doctor.Window
	least := uint64(math.MaxUint64) // others allocate meanwhile
	for range 20 {
		serve()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		e.sample()
		e.look(&w)
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	if least > 64<<10 {
		t.Errorf("a look at 500 routes allocates %d bytes", least)
	}
	t.Logf("a look at 500 routes allocates %d bytes", least)
}

func BenchmarkLook(b *testing.B) {
	tel, serve := lookAt500(b)
	e := newEvidence(tel)
	var w doctor.Window
	e.look(&w)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		serve()
		b.StartTimer()
		e.look(&w)
	}
}

// TestStreamsAreNotStuck: requests that said they are streams are under way for as
// long as they like, and no longer counted when they end, however they do.
func TestStreamsAreNotStuck(t *testing.T) {
	tel := start(t, Config{})
	begun, end := make(chan struct{}), make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /poll", func(_ http.ResponseWriter, r *http.Request) {
		SetStream(r.Context())
		SetStream(r.Context()) // counts once
		begun <- struct{}{}
		<-end
	})
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		begun <- struct{}{}
		<-end
		panic("gone")
	})
	h := tel.Handler(mux)
	done := make(chan struct{})
	e := newEvidence(tel)
	e.begin()
	for _, path := range []string{"/poll", "/events"} {
		go func() {
			defer func() { recover(); done <- struct{}{} }()
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil))
		}()
	}
	<-begun
	<-begun
	e.sample()
	var w doctor.Window
	if e.look(&w); w.Runtime.Streams != 2 || w.Runtime.StreamsBefore != 0 {
		t.Errorf("%v streams, %v before", w.Runtime.Streams, w.Runtime.StreamsBefore)
	}
	if e.look(&w); w.Runtime.StreamsBefore != 2 || tel.server.running() != 2 || w.InFlight != 0 {
		t.Errorf("%d run, %v of them are in flight", tel.server.running(), w.InFlight)
	}
	close(end)
	<-done
	<-done
	if n := tel.server.streaming.Load(); n != 0 {
		t.Errorf("%d streams after all have ended", n)
	}
}

// What grew until the last collection is told until the next, but never more than
// was allocated meanwhile.
func TestTheHeapIsJudgedBetweenCollections(t *testing.T) {
	e := newEvidence(start(t, Config{}))
	for i, c := range []struct{ live, gcs, allocated, want float64 }{
		{50e6, 1, 5e6, 50e6},
		{50e6, 1, 5e6, 50e6}, // collected: the heap at the beginning
		{80e6, 0, 5e6, 50e6}, // 30 MB more, of which 50 MB can be
		{80e6, 0, 1e6, 70e6},
		{80e6, 1, 5e6, 80e6},
	} {
		e.before.Memory.HeapLive = c.live
		d := runtimemetrics.Delta{Interval: 10 * time.Second, GCPerSecond: c.gcs, AllocatedPerSecond: c.allocated}
		if got := e.runtime(&d).HeapBefore; got != c.want {
			t.Errorf("%d: %.0f MB before, want %.0f", i, got/1e6, c.want/1e6)
		}
	}
}

// Queues and caches are asked every Config.Interval, whatever the doctor's interval is:
// what they did is told in every window, and no more of it than it did.
func TestAnswersAtAnotherPaceAreOfEveryWindow(t *testing.T) {
	for _, each := range []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 12 * time.Second} { // answers come every 5 s
		t.Run(each.String(), func(t *testing.T) {
			inBubble(t, Config{}, func(t *testing.T, tel *Telemetry) {
				began := time.Now()
				sofar := func(perSecond int64) int64 { return perSecond * int64(time.Since(began)/time.Second) }
				defer tel.Queue("mails", func(context.Context) (Depth, error) {
					return Depth{Length: sofar(20), Added: sofar(100), Taken: sofar(80)}, nil
				})()
				cache := tel.Cache("prices", func(context.Context) (CacheStats, error) { return CacheStats{Hits: sofar(30), Misses: sofar(10)}, nil })
				defer cache.Close()
				e := newEvidence(tel)
				e.begin()
				var w doctor.Window
				var added, hits float64
				const windows = 60
				for i := range windows {
					time.Sleep(each)
					e.look(&w)
					if i < 12 { // two answers are needed
						continue
					}
					q, c, per := w.Queues[0], w.Caches[0], each.Seconds()
					if !near(q.Taken, 80*per, 60*per) || !near(q.Length-q.Before, 20*per, 15*per) || !near(c.Misses, 10*per, 8*per) {
						t.Errorf("window %d: %+v, %+v", i, q, c)
					}
					added, hits = added+q.Added, hits+c.Hits
				}
				if sum := each.Seconds() * (windows - 12); !near(added, 100*sum, 20*sum) || !near(hits, 30*sum, 6*sum) {
					t.Errorf("%.0f were added and %.0f hit in %.0f s", added, hits, sum)
				}
			})
		})
	}
}
