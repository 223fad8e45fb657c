package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	exptrace "golang.org/x/exp/trace"

	"github.com/loadline-go/loadline/internal/e2e/server"
)

// A request that waits 300 ms for a lock, once in thousands, is captured: the
// flight recording of the bundle shows the very request, and where it waited,
// and its trace is the one in Jaeger. The storm behind it makes no second one.
// It does not run beside other tests, whose load would make other requests slow.
func TestRareSlowRequestIsCaptured(t *testing.T) {
	lanes(t, func(t *testing.T, _ server.Lane) {
		jaeger := server.StartJaeger(t)
		collector := server.StartCollector(t, server.CollectorConfig{Jaeger: jaeger.GRPC})
		env := append(otlp("grpc", collector.GRPC), "OTEL_TRACES_SAMPLER=always_off")
		s := startSubject(t, env, "-late-slow", "250ms", "-late-factor", "-1", "-captures", t.TempDir())

		locked := func(n int) (traces []string) {
			var mu sync.Mutex
			var wg sync.WaitGroup
			waitOK(t, s.url+"/hold")
			for range n {
				wg.Go(func() {
					resp, err := http.Get(s.url + "/locked")
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
					mu.Lock()
					defer mu.Unlock()
					traces = append(traces, resp.Header.Get("Trace-Id"))
				})
			}
			wg.Wait()
			return traces
		}
		loaded := make(chan measured)
		go func() { loaded <- load(t.Context(), s.url+"/leaf", 10_000, 4, 2000) }()
		time.Sleep(500 * time.Millisecond)
		locked(1) // arms
		if page := fetch(t, s.admin+"/debug/captures", ""); !strings.Contains(page, "the flight recorder is armed for ") {
			t.Fatalf("not armed by a slow request:\n%s", page)
		}
		time.Sleep(time.Second)
		slow := locked(1)
		type bundle struct {
			Name    string
			Kind    string
			Route   string
			TraceID string `json:"trace_id"`
		}
		var page struct{ Captures []bundle }
		server.Eventually(t, 120*time.Second, func() error { // with its CPU profile of 5 s, and its recording read without haste
			if err := json.Unmarshal([]byte(fetch(t, s.admin+"/debug/captures?format=json", "")), &page); err != nil || len(page.Captures) == 0 {
				return fmt.Errorf("no capture: %v", err)
			}
			return nil
		})
		locked(1000)
		if m := <-loaded; m.failed > 0 {
			t.Errorf("%d of %d requests failed", m.failed, m.n)
		}
		if err := json.Unmarshal([]byte(fetch(t, s.admin+"/debug/captures?format=json", "")), &page); err != nil || len(page.Captures) != 1 {
			t.Fatalf("%v; want one capture in spite of the storm, got %+v", err, page.Captures)
		}
		b := page.Captures[0]
		if b.Kind != "slow_request" || b.Route != "GET /locked" || b.TraceID != slow[0] {
			t.Errorf("captured %+v, the slow request was %s", b, slow[0])
		}
		if stack := waitedAt(t, []byte(fetch(t, s.admin+"/debug/captures/"+b.Name+"/trace.out", "")), b.TraceID, "/locked"); !slices.Contains(stack, "main.takeLock") {
			t.Errorf("the request waited at %q", stack)
		}
		account := fetch(t, s.admin+"/debug/captures/"+b.Name+"/doctor.txt", "")
		for _, want := range []string{
			"\nGET /leaf ", "\nGET /locked ", " blocked on a lock, once in main.takeLock (main.go:",
			"The request of this capture: GET /locked, ", ", trace " + b.TraceID + "\n", "until this let it go on\n", "    main.letGo\n",
		} {
			if !strings.Contains(account, want) {
				t.Errorf("no %q in doctor.txt:\n%s", want, account)
			}
		}
		server.Eventually(t, 30*time.Second, func() error {
			if spans := jaeger.Trace(t, b.TraceID); len(spans) != 1 || spans[0].Name != "GET /locked" {
				return fmt.Errorf("in Jaeger: %+v", spans)
			}
			return nil
		})
	}, server.Full)
}

