package observe

import (
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/internal/span"
	"github.com/loadline-go/loadline/observe/capture"
	"github.com/loadline-go/loadline/runtimemetrics"
	"github.com/loadline-go/loadline/tracing"
)

// A condition is followed through time without a Telemetry: how often it fires.
func TestConditionMustLast(t *testing.T) {
	start := time.Unix(0, 0)
	var l lasting
	heard := true
	fired, begun := 0, 0
	at := start
	step := func(v float64) {
		at = at.Add(5 * time.Second)
		d := &runtimemetrics.Delta{Time: at, Interval: 5 * time.Second}
		if l.step(d, v > 1, v < 0.8, 15*time.Second, func() bool { fired++; return heard }) {
			begun++
		}
	}
	for i, s := range []struct {
		values       []float64
		fired, begun int
	}{
		{[]float64{0, 2, 2, 0, 2, 2, 0}, 0, 2},    // never for 15 s
		{[]float64{2, 2, 2, 2, 2, 2}, 1, 1},       // once, however long
		{[]float64{0.9, 0.7, 0.9, 2, 2, 2}, 0, 0}, // not calm for long enough
		{[]float64{0.7, 0.7, 2, 0.7, 0.7, 0.7}, 0, 0},
		{[]float64{2, 2, 2}, 1, 1}, // calm before: again
	} {
		fired, begun = 0, 0
		for _, v := range s.values {
			step(v)
		}
		if fired != s.fired || begun != s.begun {
			t.Errorf("step %d: fired %d times, began %d times; want %d, %d", i, fired, begun, s.fired, s.begun)
		}
	}
	// What was not heard, in the cool-down of another, is told again while it lasts.
	l, heard, fired = lasting{}, false, 0
	for range 5 {
		step(2)
	}
	heard = true
	step(2)
	step(2)
	if fired != 4 {
		t.Errorf("fired %d times, want 3 in vain and one that was heard", fired)
	}
	// Unknown is neither there nor gone.
	l, fired = lasting{}, 0
	for range 10 {
		step(math.NaN())
	}
	if fired != 0 || l.on {
		t.Error("what is not known has fired")
	}
}

