package timeline

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"runtime/trace"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var update = flag.Bool("update", false, "write the golden pages")

var recordings = []string{"go1.26", "go1.27"}

// recorded is a recording that testdata/record.go made with a version of Go.
func recorded(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open("testdata/" + name + ".trace.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(unzip)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

const lockedID = "00000000000000000000000000000009"

func TestEachWaitIsTold(t *testing.T) {
	for _, version := range recordings {
		t.Run(version, func(t *testing.T) {
			r, err := Account(t.Context(), bytes.NewReader(recorded(t, version)), Question{TraceID: lockedID})
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []struct {
				route string
				state State
				share float64
				at    string
			}{
				{"GET /running", Running, 0.9, ""},
				{"GET /sleep", Sleep, 0.95, "main.main.func3"},
				{"GET /syscall", Syscall, 0.95, "main.main.func4"},
				{"GET /network", Network, 0.95, "main.main.func5"},
				{"GET /client", Network, 0.9, "main.main.func6"},
				{"GET /channel", Channel, 0.95, "main.main.func7"},
				{"GET /group", Channel, 0.95, "main.main.func8"},
				{"GET /locked/{id}", Lock, 0.95, "main.takeLock"},
				{"POST /hold", Sleep, 0.95, "main.hold"},
				{"GET /ready", Ready, 0.9, "main.ready.func2"},
				{"GET /assist", GC, 0.001, ""},
			} {
				i := slices.IndexFunc(r.Routes, func(r Route) bool { return r.Name == want.route })
				if i < 0 {
					t.Errorf("no %s", want.route)
					continue
				}
				route := r.Routes[i]
				if got := route.Times.Share(want.state); got < want.share || route.Requests != 1 {
					t.Errorf("%s: %.3f %s of %d requests, want %.3f of one", want.route, got, want.state, route.Requests, want.share)
				}
				if want.at != "" && (len(route.Places) == 0 || route.Places[0].At.Func != want.at || route.Places[0].State != want.state) {
					t.Errorf("%s: %+v, want %s", want.route, route.Places, want.at)
				}
				if route.Slowest != route.Times.Wall() {
					t.Errorf("%s: took %v, accounted for %v", want.route, route.Slowest, route.Times.Wall())
				}
			}
			if r.Requests != 11 || len(r.Routes) != 11 || r.Open != 1 {
				t.Errorf("%d requests of %d routes, %d open", r.Requests, len(r.Routes), r.Open)
			}
			if !slices.IsSortedFunc(r.Slowest, func(a, b Request) int { return int(b.Times.Wall() - a.Times.Wall()) }) || len(r.Slowest) != keptRequests {
				t.Errorf("the slowest: %+v", r.Slowest)
			}

			q := r.Asked
			if q == nil || q.Route != "GET /locked/{id}" || q.TraceID != lockedID || q.Longest.State != Lock || q.Open {
				t.Fatalf("asked for the locked one, got %+v", q)
			}
			if !has(q.Longest.Stack, "main.takeLock") || !has(q.Longest.By, "main.letGo") || q.Longest.Of != "POST /hold, trace 00000000000000000000000000000008" {
				t.Errorf("waited at %+v\nfor %+v of %s", q.Longest.Stack, q.Longest.By, q.Longest.Of)
			}
		})
	}
}

func has(stack []Frame, fn string) bool {
	return slices.ContainsFunc(stack, func(f Frame) bool { return f.Func == fn })
}

func TestOpenRequestIsTold(t *testing.T) {
	r, err := Account(t.Context(), bytes.NewReader(recorded(t, "go1.26")), Question{TraceID: "0000000000000000000000000000000a"})
	if err != nil || r.Asked == nil {
		t.Fatal(err, r.Asked)
	}
	if !r.Asked.Open || r.Asked.Route != "GET /open" || r.Asked.Longest.State != Channel || r.Asked.Longest.Took < 20*time.Millisecond {
		t.Errorf("%+v", r.Asked)
	}
}

func TestPage(t *testing.T) {
	r, err := Account(t.Context(), bytes.NewReader(recorded(t, "go1.26")), Question{TraceID: lockedID})
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := r.Print(&got); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("testdata/go1.26.txt", got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/go1.26.txt")
	if err != nil || got.String() != string(want) {
		t.Errorf("%v; go test -update, and look at:\n%s", err, got.String())
	}
}

// A recording of this process: whatever version of Go it is.
func TestLive(t *testing.T) {
	f := trace.NewFlightRecorder(trace.FlightRecorderConfig{})
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	defer f.Stop()
	var mu sync.Mutex
	mu.Lock()
	began := time.Now()
	var wg sync.WaitGroup
	var inside time.Duration
	begun := make(chan bool)
	wg.Go(func() {
		ctx, task := trace.NewTask(context.Background(), "GET")
		defer task.End()
		trace.Log(ctx, "trace_id", "live")
		trace.WithRegion(ctx, "/live", func() {
			close(begun)
			inside = since(func() { lockIt(&mu) })
		})
	})
	<-begun
	time.Sleep(20 * time.Millisecond)
	mu.Unlock()
	wg.Wait()
	atMost := time.Since(began)
	var recording bytes.Buffer
	if _, err := f.WriteTo(&recording); err != nil {
		t.Fatal(err)
	}
	r, err := Account(t.Context(), &recording, Question{TraceID: "live"})
	if err != nil {
		t.Fatal(err)
	}
	if r.Asked == nil || r.Asked.Route != "GET /live" || !has(r.Asked.Longest.Stack, "github.com/loadline-go/loadline/internal/timeline.lockIt") ||
		!has(r.Asked.Longest.By, "github.com/loadline-go/loadline/internal/timeline.TestLive") {
		t.Fatalf("%+v", r.Asked)
	}
	// The recorder has a clock of its own, whose rate it estimates.
	if wall := r.Asked.Times.Wall(); wall < inside/2 || wall > 2*atMost || r.Asked.Times[Lock] <= 0 {
		t.Errorf("accounted for %v, of which %v for the lock; it took %v, and no longer than %v", wall, r.Asked.Times[Lock], inside, atMost)
	}
}

func since(f func()) time.Duration { began := time.Now(); f(); return time.Since(began) }

//go:noinline
func lockIt(mu *sync.Mutex) {
	mu.Lock()
	defer mu.Unlock()
}

func TestTornRecordingsAreErrors(t *testing.T) {
	for _, version := range recordings {
		whole := recorded(t, version)
		for _, n := range []int{0, 1, 15, 16, 17, 100, len(whole) / 4, len(whole) / 2, len(whole) - 1} {
			r, err := Account(t.Context(), bytes.NewReader(whole[:n]), Question{})
			if err == nil {
				t.Errorf("%s: %d of %d bytes are no error", version, n, len(whole))
			}
			if r.Requests > 11 {
				t.Errorf("%s: %d requests in %d bytes", version, r.Requests, n)
			}
		}
	}
	if _, err := Account(t.Context(), strings.NewReader("go 1.99 trace\x00\x00\x00"), Question{}); err == nil {
		t.Error("a version that is not known is no error")
	}
}

func TestAccountEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Account(ctx, bytes.NewReader(recorded(t, "go1.26")), Question{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestPaceKeepsItsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, worked := time.Now(), time.Duration(0)
		p := pace{share: 0.2, since: began}
		for range 1000 {
			time.Sleep(30 * time.Microsecond) // work
			worked += 30 * time.Microsecond
			if err := p.keep(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if share := float64(worked) / float64(time.Since(began)); share < 0.19 || share > 0.21 {
			t.Errorf("a share of %.3f", share)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.Sleep(time.Hour)
		time.AfterFunc(time.Minute, cancel)
		if err := p.keep(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("a rest outlived its context: %v", err)
		}
	})
}

// Recordings come from a directory that others may write to.
func FuzzAccount(f *testing.F) {
	for _, version := range recordings {
		whole := recorded(f, version)
		f.Add(whole[:min(len(whole), 20_000)])
		f.Add(whole[:200])
	}
	f.Add([]byte("go 1.26 trace\x00\x00\x00"))
	f.Add([]byte("go 1.11 trace\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, _ := Account(t.Context(), bytes.NewReader(b), Question{})
		if err := r.Print(io.Discard); err != nil {
			t.Error(err)
		}
		for _, route := range r.Routes {
			for s, d := range route.Times {
				if d < 0 {
					t.Errorf("%s: %v %s", route.Name, d, State(s))
				}
			}
		}
	})
}

func BenchmarkAccount(b *testing.B) {
	whole := recorded(b, "go1.26")
	b.SetBytes(int64(len(whole)))
	b.ReportAllocs()
	events := 0
	for b.Loop() {
		r, err := Account(b.Context(), bytes.NewReader(whole), Question{})
		if err != nil {
			b.Fatal(err)
		}
		events += r.Events
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events), "ns/event")
}
