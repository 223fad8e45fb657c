package observe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/internal/ingest"
	"github.com/loadline-go/loadline/observe/capture"
	"github.com/loadline-go/loadline/tracing"
)

func TestProfilesArriveWithTheirLabels(t *testing.T) {
	g := new(ingest.Server)
	server := httptest.NewUnstartedServer(g)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // a second connection that was not needed after all
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	t.Setenv("PYROSCOPE_SERVER_ADDRESS", server.URL)
	t.Setenv("PYROSCOPE_BASIC_AUTH_USER", "7")
	t.Setenv("PYROSCOPE_BASIC_AUTH_PASSWORD", "secret")
	t.Setenv("PYROSCOPE_TENANT_ID", "east")
	tel := start(t, Config{
		Service: "shop one", Version: "1.2", ProfileEvery: time.Hour,
		Profiles: Profiles{TLS: &tls.Config{RootCAs: roots}, Labels: map[string]string{"cell": "c3,x"}},
		Tracing:  tracing.Config{Sampler: sdktrace.AlwaysSample(), Exporter: discard{}},
	})
	began := time.Now()
	mux := http.NewServeMux()
	var root trace.SpanContext
	mux.HandleFunc("GET /burn/{id}", func(w http.ResponseWriter, r *http.Request) {
		root = trace.SpanContextFromContext(r.Context())
		tracing.Do(r.Context(), "step", func(context.Context) error { burn(2000); return nil })
	})
	eventually(t, "the CPU is profiled", tel.server.watched)
	ids := map[string]bool{}
	for range 40 {
		tel.Handler(mux).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/burn/1", nil))
		ids[root.SpanID().String()] = true
		tel.Run(t.Context(), Job{Name: "mail"}, func(context.Context) error { burn(2000); return nil })
	}
	var lock sync.Mutex // contended, and waited for
	waited := 0
	for range 200 {
		lock.Lock()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { lock.Lock(); waited++; lock.Unlock() })
		}
		time.Sleep(time.Millisecond)
		lock.Unlock()
		wg.Wait()
	}
	kept := make([][]byte, 600)
	for i := range kept {
		kept[i] = make([]byte, 64<<10)
	}
	runtime.GC()
	runtime.GC() // the profile of the heap is a collection behind
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	runtime.KeepAlive(kept)

	for kind, types := range map[string]string{
		"cpu/nanoseconds": "samples/count cpu/nanoseconds ", "inuse_space": "alloc_objects/count alloc_space/bytes inuse_objects/count inuse_space/bytes ",
		"goroutine": "goroutine/count ", "contentions": "contentions/count delay/nanoseconds ",
	} {
		if len(g.Of(kind)) == 0 {
			t.Errorf("no %s arrived", kind)
		}
		for _, r := range g.Of(kind) {
			if r.Types != types {
				t.Errorf("%s has %q", kind, r.Types)
			}
			if !strings.HasPrefix(r.Name, "shop_one{__session_id__=") || !strings.Contains(r.Name, "cell=c3_x,") || !strings.Contains(r.Name, ",service_version=1.2}") {
				t.Errorf("name %q", r.Name)
			}
			if user, password, _ := (&http.Request{Header: r.Header}).BasicAuth(); user != "7" || password != "secret" || r.Header.Get("X-Scope-OrgID") != "east" {
				t.Errorf("%s: %q %q, tenant %q", kind, user, password, r.Header.Get("X-Scope-OrgID"))
			}
			if r.Until.Before(r.From) || r.Until.After(time.Now()) || r.Until.Before(began) {
				t.Errorf("%s: from %v until %v", kind, r.From, r.Until)
			}
		}
	}
	waits := map[any]bool{}
	for _, r := range g.Of("contentions") {
		waits[r.Config["delay"]["display-name"]] = true
	}
	if !waits["mutex_duration"] || !waits["block_duration"] {
		t.Errorf("waiting is called %v", waits)
	}
	routes, jobs, linked := 0, 0, 0
	for _, r := range g.Of("cpu/") {
		for _, s := range r.Profile.Sample {
			switch {
			case !ingest.HasFunction(s, "observe.burn"):
			case slices.Equal(s.Label["route"], []string{"/burn/{id}"}):
				routes++
				if len(s.Label["span_id"]) == 1 && ids[s.Label["span_id"][0]] {
					linked++
				}
			case slices.Equal(s.Label["job_name"], []string{"mail"}):
				jobs++
			}
		}
	}
	if routes == 0 || jobs == 0 || linked != routes {
		t.Errorf("%d stacks of the route, %d of them with a span that was, and %d of the job", routes, linked, jobs)
	}
	held := int64(0)
	for _, r := range g.Of("inuse_space") {
		for _, s := range r.Profile.Sample {
			if ingest.HasFunction(s, "TestProfilesArriveWithTheirLabels") {
				held += s.Value[3]
			}
		}
	}
	if held < 8<<20 { // of each half a megabyte one object is sampled
		t.Errorf("%d bytes of the heap are this test's, want some 37 MiB", held)
	}
	for _, err := range g.Errors() {
		t.Error(err)
	}
	if lost := family(t, tel, "observe_dropped_total")["reason=export_failed signal=profiles"].GetCounter().GetValue(); lost != 0 {
		t.Errorf("%v profiles were lost", lost)
	}
	spent := family(t, tel, "observe_profiler_cpu_seconds_total")
	for _, kind := range []string{"cpu", "heap", "mutex", "block", "goroutine"} {
		if spent["profile="+kind] == nil {
			t.Errorf("the cost of %s is not told", kind)
		}
	}
	if spent["profile=cpu"].GetCounter().GetValue() <= 0 {
		t.Error("CPU profiles cost nothing")
	}
}