func TestStatesAreCaptured(t *testing.T) {
	calm := runtimemetrics.Delta{Interval: 5 * time.Second, SchedP99: time.Millisecond, CPUShare: 0.2, QuotaShare: math.NaN(), Headroom: runtimemetrics.Headroom{Ratio: 0.5, By: "cgroup"}}
	calm.Now.Goroutines.Total = 100
	with := func(change func(*runtimemetrics.Delta)) runtimemetrics.Delta {
		d := calm
		change(&d)
		return d
	}
	for _, c := range []struct {
		kind, detail string
		limits       Triggers
		d            runtimemetrics.Delta
	}{
		{"sched_delay", "ready goroutines wait for 150ms, timers are 0µs late (p99)", Triggers{}, with(func(d *runtimemetrics.Delta) { d.SchedP99 = 150 * time.Millisecond })},
		{"sched_delay", "ready goroutines wait for 1.00ms, timers are 120ms late (p99)", Triggers{}, with(func(d *runtimemetrics.Delta) { d.WakeupP99 = 120 * time.Millisecond })},
		{"", "", Triggers{SchedDelay: -1}, with(func(d *runtimemetrics.Delta) { d.SchedP99 = time.Second })},
		{"", "", Triggers{SchedDelay: time.Second}, with(func(d *runtimemetrics.Delta) { d.SchedP99 = 150 * time.Millisecond })},
		{"cpu", "the process uses 93 % of its processors", Triggers{}, with(func(d *runtimemetrics.Delta) { d.CPUShare = 0.93 })},
		{"cpu", "the process uses 99 % of its CPU limit", Triggers{}, with(func(d *runtimemetrics.Delta) { d.QuotaShare = 0.99 })},
		{"", "", Triggers{CPUShare: -1}, with(func(d *runtimemetrics.Delta) { d.CPUShare = 1 })},
		{"", "", Triggers{}, with(func(d *runtimemetrics.Delta) { d.CPUShare = math.NaN() })},
		{"goroutines", "there are 5000 goroutines, 100 are usual", Triggers{}, with(func(d *runtimemetrics.Delta) { d.Now.Goroutines.Total = 5000 })},
		{"", "", Triggers{}, with(func(d *runtimemetrics.Delta) { d.Now.Goroutines.Total = 1000 })}, // ten times as many, but few
		{"", "", Triggers{Goroutines: -1}, with(func(d *runtimemetrics.Delta) { d.Now.Goroutines.Total = 1e6 })},
		{"memory", "4.0 % of the memory limit is left", Triggers{}, with(func(d *runtimemetrics.Delta) { d.Headroom.Ratio = 0.04 })},
		{"", "", Triggers{}, with(func(d *runtimemetrics.Delta) { d.Headroom.Ratio, d.Headroom.By = 0.04, "host" })},
	} {
		t.Run(c.kind+c.detail, func(t *testing.T) {
			tel := start(t, Config{Captures: capture.Config{Dir: t.TempDir(), CPUProfile: -1, CoolDown: time.Nanosecond}, Triggers: c.limits, Interval: time.Hour})
			at := time.Now()
			pass := func(d runtimemetrics.Delta, n int) {
				for range n {
					at = at.Add(d.Interval)
					d.Time = at
					tel.captures.judge(&d)
				}
			}
			pass(calm, 20)
			pass(c.d, 2)
			if c.kind != "" && c.kind != "memory" {
				if why, _, armed := tel.captures.store.Armed(); !armed || why != c.detail {
					t.Errorf("its beginning armed the recorder: %v, %q", armed, why)
				}
			}
			if n := len(bundles(t, tel)); n != 0 && c.kind != "memory" {
				t.Errorf("%d captures before it lasted", n)
			}
			pass(c.d, 1)
			if c.kind == "" {
				pass(c.d, 3)
				if got := &tel.captures.triggers; got.sched.on || got.cpu.on || got.goroutines.on || got.memory.on {
					t.Errorf("%+v", got)
				}
				return
			}
			eventually(t, "a capture", func() bool { return len(bundles(t, tel)) == 1 })
			if b := bundles(t, tel)[0]; b.Kind != c.kind || b.Detail != c.detail {
				t.Errorf("%s: %s", b.Kind, b.Detail)
			}
			// It lasts, and makes no other; it ends and comes again, and makes one.
			eventually(t, "the end of the first", func() bool { return tel.captures.store.Ready(c.kind) })
			pass(c.d, 10)
			pass(calm, 300)
			if n := len(bundles(t, tel)); n != 1 {
				t.Errorf("%d captures of one time", n)
			}
			pass(c.d, 3)
			eventually(t, "a second capture", func() bool { return len(bundles(t, tel)) == 2 })
		})
	}
}