// What making a bundle does to the requests beside it, apart from the seconds of
// the CPU profile: it is reported, not judged, because other work on the machine
// does more. Bundles are made one after the other, with as much time between.
func TestBundleUnderLoad(t *testing.T) {
	lanes(t, func(t *testing.T, _ server.Lane) {
		s := startSubject(t, nil, "-late-slow", "-1s", "-late-factor", "-1", "-captures", t.TempDir(), "-armed", "1", "-cpu-profile", "-1s")
		type sample struct {
			at   time.Time
			took time.Duration
		}
		ctx, stop := context.WithCancel(t.Context())
		var mu sync.Mutex
		var all []sample
		var wg sync.WaitGroup
		const clients = 4
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
		for range clients {
			wg.Go(func() {
				for ctx.Err() == nil {
					began := time.Now()
					resp, err := client.Get(s.url + "/leaf")
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
					mu.Lock()
					all = append(all, sample{began, time.Since(began)})
					mu.Unlock()
				}
			})
		}
		time.Sleep(3 * time.Second) // the recorder's window fills
		type span struct{ from, to time.Time }
		var making, between []span
		for range 2 {
			from := time.Now()
			resp, err := http.Post(s.admin+"/debug/captures?format=json", "", nil)
			if err != nil {
				t.Fatal(err)
			}
			var b struct {
				Seconds float64
				CPU     float64 `json:"cpu_seconds"`
				Bytes   int64
				Files   []struct {
					Name, Missing string
					Bytes         int64
					Seconds       float64
				}
			}
			err = json.NewDecoder(resp.Body).Decode(&b)
			_ = resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusCreated || len(b.Files) == 0 {
				t.Fatalf("%s: %v", resp.Status, err)
			}
			for _, f := range b.Files {
				if f.Missing != "" && f.Name == "trace.out" {
					t.Errorf("without %s: %s", f.Name, f.Missing)
				}
			}
			to := time.Now()
			making = append(making, span{from, to})
			time.Sleep(to.Sub(from))
			between = append(between, span{to, time.Now()})
			t.Logf("made in %.2f s with %.2f s of CPU, %d bytes: %+v", b.Seconds, b.CPU, b.Bytes, b.Files)
		}
		stop()
		wg.Wait()
		client.CloseIdleConnections()
		quantile := func(in []span, q float64) (time.Duration, int) {
			var took []time.Duration
			for _, one := range all {
				if slices.ContainsFunc(in, func(s span) bool { return !one.at.Before(s.from) && one.at.Before(s.to) }) {
					took = append(took, one.took)
				}
			}
			slices.Sort(took)
			if len(took) == 0 {
				t.Fatal("no requests")
			}
			return took[int(q*float64(len(took)))], len(took)
		}
		for _, q := range []float64{0.5, 0.99} {
			with, n := quantile(making, q)
			without, m := quantile(between, q)
			t.Logf("p%g: %v of %d requests while bundles were made, %v of %d between: %+.1f %%", 100*q, with, n, without, m, 100*(float64(with)/float64(without)-1))
		}
	}, server.Full)
}

// waitedAt returns the functions on whose stack the request of a trace was
// blocked longest inside its region, according to an execution trace.
func waitedAt(t *testing.T, recording []byte, traceID, region string) (stack []string) {
	t.Helper()
	r, err := exptrace.NewReader(bytes.NewReader(recording))
	if err != nil {
		t.Fatal(err)
	}
	task := exptrace.NoTask
	running := exptrace.NoGoroutine // in the region
	var since exptrace.Time
	var at []string
	longest := time.Duration(0)
	for {
		e, err := r.ReadEvent()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e.Kind() {
		case exptrace.EventLog:
			if l := e.Log(); l.Category == "trace_id" && l.Message == traceID {
				task = l.Task
			}
		case exptrace.EventRegionBegin:
			if task != exptrace.NoTask && e.Region().Task == task {
				if e.Region().Type != region {
					t.Errorf("the request's region is %q", e.Region().Type)
				}
				running = e.Goroutine()
			}
		case exptrace.EventRegionEnd:
			if running != exptrace.NoGoroutine && e.Region().Task == task {
				running = exptrace.NoGoroutine
			}
		case exptrace.EventStateTransition:
			change := e.StateTransition()
			if change.Resource.Kind != exptrace.ResourceGoroutine || change.Resource.Goroutine() != running {
				continue
			}
			switch _, to := change.Goroutine(); to {
			case exptrace.GoWaiting:
				since, at = e.Time(), nil
				for f := range change.Stack.Frames() {
					at = append(at, f.Func)
				}
			default:
				if at != nil && e.Time().Sub(since) > longest {
					longest, stack = e.Time().Sub(since), at
				}
				at = nil
			}
		}
	}
	if task == exptrace.NoTask {
		t.Fatal("the request is not in the recording")
	}
	if longest < 200*time.Millisecond {
		t.Errorf("the request was blocked for %v at most", longest)
	}
	return stack
}
