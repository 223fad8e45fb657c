package span

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

func serve(p *Provider, route string, took time.Duration, failed bool) {
	var s Span
	p.Begin(&s, context.Background(), Options{Name: "GET"})
	s.Finish(Outcome{End: s.StartTime().Add(took), Route: route, Failed: failed})
}

func TestTheSlowestAndTheFailedOfEachRouteAreKeptWithoutAnExporter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Settings{Sampler: refuse()})
		for i := range 100 {
			serve(p, "/a", time.Duration(i%50+1)*time.Millisecond, false)
			serve(p, "/b", time.Millisecond, i == 20)
			time.Sleep(time.Millisecond)
		}
		of := func(route string) (slow []time.Duration, failed int) {
			for _, r := range p.Recent() {
				switch {
				case r.Route != route:
				case r.Failed:
					failed++
				default:
					slow = append(slow, r.Duration)
				}
			}
			return slow, failed
		}
		slow, failed := of("/a")
		if len(slow) != 3 || failed != 0 {
			t.Fatalf("%v slow, %d failed", slow, failed)
		}
		for _, d := range slow {
			if d < 49*time.Millisecond {
				t.Errorf("%v is among the slowest", d)
			}
		}
		if _, failed := of("/b"); failed != 1 {
			t.Errorf("%d failed", failed)
		}
		// What is no longer recent gives way to what is.
		time.Sleep(recentWindow + time.Second)
		for range 10 {
			serve(p, "/a", time.Millisecond, false)
		}
		if slow, _ := of("/a"); len(slow) != 3 || slow[0] != time.Millisecond || slow[2] != time.Millisecond {
			t.Errorf("after the window: %v", slow)
		}
	})
}

func TestRecentTracesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Settings{Sampler: refuse()})
		for i := range 400 {
			for range 10 {
				serve(p, fmt.Sprint("/", i), time.Millisecond, false)
				serve(p, fmt.Sprint("/", i), time.Millisecond, true)
				time.Sleep(failedEvery)
			}
		}
		if n := len(p.Recent()); n != recentRoutes*2*recentEach {
			t.Errorf("%d traces", n)
		}
		s := p.Start(context.Background(), Options{Name: "wide"})
		for range 100 {
			p.Start(s, Options{Name: "c"}).Finish(Outcome{})
		}
		p.late.pace("/0").lastFailed.Store(0)
		s.SetAttributes(attribute.String("long", strings.Repeat("x", 10_000)))
		s.Finish(Outcome{Route: "/0", Failed: true})
		r := p.Recent()[0]
		if len(r.Spans) != recentSpans || r.Lost != 101-recentSpans || len(r.Spans[0].Attributes["long"]) > maxText+3 {
			t.Errorf("%d spans, %d lost", len(r.Spans), r.Lost)
		}
	})
}

func TestAStormOfErrorsIsCopiedSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Settings{Sampler: refuse()})
		copies := 0
		w := p.late.pace("/")
		for range 1000 {
			before := w.lastFailed.Load()
			serve(p, "/", time.Millisecond, true)
			if w.lastFailed.Load() != before {
				copies++
			}
			time.Sleep(time.Millisecond)
		}
		if copies != 10 {
			t.Errorf("%d of 1000 within a second", copies)
		}
	})
}

func TestAWaterfallShowsWhatRanWhenAndBelowWhom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Settings{Sampler: refuse(), IDs: new(counter), Late: Late{Budget: -1}})
		s := p.Start(context.Background(), Options{Name: "GET /orders", Kind: trace.SpanKindServer})
		time.Sleep(100 * time.Millisecond)
		q := p.Start(s, Options{Name: "SELECT orders", Kind: trace.SpanKindClient})
		d := p.Start(q, Options{Name: "dial"})
		time.Sleep(300 * time.Millisecond)
		d.Finish(Outcome{})
		q.SetStatus(codes.Error, "deadlock")
		q.Finish(Outcome{Failed: true})
		open := p.Start(s, Options{Name: "audit"})
		time.Sleep(400 * time.Millisecond)
		s.SetAttributes(attribute.Int("n", 1))
		s.AddEvent("retry")
		s.Finish(Outcome{Failed: true, Route: "GET /orders"})
		open.Finish(Outcome{})
		r := p.Recent()
		if len(r) != 1 {
			t.Fatalf("%d traces", len(r))
		}
		want := `GET /orders  800ms  failed  not exported
trace 00000000000000019e3779b97f4a7c15  2000-01-01 00:00:00.000
       0µs    800ms  ████████████████████████████████  GET /orders  ERROR
     100ms    300ms  ····████████████················    SELECT orders  ERROR deadlock
     100ms    300ms  ····████████████················      dial
     400ms    400ms  ················████████████████    audit  (still running)
`
		if got := r[0].String(); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		text, err := json.Marshal(r[0])
		if err != nil {
			t.Fatal(err)
		}
		var back Trace
		if err := json.Unmarshal(text, &back); err != nil || back.String() != want || back.Spans[0].Attributes["n"] != "1" || back.Spans[0].Events[0].Name != "retry" {
			t.Errorf("JSON: %v\n%s", err, text)
		}
	})
}

