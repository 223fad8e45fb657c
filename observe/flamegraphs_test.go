package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	"github.com/loadline-go/loadline/internal/flame"
	"github.com/loadline-go/loadline/internal/ingest"
	"github.com/loadline-go/loadline/observe/capture"
)

// cpuProfile makes a CPU profile of one function on a route, of these seconds.
func cpuProfile(t testing.TB, function string, at time.Time, seconds int64) []byte {
	f := &profile.Function{ID: 1, Name: function}
	l := &profile.Location{ID: 1, Line: []profile.Line{{Function: f}}}
	p := &profile.Profile{
		SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}},
		PeriodType: &profile.ValueType{Type: "cpu", Unit: "nanoseconds"}, Period: 1e7, TimeNanos: at.UnixNano(), DurationNanos: 10e9,
		Function: []*profile.Function{f}, Location: []*profile.Location{l},
		Sample: []*profile.Sample{{Location: []*profile.Location{l}, Value: []int64{seconds * 100, seconds * 1e9}, Label: map[string][]string{routeLabel: {"/a"}}}},
	}
	var data bytes.Buffer
	if err := p.Write(&data); err != nil {
		t.Fatal(err)
	}
	return data.Bytes()
}

func TestFlameGraphs(t *testing.T) {
	tel := start(t, Config{Captures: capture.Config{Dir: t.TempDir(), CPUProfile: -1}})
	for _, path := range []string{"/debug/pprof/ui", "/debug/pprof/ui/flame.js", "/debug/pprof/ui/flame.css"} {
		if r := ask(tel, "GET", path); r.StatusCode != http.StatusOK || r.Header.Get("Content-Security-Policy") != flame.Policy {
			t.Errorf("%s: %s %v", path, r.Status, r.Header)
		}
	}
	now := time.UnixMilli(1_700_000_000_000)
	tel.profiler.taken(cpuData{bytes: cpuProfile(t, "shop.old", now, 3)})
	tel.profiler.taken(cpuData{bytes: cpuProfile(t, "shop.new", now.Add(time.Minute), 5)})
	if _, err := tel.Capture(t.Context(), "a test"); err != nil {
		t.Fatal(err)
	}
	var all flame.Sources
	if err := json.NewDecoder(ask(tel, "GET", "/debug/pprof/ui/sources").Body).Decode(&all); err != nil {
		t.Fatal(err)
	}
	drawn := 0
	for _, s := range all.Sources {
		if s.Timed {
			continue
		}
		r := ask(tel, "GET", "/debug/pprof/ui/data?profile="+url.QueryEscape(s.ID))
		var g struct {
			Type  string
			Names []string
		}
		if err := json.NewDecoder(r.Body).Decode(&g); err != nil || r.StatusCode != http.StatusOK || g.Type == "" || len(g.Names) == 0 {
			t.Errorf("%s: %s, %v", s.ID, r.Status, err)
		}
		drawn++
	}
	if drawn < 5+2+4 { // now, in the last minutes, in the capture
		t.Errorf("%d profiles on the page: %+v", drawn, all.Sources)
	}
	got := bodyOf(t, ask(tel, "GET", "/debug/pprof/ui/data?profile=ring:1700000060000&base=ring:1700000000000&type=samples&label=route&value=/a"))
	if !strings.Contains(got, `"root":[0,500,300,[[1,500,0,[]],[2,0,300,[]]]]`) || !strings.Contains(got, `"diff":true`) {
		t.Error(got)
	}
	for path, want := range map[string]int{
		"data?profile=":                    http.StatusNotFound,
		"data?profile=" + leakProfile:      http.StatusNotFound,
		"data?profile=nothing":             http.StatusNotFound,
		"data?profile=ring:1":              http.StatusNotFound,
		"data?profile=capture:x/y.pprof":   http.StatusNotFound,
		"data?profile=capture:":            http.StatusNotFound,
		"data?profile=heap&type=cpu":       http.StatusBadRequest,
		"data?profile=heap&base=goroutine": http.StatusBadRequest,
		"data?profile=heap&seconds=1e9":    http.StatusBadRequest,
		"page.html":                        http.StatusNotFound,
	} {
		if r := ask(tel, "GET", "/debug/pprof/ui/"+path); r.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, r.Status, want)
		}
	}
	tel.captures.store.Remove("x")
	bundles, err := tel.captures.store.List()
	if err != nil || len(bundles) != 1 {
		t.Fatal(bundles, err)
	}
	if err := os.WriteFile(filepath.Join(bundles[0].Dir, "heap.pprof"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := ask(tel, "GET", "/debug/pprof/ui/data?profile=capture:"+bundles[0].Name+"/heap.pprof"); r.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("a torn profile: %s", r.Status)
	}
	// From elsewhere nothing of it is answered.
	r := httptest.NewRequest("GET", "/debug/pprof/ui", nil)
	r.RemoteAddr = "192.0.2.1:1"
	w := httptest.NewRecorder()
	if tel.Admin().ServeHTTP(w, r); w.Code != http.StatusForbidden {
		t.Errorf("from elsewhere: %d", w.Code)
	}
}

