package span

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

func TestWhyARefusedTraceIsKept(t *testing.T) {
	for _, c := range []struct {
		name   string
		late   Late
		during func(*Span)
		took   time.Duration
		out    Outcome
		want   string
	}{
		{name: "it went well", took: time.Millisecond},
		{name: "it failed", out: Outcome{Failed: true}, want: "error"},
		{name: "it panicked", out: Outcome{Panicked: true, Failed: true}, want: "panic"},
		{name: "its status is an error", during: func(s *Span) { s.SetStatus(codes.Error, "x") }, want: "error"},
		{name: "its status is well", during: func(s *Span) { s.SetStatus(codes.Ok, "") }},
		{name: "it was marked", during: (*Span).Keep, want: "marked"},
		{name: "a child of it was marked", during: func(s *Span) { s.scope().p.Start(s, Options{Name: "c"}).Keep() }, want: "marked"},
		{name: "a child of it failed", during: func(s *Span) { s.scope().p.Start(s, Options{Name: "c"}).Finish(Outcome{Failed: true}) }},
		{name: "it was as slow as the default", took: time.Second, want: "slow"},
		{name: "it was nearly as slow", took: time.Second - 1},
		{name: "it was slow for the setting", late: Late{Slow: time.Millisecond}, took: time.Millisecond, want: "slow"},
		{name: "slow is off", late: Late{Slow: -1, Factor: -1}, took: time.Hour},
		{name: "a stream is never slow", took: time.Hour, out: Outcome{Stream: true}},
		{name: "a job takes its time", took: time.Hour, out: Outcome{Job: true}},
		{name: "a stream that failed", took: time.Hour, out: Outcome{Stream: true, Failed: true}, want: "error"},
		{name: "late sampling is off", late: Late{Budget: -1}, out: Outcome{Panicked: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, arrived := provider(t, Settings{Sampler: refuse(), Late: c.late})
			var s Span
			p.Begin(&s, context.Background(), Options{Name: "root"})
			if c.during != nil {
				c.during(&s)
			}
			c.out.End = s.StartTime().Add(c.took)
			s.Finish(c.out)
			got := ""
			for _, r := range arrived() {
				for _, a := range r.Attributes {
					if a.Key == KeepReason {
						got = a.Value.AsString()
					}
				}
			}
			if got != c.want {
				t.Errorf("kept for %q, want %q", got, c.want)
			}
			if kept := p.Stats().KeptLate; (kept == 1) != (c.want != "") {
				t.Errorf("counted %d", kept)
			}
		})
	}
}

func TestSlowForItsRoute(t *testing.T) {
	p, arrived := provider(t, Settings{Sampler: refuse(), Late: Late{Slow: -1}})
	serve := func(route string, took time.Duration) {
		var s Span
		p.Begin(&s, context.Background(), Options{Name: "GET"})
		s.Finish(Outcome{End: s.StartTime().Add(took), Route: route})
	}
	serve("/slow", 20*time.Second) // nothing is known yet: nothing is slow
	for range 1000 {
		serve("/slow", 100*time.Millisecond)
		serve("/fast", 100*time.Microsecond)
	}
	if n := len(arrived()); n != 0 {
		t.Fatalf("%d were kept while all were alike", n)
	}
	serve("/slow", 290*time.Millisecond)
	serve("/fast", 9*time.Millisecond) // ninety times the p99, yet below what is slow for anybody
	if n := len(arrived()); n != 0 {
		t.Errorf("%d were kept below the bound", n)
	}
	serve("/fast", 11*time.Millisecond)
	serve("/slow", 400*time.Millisecond)
	if n := len(arrived()); n != 2 {
		t.Errorf("%d of 2 slow ones were kept", n)
	}
}

func TestThePaceFollowsTheRoute(t *testing.T) {
	w := new(Pace)
	feed := func(n int, low, high time.Duration) {
		for range n {
			if rand.Uint32()&7 == 0 || w.count.Load() < paceLearn {
				w.observe(low + rand.N(high-low))
			}
		}
	}
	feed(2000, time.Millisecond, 101*time.Millisecond)
	check := func(want time.Duration) {
		t.Helper()
		// The upper edge of a bucket of a quarter octave: at most a quarter above.
		if got := time.Duration(w.p99.Load()); got < want*9/10 || got > want*5/4 {
			t.Errorf("p99 %v, want about %v", got, want)
		}
	}
	check(100 * time.Millisecond)
	feed(400_000, 10*time.Millisecond, 11*time.Millisecond)
	check(11 * time.Millisecond)
	feed(100_000, time.Second, 2*time.Second)
	check(2 * time.Second)
}

func TestEveryDurationFallsBelowTheEdgeOfItsBucket(t *testing.T) {
	for d := time.Duration(1); d > 0 && d < 200*time.Hour; d = d*9/8 + 1 {
		i := bucketOf(d)
		if up := upperOf(i); int64(d) >= up || d > 8 && int64(d) < up*3/4-1 {
			t.Fatalf("%d is in the bucket below %d", d, up)
		}
	}
	if bucketOf(-1) != 0 || bucketOf(1<<62) >= 256 {
		t.Error("out of range")
	}
}

