package observe

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/loadline-go/loadline/observe/capture"
	"github.com/loadline-go/loadline/runtimemetrics"
	"github.com/loadline-go/loadline/tracing"
)

func bundles(t *testing.T, tel *Telemetry) []capture.Bundle {
	t.Helper()
	all, err := tel.captures.store.List()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// The first slow request arms the flight recorder, the second one is captured
// with its recording and its trace, and the storm behind it makes no other.
func TestSlowRequestIsCaptured(t *testing.T) {
	var logged bytes.Buffer
	var mu sync.Mutex
	tel := start(t, Config{
		Captures: capture.Config{Dir: t.TempDir(), CPUProfile: -1},
		Tracing:  tracing.Config{Late: tracing.Late{Slow: 20 * time.Millisecond}},
		Interval: time.Hour, // no sample, so no early sign of a busy machine
		Logger:   slog.New(slog.NewTextHandler(&locked{w: &logged, mu: &mu}, nil)),
	})
	var lock sync.Mutex
	mux := http.NewServeMux()
	mux.HandleFunc("GET /slow/{id}", func(w http.ResponseWriter, r *http.Request) {
		lock.Lock() // somebody else holds it
		defer lock.Unlock()
	})
	h := tel.Handler(mux)
	ask := func(n int) {
		lock.Lock()
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() { h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/slow/1", nil)) })
		}
		time.Sleep(30 * time.Millisecond)
		lock.Unlock()
		wg.Wait()
	}
	ask(1)
	if why, _, armed := tel.captures.store.Armed(); !armed || !strings.Contains(why, "GET /slow/{id} took ") {
		t.Fatalf("armed %v because of %q", armed, why)
	}
	if n := len(bundles(t, tel)); n != 0 {
		t.Errorf("%d captures of the first, which nothing recorded", n)
	}
	ask(1000)
	eventually(t, "a capture", func() bool { return len(bundles(t, tel)) > 0 })
	ask(10)
	all := bundles(t, tel)
	if len(all) != 1 {
		t.Fatalf("%d captures of a storm", len(all))
	}
	b := all[0]
	if b.Kind != "slow_request" || b.Route != "GET /slow/{id}" || len(b.TraceID) != 32 || b.Service != "test" {
		t.Errorf("%+v", b.Manifest)
	}
	for _, f := range b.Files {
		if f.Missing != "" {
			t.Errorf("without %s: %s", f.Name, f.Missing)
		}
	}
	traces, err := os.ReadFile(filepath.Join(b.Dir, "traces.txt"))
	if err != nil || !bytes.Contains(traces, []byte("GET /slow/{id}")) {
		t.Errorf("traces.txt: %v\n%s", err, traces)
	}
	if len(b.Config) != 12 {
		t.Errorf("the digest of the configuration is %q", b.Config)
	}
	account, err := os.ReadFile(filepath.Join(b.Dir, "doctor.txt"))
	for _, want := range []string{"route ", "The request of this capture: GET /slow/{id}, ", ", trace " + b.TraceID, "blocked on a lock at\n", "until this let it go on"} {
		if err != nil || !strings.Contains(string(account), want) {
			t.Errorf("doctor.txt: %v, no %q in\n%s", err, want, account)
		}
	}
	if m := family(t, tel, "observe_captures_total")["reason=slow_request"]; m.GetCounter().GetValue() != 1 {
		t.Errorf("counted %v", m)
	}
	eventually(t, "a log record", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return strings.Contains(logged.String(), "observe: captured") && strings.Contains(logged.String(), "trace_id="+b.TraceID)
	})
}