func TestTriggersThatCannotBe(t *testing.T) {
	_, err := Config{AdminAddr: Off, Triggers: Triggers{CPUShare: 90, Goroutines: 0.5}}.withDefaults()
	for _, want := range []string{"Config.Triggers.CPUShare: 90 is not from 0 to 1", "Config.Triggers.Goroutines: 0.5 is not above 1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

// A query in the background is a root of its own, and no request.
func TestOnlyOwnWorkIsSlow(t *testing.T) {
	for kind, want := range map[trace.SpanKind]string{
		trace.SpanKindServer: "slow_request", trace.SpanKindConsumer: "slow_job", trace.SpanKindInternal: "slow_job",
		trace.SpanKindClient: "", trace.SpanKindProducer: "",
	} {
		t.Run(kind.String(), func(t *testing.T) {
			tel := start(t, Config{
				Captures: capture.Config{Dir: t.TempDir(), CPUProfile: -1}, Interval: time.Hour,
				Tracing: tracing.Config{Late: tracing.Late{Slow: time.Nanosecond}},
			})
			root := func() {
				var s span.Span
				tel.provider.Begin(&s, t.Context(), span.Options{Name: "work", Kind: kind, Scope: tel.scope})
				s.Finish(span.Outcome{})
			}
			root()
			if _, _, armed := tel.captures.store.Armed(); armed != (want != "") {
				t.Fatalf("armed: %v", armed)
			}
			root()
			if want == "" {
				if !tel.captures.store.Ready("slow_request") || !tel.captures.store.Ready("slow_job") {
					t.Error("it is captured")
				}
				return
			}
			eventually(t, "a capture", func() bool { return len(bundles(t, tel)) > 0 })
			if b := bundles(t, tel)[0]; b.Kind != want || !strings.HasPrefix(b.Detail, "work took ") {
				t.Errorf("%+v", b.Reason)
			}
		})
	}
}

// The first time arms the recorder, the second one is captured, the rest is the same.
func TestWhatOthersFindIsCaptured(t *testing.T) {
	burning := sloState{SLO: SLO{Name: "pay", Route: "POST /pay", Objective: .999},
		Short: burnRate{Rate: 20, Good: 980, Bad: 20, Over: shortBurn}, Long: burnRate{Rate: 15, Good: 9850, Bad: 150, Over: longBurn}}
	over := burning
	over.Short.Rate = 1
	for want, tell := range map[capture.Reason]func(*captures){
		{Kind: "finding", Detail: "lock-contention GET /orders: 80 % of its time waits for locks"}: func(c *captures) {
			c.finding("lock-contention", "GET /orders", "80 % of its time waits for locks")
		},
		{Kind: "slo_burn", Route: "POST /pay", Detail: "pay: 20 of 1000 requests of the last 5m0s were bad, 20.0 times what the objective of 0.999 allows"}: func(c *captures) {
			c.burning(&runtimemetrics.Delta{Time: time.Now()}, []sloState{{}, burning})
		},
	} {
		t.Run(want.Kind, func(t *testing.T) {
			tel := start(t, Config{Captures: capture.Config{Dir: t.TempDir(), CPUProfile: -1, CoolDown: time.Nanosecond}, Interval: time.Hour})
			c := tel.captures
			tell(c)
			if _, _, armed := c.store.Armed(); !armed || !c.store.Ready(want.Kind) || len(bundles(t, tel)) > 0 {
				t.Error("not armed, or captured before")
			}
			tell(c)
			eventually(t, "a capture", func() bool { return len(bundles(t, tel)) > 0 && c.store.Ready(want.Kind) })
			if b := bundles(t, tel)[0]; b.Reason != want {
				t.Errorf("%+v", b.Reason)
			}
			if want.Kind != "slo_burn" {
				return
			}
			for range 10 {
				tell(c)
			}
			if n := len(bundles(t, tel)); n != 1 {
				t.Errorf("%d captures of one burn", n)
			}
			c.burning(&runtimemetrics.Delta{Time: time.Now()}, []sloState{{}, over})
			tell(c)
			eventually(t, "a capture of the next burn", func() bool { return len(bundles(t, tel)) == 2 })
		})
	}
	off := start(t, Config{Captures: capture.Config{Dir: Off}})
	if off.captures.finding("", "", "") {
		t.Error("captured without captures")
	}
}

// Of its own requests, by the sampler.
func TestBurningBudgetIsCaptured(t *testing.T) {
	tel := start(t, Config{Captures: capture.Config{Dir: t.TempDir(), CPUProfile: -1}, Interval: time.Hour, SLOs: []SLO{{Name: "all", Objective: .99}}})
	if err := tel.captures.store.Arm("the test wants it", time.Minute); err != nil {
		t.Fatal(err)
	}
	h := tel.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusInternalServerError) }))
	for range 2 * leastBad {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	}
	tel.captures.sample(runtimemetrics.Delta{Time: time.Now()})
	eventually(t, "a capture", func() bool { return len(bundles(t, tel)) > 0 })
	if b := bundles(t, tel)[0]; b.Kind != "slo_burn" || !strings.HasPrefix(b.Detail, "all: 20 of 20 requests ") {
		t.Errorf("%+v", b.Reason)
	}
}
