package observe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/pprof/profile"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/observe/capture"
	"github.com/loadline-go/loadline/tracing"
)

// received is one profile that arrived.
type received struct {
	name        string
	from, until time.Time
	query       url.Values
	header      http.Header
	types       string // of the samples
	config      map[string]map[string]any
	profile     *profile.Profile
}

// ingest is the receiving end of the wire format: what a Pyroscope server reads.
type ingest struct {
	t    *testing.T
	mu   sync.Mutex
	all  []received
	seen int // requests, also those that were refused
}

func (g *ingest) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	got, err := readIngest(r)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen++
	if err != nil {
		g.t.Error(err)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	g.all = append(g.all, got)
}

// of returns the profiles that hold samples of a type.
func (g *ingest) of(kind string) (found []received) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.all {
		if strings.Contains(r.types, kind) {
			found = append(found, r)
		}
	}
	return found
}

func (g *ingest) requests() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.seen
}

func readIngest(r *http.Request) (got received, err error) {
	if r.Method != http.MethodPost || r.URL.Path != "/ingest" {
		return got, errors.New(r.Method + " " + r.URL.Path)
	}
	got.query, got.header, got.name = r.URL.Query(), r.Header, r.URL.Query().Get("name")
	for _, bound := range []struct {
		name string
		to   *time.Time
	}{{"from", &got.from}, {"until", &got.until}} {
		n, err := strconv.ParseInt(got.query.Get(bound.name), 10, 64)
		if err != nil {
			return got, err
		}
		*bound.to = time.Unix(0, n)
	}
	parts, err := r.MultipartReader()
	if err != nil {
		return got, err
	}
	for {
		part, err := parts.NextPart()
		if err == io.EOF {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		switch part.FormName() {
		case "profile":
			if got.profile, err = profile.Parse(part); err != nil {
				return got, err
			}
			if err := got.profile.CheckValid(); err != nil {
				return got, err
			}
			for _, t := range got.profile.SampleType {
				got.types += t.Type + "/" + t.Unit + " "
			}
		case "sample_type_config":
			if err := json.NewDecoder(part).Decode(&got.config); err != nil {
				return got, err
			}
		default:
			return got, errors.New("a part called " + part.FormName())
		}
	}
}

// hasFunction tells whether a stack holds a function of this name.
func hasFunction(s *profile.Sample, name string) bool {
	return slices.ContainsFunc(s.Location, func(l *profile.Location) bool {
		return slices.ContainsFunc(l.Line, func(l profile.Line) bool { return strings.HasSuffix(l.Function.Name, name) })
	})
}

func TestProfilesArriveWithTheirLabels(t *testing.T) {
	g := &ingest{t: t}
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
	kept := make([][]byte, 200)
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
		if len(g.of(kind)) == 0 {
			t.Errorf("no %s arrived", kind)
		}
		for _, r := range g.of(kind) {
			if r.types != types {
				t.Errorf("%s has %q", kind, r.types)
			}
			if !strings.HasPrefix(r.name, "shop_one{__session_id__=") || !strings.Contains(r.name, "cell=c3_x,") || !strings.Contains(r.name, ",service_version=1.2}") {
				t.Errorf("name %q", r.name)
			}
			if user, password, _ := (&http.Request{Header: r.header}).BasicAuth(); user != "7" || password != "secret" || r.header.Get("X-Scope-OrgID") != "east" {
				t.Errorf("%s: %q %q, tenant %q", kind, user, password, r.header.Get("X-Scope-OrgID"))
			}
			if r.until.Before(r.from) || r.until.After(time.Now()) || r.until.Before(began) {
				t.Errorf("%s: from %v until %v", kind, r.from, r.until)
			}
		}
	}
	waits := map[any]bool{}
	for _, r := range g.of("contentions") {
		waits[r.config["delay"]["display-name"]] = true
	}
	if !waits["mutex_duration"] || !waits["block_duration"] {
		t.Errorf("waiting is called %v", waits)
	}
	routes, jobs, linked := 0, 0, 0
	for _, r := range g.of("cpu/") {
		for _, s := range r.profile.Sample {
			switch {
			case !hasFunction(s, "observe.burn"):
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
	for _, r := range g.of("inuse_space") {
		for _, s := range r.profile.Sample {
			if hasFunction(s, "TestProfilesArriveWithTheirLabels") {
				held += s.Value[3]
			}
		}
	}
	if held < 4<<20 {
		t.Errorf("%d bytes of the heap are this test's, want some 12 MiB", held)
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
			g := &ingest{t: t}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				g.mu.Lock()
				g.seen++
				g.mu.Unlock()
				answer(w, r)
			}))
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
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
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
			if (g.requests() == 0) != (name == "absent") {
				t.Errorf("%d requests", g.requests())
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
	g := &ingest{t: t}
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
	if len(g.of("goroutine")) == 0 {
		t.Error("no goroutines arrived")
	}
	if n := len(g.of("cpu/")); n != 0 {
		t.Errorf("%d CPU profiles", n)
	}
}