type locked struct {
	w  io.Writer
	mu *sync.Mutex
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func TestEarlySignsArm(t *testing.T) {
	tel := start(t, Config{Captures: capture.Config{Dir: t.TempDir(), CPUProfile: -1}, Interval: time.Hour})
	c := tel.captures
	calm := runtimemetrics.Delta{SchedP99: time.Millisecond, GCShare: 0.02, MutexWait: 0.1, Headroom: runtimemetrics.Headroom{Ratio: 0.5, By: "cgroup"}}
	c.sample(calm)
	if _, _, armed := c.store.Armed(); armed {
		t.Error("armed without a sign")
	}
	for name, change := range map[string]func(*runtimemetrics.Delta){
		"ready goroutines wait for 30":    func(d *runtimemetrics.Delta) { d.SchedP99 = 30 * time.Millisecond },
		"collector takes 40 % of the CPU": func(d *runtimemetrics.Delta) { d.GCShare = 0.4 },
		"5.0 goroutines wait for locks":   func(d *runtimemetrics.Delta) { d.MutexWait = 5 },
	} {
		d := calm
		change(&d)
		c.sample(d)
		if why, _, armed := c.store.Armed(); !armed || !strings.Contains(why, name) {
			t.Errorf("want armed because %s, got %v %q", name, armed, why)
		}
		c.store.Disarm()
	}
	if n := len(bundles(t, tel)); n != 0 {
		t.Errorf("%d captures for early signs alone", n)
	}
	full := calm
	full.Headroom = runtimemetrics.Headroom{Ratio: 0.01, By: "host"}
	c.sample(full) // others may have filled it
	full.Headroom.By = "gomemlimit"
	c.sample(full)
	c.sample(full)
	eventually(t, "a capture", func() bool { return len(bundles(t, tel)) > 0 })
	if all := bundles(t, tel); all[0].Kind != "memory" || all[0].Detail != "1.0 % of the memory limit is left" {
		t.Errorf("%+v", all[0].Manifest)
	}
}

func TestCapturesPage(t *testing.T) {
	tel := start(t, Config{Captures: capture.Config{Dir: t.TempDir(), CPUProfile: time.Millisecond}, Interval: time.Hour})
	if got := bodyOf(t, ask(tel, "GET", "/debug/captures")); !strings.Contains(got, "no captures yet; to make one: curl -X POST") {
		t.Error(got)
	}
	made := ask(tel, "POST", "/debug/captures?reason=it+is+slow%0Anow")
	path := strings.Split(strings.TrimSpace(bodyOf(t, made)), "\n")
	if made.StatusCode != http.StatusCreated || len(path) != 2 {
		t.Fatal(made.Status, path)
	}
	if got := bodyOf(t, ask(tel, "GET", "/debug/captures")); !strings.Contains(got, path[1]) || !strings.Contains(got, "manual: it is slow now") && !strings.Contains(got, `manual: it is slow\nnow`) {
		t.Error(got)
	}
	var listed struct{ Captures []capture.Bundle }
	if err := json.NewDecoder(ask(tel, "GET", "/debug/captures", "Accept", "application/json").Body).Decode(&listed); err != nil || len(listed.Captures) != 1 {
		t.Fatal(err, listed)
	}
	name := listed.Captures[0].Name

	download := ask(tel, "GET", path[1])
	if got := download.Header.Get("Content-Disposition"); got != `attachment; filename="`+name+`.tar.gz"` {
		t.Error(got)
	}
	unzip, err := gzip.NewReader(download.Body)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]bool{}
	for r := tar.NewReader(unzip); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimPrefix(h.Name, name+"/")] = true
	}
	for _, f := range []string{"manifest.json", "goroutine.pprof", "heap.pprof", "cpu.pprof", "metrics.txt", "traces.txt", "runtime.txt"} {
		if !files[f] {
			t.Errorf("no %s in %v", f, files)
		}
	}
	if got := bodyOf(t, ask(tel, "GET", "/debug/captures/"+name+"/metrics.txt")); !strings.Contains(got, "observe_build_info") {
		t.Errorf("metrics.txt: %.200s", got)
	}
	for _, path := range []string{"/debug/captures/none.tar.gz", "/debug/captures/..%2f..%2fetc.tar.gz", "/debug/captures/" + name, "/debug/captures/" + name + "/..%2f..%2fx", "/debug/captures/" + name + "/none"} {
		if r := ask(tel, "GET", path); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, r.Status)
		}
	}
	// From elsewhere, or from a page of elsewhere.
	for _, header := range [][]string{{"RemoteAddr", "192.0.2.1:1"}, {"X-Forwarded-For", "127.0.0.1"}, {"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, {"Origin", "https://example.com"}} {
		if r := ask(tel, "POST", "/debug/captures", header...); r.StatusCode != http.StatusForbidden {
			t.Errorf("%v: %s", header, r.Status)
		}
	}
	if n := len(bundles(t, tel)); n != 1 {
		t.Errorf("%d captures", n)
	}
}

func TestCapturesThatCannotBeKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), Config{AdminAddr: Off, Captures: capture.Config{Dir: filepath.Join(file, "x"), PerDay: -1}}); err == nil ||
		!strings.Contains(err.Error(), "Config.Captures: Config.PerDay: -1 is negative") {
		t.Error(err)
	}
	// Nobody asked for the default: the service starts without.
	t.Setenv("XDG_CACHE_HOME", file)
	tel := start(t, Config{})
	if _, err := tel.Capture(t.Context(), "now"); err == nil || !strings.Contains(err.Error(), "captures are off: capture: mkdir") {
		t.Error(err)
	}
	if r := ask(tel, "GET", "/debug/captures"); r.StatusCode != http.StatusNotFound || !strings.Contains(bodyOf(t, r), "captures are off") {
		t.Error(r.Status)
	}
}

func TestCaptureOnDemand(t *testing.T) {
	tel := start(t, Config{Captures: capture.Config{Dir: t.TempDir(), CPUProfile: -1}})
	dir, err := tel.Capture(t.Context(), "a customer calls")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "manifest.json")); err != nil {
		t.Error(err)
	}
	var none *Telemetry
	if _, err := none.Capture(t.Context(), ""); err == nil {
		t.Error("a nil Telemetry captured")
	}
}

// What was hot before is in memory already.
func TestBundleHoldsTheProfileBefore(t *testing.T) {
	tel := start(t, Config{Captures: capture.Config{Dir: t.TempDir(), CPUProfile: -1}, Interval: time.Hour, ProfileEvery: time.Hour})
	tel.profiler.mu.Lock()
	tel.profiler.kept = []keptProfile{{data: []byte("old")}, {data: []byte("last")}}
	tel.profiler.mu.Unlock()
	dir, err := tel.Capture(t.Context(), "now")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "cpu-before.pprof")); err != nil || string(got) != "last" {
		t.Errorf("%v: %q", err, got)
	}
}

// A capture that fails is counted, logged and told on the page.
func TestFailedCaptureIsTold(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "captures")
	var logged lines
	tel := start(t, Config{Captures: capture.Config{Dir: dir, CPUProfile: -1}, Interval: time.Hour, Logger: logged.logger()})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // where the directory was
		t.Fatal(err)
	}
	if _, err := tel.Capture(t.Context(), "now"); err == nil {
		t.Fatal("captured into a file")
	}
	if n := family(t, tel, "observe_captures_failed_total")[""].GetCounter().GetValue(); n != 1 {
		t.Errorf("counted %v", n)
	}
	if got := logged.String(); !strings.Contains(got, "observe: a capture failed") || !strings.Contains(got, "not a directory") {
		t.Error(got)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if got := bodyOf(t, ask(tel, "GET", "/debug/captures")); !strings.Contains(got, "the last failure was at 20") || !strings.Contains(got, "not a directory") {
		t.Error(got)
	}
	var page struct{ Failed struct{ Error string } }
	if err := json.NewDecoder(ask(tel, "GET", "/debug/captures?format=json").Body).Decode(&page); err != nil || !strings.Contains(page.Failed.Error, "not a directory") {
		t.Errorf("%v: %+v", err, page)
	}
}