func TestABarStaysInItsFrame(t *testing.T) {
	for _, s := range []TraceSpan{
		{}, {Offset: -1, Duration: -1}, {Offset: time.Hour, Duration: time.Hour}, {Offset: 1, Duration: time.Hour}, {Duration: 1 << 62},
	} {
		for _, whole := range []time.Duration{-1, 0, 1, time.Second} {
			if n := len([]rune(Trace{Duration: whole}.bar(s))); n != barWidth {
				t.Errorf("%+v of %v: %d characters", s, whole, n)
			}
		}
	}
}

func TestAWaterfallKeepsHostileTextOnItsLine(t *testing.T) {
	out := Trace{Route: "GET /a\nb", Spans: []TraceSpan{{Name: "x\r\n\x1b[31m", Attributes: map[string]string{"url.path": strings.Repeat("é", 1000)}}}}.String()
	if n := strings.Count(out, "\n"); n != 3 || strings.ContainsAny(out, "\r\x1b") || len(out) > 1000 {
		t.Errorf("%d lines: %q", n, out)
	}
}

func TestSpansThatNeverEndAreListedWithTheirAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Settings{Sampler: refuse()})
		root := p.Start(context.Background(), Options{Name: "worker"})
		_, forgotten := p.Tracer("lib").Start(root, "forgotten", trace.WithSpanKind(trace.SpanKindClient))
		time.Sleep(time.Minute)
		p.Start(root, Options{Name: "ended"}).Finish(Outcome{})
		p.Start(root, Options{Name: "young"})
		root.Finish(Outcome{})
		p.Start(context.Background(), Options{Name: "never"})
		time.Sleep(time.Minute)
		got := p.Open(90 * time.Second)
		if len(got) != 1 || got[0].Name != "forgotten" || got[0].Age != 2*time.Minute || !got[0].Ended || got[0].Root != "worker" || got[0].Scope != "lib" || got[0].Kind != "client" {
			t.Errorf("%+v", got)
		}
		if all := p.Open(0); len(all) != 3 {
			t.Errorf("%+v", all)
		}
		forgotten.End()
		if got := p.Open(90 * time.Second); len(got) != 0 {
			t.Errorf("ended, yet listed: %+v", got)
		}
	})
}

func TestLookingAtTracesMayCrossTheirWork(t *testing.T) {
	p := New(Settings{Sampler: refuse()})
	stop := make(chan bool)
	var watch, work sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = p.Open(0)
				for _, r := range p.Recent() {
					_ = r.String()
				}
			}
		}
	})
	for range 4 {
		work.Go(func() {
			for i := range 300 {
				st := &state{method: "GET"}
				p.Begin(&st.Span, context.Background(), Options{Name: "GET", Describer: st})
				_, c := p.Tracer("lib").Start(&st.Span, "c", trace.WithAttributes(attribute.Int("i", i)))
				if i%3 == 0 {
					c.End()
				}
				st.status = i
				st.Finish(Outcome{Failed: i%7 == 0, Route: fmt.Sprint(i % 10)})
				c.SetAttributes(attribute.Int("late", i))
				c.End()
			}
		})
	}
	work.Wait()
	close(stop)
	watch.Wait()
	if len(p.Recent()) == 0 || p.Stats().Live != 0 {
		t.Errorf("%d recent, %d live", len(p.Recent()), p.Stats().Live)
	}
}
