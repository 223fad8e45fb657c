package span

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// callee is the Describer of a span that waits for party.
type callee struct {
	party        *Party
	failed       bool
	took, behind time.Duration
}

func (*callee) Describe(attrs []attribute.KeyValue, _ bool) []attribute.KeyValue { return attrs }

// waiting is a provider whose children wait for the parties that their describers tell.
func waiting() *Provider {
	p := New(Settings{Sampler: refuse()})
	p.OnWait(func(s *Span) Wait {
		c := s.Describer().(*callee)
		return Wait{c.party, c.failed, c.took, c.behind}
	})
	return p
}

// served begins a root, lets work do something below it and ends it as one of route.
func served(p *Provider, route string, work func(*Span)) {
	s := new(Span)
	p.Begin(s, context.Background(), Options{Name: "GET", Kind: trace.SpanKindServer})
	work(s)
	s.Finish(Outcome{Route: route})
}

func below(p *Provider, s *Span, c *callee) *Span {
	return p.Start(s, Options{Name: "call", Kind: trace.SpanKindClient, Describer: c})
}

// waitedFor checks what the roots of a route waited for.
func waitedFor(t *testing.T, p *Provider, route string, covered time.Duration, want map[*Party]Wait, calls map[*Party]int64) {
	t.Helper()
	got, parties, ok := p.Pace(route).Waited()
	if !ok || got != covered {
		t.Errorf("%s: %v covered (%t), want %v", route, got, ok, covered)
	}
	for _, w := range parties {
		n, failed, took := w.Totals()
		if is := want[w.Party]; took != is.Took || n != calls[w.Party] || (failed > 0) != is.Failed {
			t.Errorf("%s: %s: %d calls, %d failed, %v; want %d, %v", route, w.Party.Name, n, failed, took, calls[w.Party], is)
		}
	}
	if len(parties) != len(want) {
		t.Errorf("%s: %d parties, want %d", route, len(parties), len(want))
	}
}

func TestWaitsBesideEachOtherCoverTheirTimeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := waiting()
		a, b := &Party{Name: "a"}, &Party{Name: "b"}
		served(p, "/both", func(s *Span) {
			time.Sleep(time.Second)
			one := below(p, s, &callee{party: a})
			time.Sleep(2 * time.Second)
			two := below(p, s, &callee{party: b})
			time.Sleep(3 * time.Second)
			one.Finish(Outcome{}) // 1 to 6
			time.Sleep(4 * time.Second)
			two.Finish(Outcome{}) // 3 to 10
			time.Sleep(time.Second)
			below(p, s, &callee{party: a, failed: true}).Finish(Outcome{Took: 2 * time.Second}) // 11 to 13
			time.Sleep(5 * time.Second)
		})
		waitedFor(t, p, "/both", 11*time.Second, map[*Party]Wait{a: {Took: 7 * time.Second, Failed: true}, b: {Took: 7 * time.Second}}, map[*Party]int64{a: 2, b: 1})
		served(p, "/both", func(s *Span) {
			outer := below(p, s, &callee{party: a})
			time.Sleep(time.Second)
			inner := below(p, outer, &callee{party: b}) // as a statement within a Call
			time.Sleep(time.Second)
			inner.Finish(Outcome{})
			outer.Finish(Outcome{})
		})
		waitedFor(t, p, "/both", 13*time.Second, map[*Party]Wait{a: {Took: 9 * time.Second, Failed: true}, b: {Took: 8 * time.Second}}, map[*Party]int64{a: 3, b: 2})
	})
}

func TestOnlyClientsAndProducersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := waiting()
		a := &Party{Name: "a"}
		served(p, "/work", func(s *Span) {
			work := p.Start(s, Options{Name: "render", Describer: &callee{party: a}})
			time.Sleep(time.Second)
			work.Finish(Outcome{})
			process := p.Start(s, Options{Name: "process", Kind: trace.SpanKindConsumer, Describer: &callee{party: a}})
			time.Sleep(time.Second)
			process.Finish(Outcome{})
			send := p.Start(s, Options{Name: "send", Kind: trace.SpanKindProducer, Describer: &callee{party: a}})
			time.Sleep(time.Second)
			send.Finish(Outcome{})
		})
		waitedFor(t, p, "/work", time.Second, map[*Party]Wait{a: {Took: time.Second}}, map[*Party]int64{a: 1})
	})
}

func TestAWaitEndsWithTheAnswerAndGoesOnForWhatIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := waiting()
		a := &Party{Name: "a"}
		answered := func(c *callee) func(*Span) {
			return func(s *Span) {
				k := below(p, s, c)
				time.Sleep(time.Second)
				k.Answered(time.Second)
				time.Sleep(3 * time.Second)
				k.Finish(Outcome{})
				time.Sleep(time.Second)
			}
		}
		served(p, "/closed", answered(&callee{party: a, took: time.Second}))
		waitedFor(t, p, "/closed", time.Second, map[*Party]Wait{a: {Took: time.Second}}, map[*Party]int64{a: 1})
		served(p, "/read", answered(&callee{party: a, took: 3 * time.Second, behind: 2 * time.Second}))
		waitedFor(t, p, "/read", 3*time.Second, map[*Party]Wait{a: {Took: 3 * time.Second}}, map[*Party]int64{a: 1})
		served(p, "/beside", func(s *Span) {
			k := below(p, s, &callee{party: a, took: 4 * time.Second, behind: 3 * time.Second})
			time.Sleep(time.Second)
			k.Answered(time.Second)
			time.Sleep(2 * time.Second)
			other := below(p, s, &callee{party: a}) // 3 to 5
			time.Sleep(time.Second)
			k.Finish(Outcome{}) // from 1 to 4
			time.Sleep(time.Second)
			other.Finish(Outcome{})
		})
		waitedFor(t, p, "/beside", 5*time.Second, map[*Party]Wait{a: {Took: 6 * time.Second}}, map[*Party]int64{a: 2})
	})
}

func TestARootWaitsNoLongerThanItLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := waiting()
		a := &Party{Name: "a"}
		var left, answered, late *Span
		served(p, "/left", func(s *Span) {
			time.Sleep(time.Second)
			left = below(p, s, &callee{party: a})
			answered = below(p, s, &callee{party: a, took: time.Second})
			time.Sleep(time.Second)
			answered.Answered(time.Second)
			time.Sleep(time.Second)
			late = s
		})
		waitedFor(t, p, "/left", 2*time.Second, map[*Party]Wait{}, nil) // whom it waited for is not known yet
		behind := below(p, late, &callee{party: a})
		time.Sleep(time.Hour)
		left.Finish(Outcome{})
		answered.Answered(time.Hour)
		answered.Finish(Outcome{})
		behind.Finish(Outcome{})
		waitedFor(t, p, "/left", 2*time.Second, map[*Party]Wait{a: {Took: 3 * time.Second}}, map[*Party]int64{a: 2})
	})
}

func TestWhatWasDiscardedOrIsAStreamIsNoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := waiting()
		a := &Party{Name: "a"}
		served(p, "/skipped", func(s *Span) {
			k := below(p, s, &callee{party: a})
			time.Sleep(time.Second)
			k.Discard()
			time.Sleep(time.Second)
			k = below(p, s, &callee{party: a})
			time.Sleep(time.Second)
			k.Finish(Outcome{})
		})
		waitedFor(t, p, "/skipped", time.Second, map[*Party]Wait{a: {Took: time.Second}}, map[*Party]int64{a: 1})
		var s Span
		p.Begin(&s, context.Background(), Options{Name: "GET"})
		k := below(p, &s, &callee{party: a})
		time.Sleep(time.Second)
		k.Finish(Outcome{})
		s.Finish(Outcome{Route: "/socket", Stream: true})
		waitedFor(t, p, "/socket", 0, nil, nil)
	})
}

// A trace may have more spans than are remembered, and more parties.
func TestNoWaitIsLostToTheBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := waiting()
		a := &Party{Name: "a"}
		served(p, "/loop", func(s *Span) {
			for range 1000 {
				k := below(p, s, &callee{party: a})
				time.Sleep(time.Millisecond)
				k.Finish(Outcome{})
			}
		})
		waitedFor(t, p, "/loop", time.Second, map[*Party]Wait{a: {Took: time.Second}}, map[*Party]int64{a: 1000})

		served(p, "/many", func(s *Span) {
			for range 100 {
				k := below(p, s, &callee{party: new(Party)})
				time.Sleep(time.Second)
				k.Finish(Outcome{})
			}
		})
		for range 10 {
			served(p, "/many", func(s *Span) { below(p, s, &callee{party: new(Party)}).Finish(Outcome{Took: time.Second}) })
		}
		_, parties, _ := p.Pace("/many").Waited()
		var calls int64
		var took time.Duration
		for _, w := range parties {
			n, _, each := w.Totals()
			calls, took = calls+n, took+each
		}
		if calls != 110 || took != 110*time.Second || len(parties) > maxParties {
			t.Errorf("%d calls, %v, %d parties", calls, took, len(parties))
		}
	})
}

func TestRoutesThatShareAPaceHaveNoAccount(t *testing.T) {
	p := waiting()
	for i := range maxRoutes {
		p.Pace(string(rune(i + 1)))
	}
	a := &Party{Name: "a"}
	served(p, "one too many", func(s *Span) { below(p, s, &callee{party: a}).Finish(Outcome{Took: time.Second}) })
	if _, parties, ok := p.Pace("one too many").Waited(); ok || len(parties) > 0 {
		t.Error("it has one")
	}
	var none *Provider
	if _, _, ok := none.Pace("x").Waited(); ok {
		t.Error("a nil Provider has one")
	}
}

func TestWaitsCostNoAllocation(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	p := waiting()
	c := [4]*callee{}
	for i := range c {
		c[i] = &callee{party: new(Party)}
	}
	state := new(Span)
	request := func(n int) float64 {
		return testing.AllocsPerRun(1000, func() {
			*state = Span{}
			p.Begin(state, context.Background(), Options{Name: "GET", Kind: trace.SpanKindServer})
			for i := range n {
				below(p, state, c[i]).Finish(Outcome{})
			}
			state.Finish(Outcome{Route: "/"})
		})
	}
	if got := request(2); got != 1 { // of the family and its first spans
		t.Errorf("%v allocations with two parties", got)
	}
	if got := request(4); got != 2 { // and of the next spans
		t.Errorf("%v allocations with four parties", got)
	}
}

// BenchmarkWaits is a root with two children that wait for two parties.
func BenchmarkWaits(b *testing.B) {
	p := waiting()
	c := [2]*callee{{party: new(Party)}, {party: new(Party)}}
	pace := p.Pace("/")
	b.ReportAllocs()
	for b.Loop() {
		s := new(Span)
		p.Begin(s, context.Background(), Options{Name: "GET", Kind: trace.SpanKindServer})
		for _, c := range c {
			below(p, s, c).Finish(Outcome{})
		}
		s.Finish(Outcome{Route: "/", Pace: pace})
	}
}
