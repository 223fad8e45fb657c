package runtimemetrics

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestSamplerSamplesEachInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var deltas []Delta
		s := &Sampler{OnSample: func(d Delta) { deltas = append(deltas, d) }}
		done := make(chan struct{})
		go func() { s.Run(ctx); close(done) }()

		synctest.Wait()
		if _, ok := s.Latest(); ok {
			t.Error("Latest knows an interval after one sample")
		}
		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		if len(deltas) != 12 {
			t.Errorf("%d samples in a minute, want 12", len(deltas))
		}
		for _, d := range deltas {
			if d.Interval != 5*time.Second {
				t.Errorf("an interval of %v", d.Interval)
			}
			if n := d.Wakeup.Count(); n < 70 || n > 140 {
				t.Errorf("probes that stand for %d times 50 ms in 5 s, want about 100", n)
			}
		}
		if d, ok := s.Last(30 * time.Second); !ok || d.Interval != 30*time.Second {
			t.Errorf("Last(30 s) covers %v, %t", d.Interval, ok)
		}
		if d, ok := s.Last(time.Hour); !ok || d.Interval != time.Minute {
			t.Errorf("Last(1 h) covers %v, %t", d.Interval, ok)
		}
		n := 0
		for range s.Deltas() {
			n++
		}
		if n != 12 {
			t.Errorf("%d deltas kept, want 12", n)
		}
		cancel()
		<-done
	})
}

func TestNilSamplerIsOff(t *testing.T) {
	var s *Sampler
	s.Run(t.Context())
	if _, ok := s.Latest(); ok {
		t.Error("a nil Sampler knows something")
	}
	for range s.Deltas() {
		t.Error("a nil Sampler has deltas")
	}
}

func TestProbeIsDenseOnlyAfterALateOne(t *testing.T) {
	p := probe{mean: 100 * time.Millisecond}
	now := time.Now()
	spread := func() (least, most time.Duration, weight uint64) {
		least = time.Hour
		for range 1000 {
			wake, w := p.next(now)
			least, most, weight = min(least, wake.Sub(now)), max(most, wake.Sub(now)), w
		}
		return least, most, weight
	}
	p.woke(now, lateProbe)
	if least, most, weight := spread(); least < 50*time.Millisecond || most > 150*time.Millisecond || most < 140*time.Millisecond || weight != denser {
		t.Errorf("healthy: probes after %v to %v, weight %d", least, most, weight)
	}
	p.woke(now, lateProbe+1)
	if least, most, weight := spread(); least < 10*time.Millisecond || most > 30*time.Millisecond || weight != 1 {
		t.Errorf("after a late one: probes after %v to %v, weight %d", least, most, weight)
	}
	now = now.Add(denseFor)
	if least, _, _ := spread(); least < 50*time.Millisecond {
		t.Errorf("long after a late one: a probe after %v", least)
	}
}

func TestProbeOfAProcessAlwaysLateIsDenseATenthOfTheTime(t *testing.T) {
	p := probe{mean: 100 * time.Millisecond}
	begin := time.Now()
	now := begin
	var dense time.Duration
	for now.Sub(begin) < 10*time.Minute {
		wake, weight := p.next(now)
		if weight == 1 {
			dense += wake.Sub(now)
		}
		now = wake
		p.woke(now, time.Second)
	}
	if share := dense.Seconds() / now.Sub(begin).Seconds(); share < .05 || share > .12 {
		t.Errorf("dense %.2f of the time", share)
	}
}

func TestSamplerWithoutAProbeKnowsNoLateness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 11*time.Second)
		defer cancel()
		s := &Sampler{Probe: -1}
		s.Run(ctx)
		d, ok := s.Latest()
		if !ok || d.Wakeup.Known() {
			t.Errorf("Latest %t, lateness known %t", ok, d.Wakeup.Known())
		}
		if s.cost.samples != 4 || s.cost.probes != 0 {
			t.Errorf("%d samples and %d probes, want one at the start, two in 11 s, one at the end", s.cost.samples, s.cost.probes)
		}
	})
}

func TestSamplerKeepsABoundedRing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		s := &Sampler{Keep: 3, Interval: time.Minute, Probe: -1}
		s.Run(ctx)
		var lengths []time.Duration
		for d := range s.Deltas() {
			lengths = append(lengths, d.Interval)
		}
		if len(lengths) != 2 || lengths[0] != time.Minute {
			t.Errorf("kept intervals of %v", lengths)
		}
	})
}

func TestSecondRunPanics(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var s Sampler
	s.Run(ctx)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	s.Run(ctx)
}
