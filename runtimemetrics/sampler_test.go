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
			if n := d.Wakeup.Count(); n < 40 || n > 70 {
				t.Errorf("%d probes in 5 s, want about 50", n)
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