func TestRoutesAreBounded(t *testing.T) {
	p, _ := provider(t, Settings{Sampler: refuse()})
	for i := range maxRoutes + 100 {
		var s Span
		p.Begin(&s, context.Background(), Options{Name: "GET"})
		s.Finish(Outcome{Route: fmt.Sprint("/", i)})
	}
	if n := len(*p.late.routes.Load()); n != maxRoutes {
		t.Errorf("%d routes are known", n)
	}
}

func TestTheBudgetBoundsAnErrorStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, arrived := provider(t, Settings{Sampler: refuse(), Late: Late{Budget: 5}})
		defer p.Shutdown(context.Background())
		storm := func() {
			for range 100 {
				s := p.Start(context.Background(), Options{Name: "root"})
				s.Finish(Outcome{Failed: true})
			}
		}
		storm()
		if n := len(arrived()); n != 5 {
			t.Errorf("%d kept at once", n)
		}
		time.Sleep(400 * time.Millisecond)
		storm()
		if n := len(arrived()); n != 7 {
			t.Errorf("%d kept after 0.4 s more", n)
		}
		time.Sleep(time.Hour)
		storm()
		if n := len(arrived()); n != 12 {
			t.Errorf("%d kept after an hour: it was saved up", n)
		}
		if st := p.Stats(); st.KeptLate != 12 || st.OverBudget != 288 {
			t.Errorf("counted %+v", st)
		}
	})
}

func TestSpansBeyondTheTracesBoundAreCounted(t *testing.T) {
	p, arrived := provider(t, Settings{Sampler: refuse(), Late: Late{SpansPerTrace: 10}})
	var s Span
	p.Begin(&s, context.Background(), Options{Name: "root"})
	for range 25 {
		p.Start(&s, Options{Name: "child"}).Finish(Outcome{})
	}
	s.Finish(Outcome{Failed: true})
	if n := len(arrived()); n != 11 {
		t.Errorf("%d arrived", n)
	}
	e := p.Stats().Exporters[0]
	if e.Produced != 26 || e.Exported != 11 || e.Dropped[reasonTraceSize] != 15 {
		t.Errorf("%+v", e)
	}
}

func TestTracesBeyondTheBoundGiveUpTheOldest(t *testing.T) {
	p, arrived := provider(t, Settings{Sampler: refuse(), Late: Late{Traces: 16, Budget: 1e6}})
	const n = 400
	roots := make([]*Span, n)
	for i := range roots {
		roots[i] = p.Start(context.Background(), Options{Name: "root"})
		for range 2 {
			p.Start(roots[i], Options{Name: "child"}).Finish(Outcome{})
		}
	}
	if st := p.Stats(); st.Live > 16 || st.Live+st.Evicted != n {
		t.Errorf("%+v", st)
	}
	for _, r := range roots {
		r.Finish(Outcome{Failed: true})
	}
	st := p.Stats()
	got := len(arrived())
	e := st.Exporters[0]
	if e.Produced != 3*n || got != n+2*(n-int(st.Evicted)) || int(e.Dropped[reasonTraceSize]) != 3*n-got || st.Live != 0 {
		t.Errorf("%d arrived: %+v", got, st)
	}
}

func TestSpansThatEndAfterTheRootShareItsFate(t *testing.T) {
	for _, fails := range []bool{true, false} {
		p, arrived := provider(t, Settings{Sampler: refuse()})
		var s Span
		p.Begin(&s, context.Background(), Options{Name: "root"})
		before := p.Start(&s, Options{Name: "began before"})
		s.Finish(Outcome{Failed: fails})
		after := p.Start(&s, Options{Name: "began after"})
		below := p.Start(before, Options{Name: "below"})
		for _, c := range []*Span{before, after, below} {
			c.Finish(Outcome{})
		}
		var childless Span
		p.Begin(&childless, context.Background(), Options{Name: "childless"})
		childless.Finish(Outcome{Failed: fails})
		p.Start(&childless, Options{Name: "its first"}).Finish(Outcome{})
		want := 0
		if fails {
			want = 6
		}
		if n := len(arrived()); n != want {
			t.Errorf("failed %v: %d arrived, want %d", fails, n, want)
		}
		if n := p.Stats().Live; n != 0 {
			t.Errorf("failed %v: %d families stay", fails, n)
		}
	}
}

func TestEveryChildIsExportedOnceHoweverTheEndsCross(t *testing.T) {
	p, arrived := provider(t, Settings{Sampler: refuse(), Late: Late{Budget: 1e9}})
	const rounds, kids = 300, 4
	for range rounds {
		var s Span
		p.Begin(&s, context.Background(), Options{Name: "root"})
		var wg sync.WaitGroup
		for range kids {
			wg.Go(func() {
				c := p.Start(&s, Options{Name: "child"})
				c.SetAttributes(attribute.Int("a", 1))
				c.Finish(Outcome{})
				c.End()
			})
		}
		wg.Go(func() { s.Finish(Outcome{Failed: true}) })
		wg.Wait()
		if e := p.Stats().Exporters[0]; e.Queued > 1000 {
			arrived()
		}
	}
	if n := len(arrived()); n != rounds*(kids+1) {
		t.Errorf("%d arrived, want %d", n, rounds*(kids+1))
	}
	if n := p.Stats().Live; n != 0 {
		t.Errorf("%d families stay", n)
	}
}