// Whatever the server does, the service lives and ends, and what was lost is counted.
func TestProfilesThatCannotBePushedAreCounted(t *testing.T) {
	stuck := make(chan struct{})
	defer close(stuck)
	for name, answer := range map[string]http.HandlerFunc{
		"absent": nil,
		"500":    func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusInternalServerError) },
		"moved":  func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"slow": func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-stuck:
			case <-r.Context().Done():
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := new(ingest.Server)
			g.Answer = answer
			server := httptest.NewServer(g)
			defer server.Close()
			if answer == nil {
				server.Close()
			}
			var told lines
			tel, err := Start(t.Context(), Config{
				Profiles: Profiles{Server: server.URL}, ProfileEvery: time.Hour, Logger: told.logger(), AdminAddr: Off, Captures: capture.Config{Dir: Off},
			})
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "the CPU is profiled", tel.server.watched)
			burn(1000)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // of which each step of the end has its share
			defer cancel()
			err = tel.Shutdown(ctx)
			lost := 0.0
			for labels, m := range family(t, tel, "observe_dropped_total") {
				if strings.HasSuffix(labels, "signal=profiles") {
					lost += m.GetCounter().GetValue()
				}
			}
			if lost < 2 { // CPU and goroutines at least
				t.Errorf("%v profiles were counted as lost", lost)
			}
			if name == "slow" {
				if err == nil || !strings.Contains(err.Error(), "profiles: not all were sent") {
					t.Error(err)
				}
			} else if err != nil {
				t.Error(err)
			}
			if (g.Requests() == 0) != (name == "absent") {
				t.Errorf("%d requests", g.Requests())
			}
			if s := told.String(); strings.Count(s, "could not be pushed") != 1 {
				t.Errorf("log: %s", s)
			}
		})
	}
}

// What a slow server leaves waiting is bounded, and the newest stays.
func TestProfilesThatWaitAreBounded(t *testing.T) {
	tel := start(t, Config{Profiles: Profiles{Server: "http://127.0.0.1:1"}})
	p := tel.profiler.push
	for i := range 20 {
		p.push(cpuData{bytes: make([]byte, 1<<20), from: time.Unix(int64(i), 0)}.job("x"))
	}
	if len(p.queue) != 8 || p.bytes != 8<<20 || p.queue[7].StartTime.Unix() != 19 {
		t.Errorf("%d profiles of %d bytes", len(p.queue), p.bytes)
	}
	if n := family(t, tel, "observe_dropped_total")["reason=queue_full signal=profiles"].GetCounter().GetValue(); n != 12 {
		t.Errorf("%v of 12 were counted", n)
	}
}

func TestProfilingKeepsItsBudget(t *testing.T) {
	tel := start(t, Config{})
	c := tel.profiler.costs
	c.cpus = func() float64 { return 2 }
	// 1 % of two processors is 20 ms a second: half of that may go into the CPU
	// profile, a tenth into each of the others.
	if got := c.add("cpu", 100*time.Millisecond); got != 10*time.Second {
		t.Errorf("the next CPU profile after %v", got)
	}
	if got := c.add("heap", 100*time.Millisecond); got != 50*time.Second {
		t.Errorf("the next heap profile after %v", got)
	}
	if got := c.add("goroutine", time.Minute); got != time.Hour {
		t.Errorf("after %v", got)
	}
	if got := family(t, tel, "observe_profiler_cpu_seconds_total")["profile=cpu"].GetCounter().GetValue(); got != 0.1 {
		t.Errorf("%v s counted", got)
	}
	n := 0
	d := newDeltas(false)
	for _, k := range d.kinds {
		k.next = time.Now().Add(time.Hour)
	}
	if n = len(d.collect(&c, false)); n != 0 {
		t.Errorf("%d profiles before their time", n)
	}
	if took := threadCost(func() { burn(1000) }); took <= 0 {
		t.Errorf("work took %v", took)
	}
}

// A program whose CPU somebody else profiles is told, and its other profiles arrive.
func TestProfilesWithoutTheCPU(t *testing.T) {
	g := new(ingest.Server)
	server := httptest.NewServer(g)
	defer server.Close()
	if err := pprof.StartCPUProfile(io.Discard); err != nil {
		t.Skip(err)
	}
	defer pprof.StopCPUProfile()
	var told lines
	tel := start(t, Config{Profiles: Profiles{Server: server.URL}, ProfileEvery: time.Hour, Logger: told.logger()})
	eventually(t, "the loser is told", func() bool { return strings.Contains(told.String(), errProfiling.Error()) })
	if r := ask(tel, "GET", "/debug/pprof/profile?seconds=0.01"); r.StatusCode != http.StatusConflict {
		t.Errorf("%s: %s", r.Status, bodyOf(t, r))
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if len(g.Of("goroutine")) == 0 {
		t.Error("no goroutines arrived")
	}
	if n := len(g.Of("cpu/")); n != 0 {
		t.Errorf("%d CPU profiles", n)
	}
}