// FuzzFlameProfile asks for profiles by any name. Beside the captures lies a
// file that no name may lead to.
func FuzzFlameProfile(f *testing.F) {
	top := f.TempDir()
	if err := os.WriteFile(filepath.Join(top, "secret.pprof"), cpuProfile(f, "secret.function", time.Unix(1, 0), 1), 0o600); err != nil {
		f.Fatal(err)
	}
	tel := start(f, Config{Captures: capture.Config{Dir: filepath.Join(top, "captures"), CPUProfile: -1}})
	if _, err := tel.Capture(f.Context(), "a test"); err != nil {
		f.Fatal(err)
	}
	bundles, err := tel.captures.store.List()
	if err != nil {
		f.Fatal(err)
	}
	name := bundles[0].Name
	outside := filepath.Join(bundles[0].Dir, "outside.pprof") // in the bundle, but not of it
	if err := os.Symlink(filepath.Join(top, "secret.pprof"), outside); err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		"heap", "ring:0", "capture:", "capture:/", "capture:../secret.pprof", "capture:" + name + "/../../secret.pprof", "capture:../secret.pprof/",
		"capture:" + name + "/heap.pprof", "capture:" + name + "/outside.pprof", "capture:" + name + "/manifest.json", "capture:..//secret.pprof",
		"capture:" + top + "/secret.pprof", "capture:.\\..\\secret.pprof", "capture:" + name + "\x00/heap.pprof", "ring:\xff", ":", "::", "CPU", leakProfile,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, id string) {
		if id == "profile" || id == wallProfile { // takes its time
			return
		}
		for _, query := range []string{"profile=" + url.QueryEscape(id), "profile=heap&type=inuse_space&base=" + url.QueryEscape(id)} {
			w := httptest.NewRecorder()
			r := httptest.NewRequest("GET", "/debug/pprof/ui/data?"+query, nil)
			r.RemoteAddr, r.Host = "127.0.0.1:1", "localhost"
			tel.Admin().ServeHTTP(w, r)
			if strings.Contains(w.Body.String(), "secret.function") {
				t.Fatalf("%q leads outside", id)
			}
			if w.Code >= 500 {
				t.Fatalf("%q: %d %s", id, w.Code, w.Body)
			}
		}
	})
}

// A goroutine that waits is where its time goes, under the route of its request.
func TestWallTime(t *testing.T) {
	tel := start(t, Config{})
	mux := http.NewServeMux()
	gate, there := make(chan struct{}), make(chan bool)
	mux.HandleFunc("GET /waits", func(http.ResponseWriter, *http.Request) {
		there <- true
		waitsForTheGate(gate)
	})
	h := tel.Handler(mux)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(gate)
	var p *profile.Profile
	var err error
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	taken := make(chan struct{})
	profiles := newProfiles(tel.profiler)
	go func() {
		defer close(taken)
		p, err = profiles.read(ctx, wallProfile, time.Minute)
	}()
	eventually(t, "labels are wanted", tel.server.watched)
	for range 3 {
		wg.Go(func() { h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/waits", nil)) })
	}
	for range 3 {
		<-there
	}
	began := time.Now()
	time.Sleep(300 * time.Millisecond) // what is measured is time
	took := time.Since(began)
	stop()
	<-taken
	if err != nil {
		t.Fatal(err)
	}
	var waited time.Duration
	for _, s := range p.Sample {
		if ingest.HasFunction(s, "observe.waitsForTheGate") {
			waited += time.Duration(s.Value[1])
			if !slices.Equal(s.Label[routeLabel], []string{"/waits"}) {
				t.Errorf("labels %v", s.Label)
			}
		}
		if ingest.HasFunction(s, "observe.lookAtGoroutines") {
			t.Error("what looks is among what is seen")
		}
	}
	// Three goroutines for as long as it took, but for the beginning and the end.
	if longest := 3 * (took + time.Minute/4); waited < 100*time.Millisecond || waited > longest {
		t.Errorf("three goroutines waited %v in %v", waited, took)
	}
	if p.DefaultSampleType != "time" || p.DurationNanos <= 0 {
		t.Errorf("%s in %v", p.DefaultSampleType, time.Duration(p.DurationNanos))
	}
	r := ask(tel, "GET", "/debug/pprof/fgprof?seconds=0.1")
	if _, err := profile.Parse(r.Body); r.StatusCode != http.StatusOK || err != nil || !strings.Contains(r.Header.Get("Content-Disposition"), "fgprof.pprof") {
		t.Errorf("%s, %v, %v", r.Status, err, r.Header)
	}
}

//go:noinline
func waitsForTheGate(gate chan struct{}) { <-gate }