// watcher is a user's processor.
type watcher struct {
	mu     sync.Mutex
	starts []string
	ends   []string
}

func (w *watcher) OnStart(_ context.Context, s sdktrace.ReadWriteSpan) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.starts = append(w.starts, s.Name())
	s.SetAttributes(attribute.String("tenant", "a"))
}

func (w *watcher) OnEnd(s sdktrace.ReadOnlySpan) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ends = append(w.ends, s.Name())
}
func (*watcher) Shutdown(context.Context) error   { return nil }
func (*watcher) ForceFlush(context.Context) error { return nil }

func TestAProcessorSeesALateSpanStartAndEnd(t *testing.T) {
	w := new(watcher)
	p, arrived := provider(t, Settings{Sampler: refuse(), Processors: []sdktrace.SpanProcessor{w}})
	for _, fails := range []bool{false, true} {
		s := p.Start(context.Background(), Options{Name: fmt.Sprint("root ", fails)})
		p.Start(s, Options{Name: fmt.Sprint("child ", fails)}).Finish(Outcome{})
		s.Finish(Outcome{Failed: fails})
	}
	want := []string{"child true", "root true"}
	if !slices.Equal(w.starts, want) || !slices.Equal(w.ends, want) {
		t.Errorf("starts %v, ends %v", w.starts, w.ends)
	}
	for _, s := range arrived() {
		if !slices.Contains(s.Attributes, attribute.String("tenant", "a")) {
			t.Errorf("%s lacks what the processor set: %v", s.Name, s.Attributes)
		}
	}
}

func TestARefusedChildOfASampledRootStaysRefused(t *testing.T) {
	p, arrived := provider(t, Settings{Sampler: sdktrace.ParentBased(sdktrace.AlwaysSample(), sdktrace.WithLocalParentSampled(sdktrace.NeverSample()))})
	s := p.Start(context.Background(), Options{Name: "root"})
	p.Start(s, Options{Name: "child"}).Finish(Outcome{})
	s.Finish(Outcome{Failed: true})
	if got := arrived(); len(got) != 1 || len(got[0].Attributes) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestAKeptTraceIsWholeAndAsItWas(t *testing.T) {
	p, arrived := provider(t, Settings{Sampler: refuse()})
	link := trace.Link{SpanContext: remoteContext()}
	s := p.Start(remote(0, "x=1"), Options{Name: "server", Kind: trace.SpanKindServer})
	ctx, c := p.Tracer("lib", trace.WithInstrumentationVersion("3")).Start(s, "query", trace.WithSpanKind(trace.SpanKindClient), trace.WithLinks(link))
	c.SetAttributes(attribute.String("db.system.name", "postgresql"))
	c.RecordError(errors.New("gone"))
	_, d := p.Tracer("lib").Start(ctx, "dial")
	d.End()
	c.End()
	live := tracetest.SpanStubFromReadOnlySpan(c.(sdktrace.ReadOnlySpan))
	s.Finish(Outcome{Failed: true})
	got := arrived()
	if len(got) != 3 {
		t.Fatalf("%d arrived", len(got))
	}
	// As it was, but for the flag that processors look at.
	live.SpanContext = live.SpanContext.WithTraceFlags(trace.FlagsSampled)
	i := slices.IndexFunc(got, func(s tracetest.SpanStub) bool { return s.Name == "query" })
	sameSpans(t, "kept", tracetest.SpanStubs{live}, got[i:i+1])
	if state := got[i].SpanContext.TraceState().String(); state != "x=1" {
		t.Errorf("trace state %q", state)
	}
}

func TestSpansBeyondTheBoundsThatStillRunAreNotLost(t *testing.T) {
	for _, late := range []Late{{SpansPerTrace: 2}, {Traces: 16}} {
		p, arrived := provider(t, Settings{Sampler: refuse(), Late: late})
		root := p.Start(context.Background(), Options{Name: "root"})
		var running []*Span
		for range 5 {
			running = append(running, p.Start(root, Options{Name: "running"}))
			p.Start(root, Options{Name: "ended"}).Finish(Outcome{})
		}
		for range 400 { // until the family is evicted, when that is the bound
			p.Start(context.Background(), Options{Name: "other"})
		}
		running[0].Finish(Outcome{}) // before the fate is known
		root.Finish(Outcome{Failed: true})
		for _, s := range running[1:] {
			s.Finish(Outcome{})
		}
		n := len(arrived())
		e := p.Stats().Exporters[0]
		// The root, ten below it: each is exported or lost, never both.
		if e.Produced != 11 || e.Exported != int64(n) || e.Exported+e.Dropped[reasonTraceSize] != 11 || n < 5 {
			t.Errorf("%+v: %d arrived: %+v", late, n, e)
		}
	}
}
