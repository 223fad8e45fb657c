package observe

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/loadline-go/loadline/tracing"
)

func TestCacheShowsItsState(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, tel *Telemetry) {
		var s held[CacheStats]
		c := tel.Cache("prices", func(context.Context) (CacheStats, error) { return s.get(), nil })
		time.Sleep(time.Second) // between two questions
		for _, name := range []string{"requests_total", "evictions_total", "entries", "size_bytes", "capacity"} {
			wantValues(t, tel, "observe_cache_"+name, map[string]float64{})
		}
		s.set(CacheStats{Hits: 9, Misses: 1, Evictions: 2, Entries: 3, Bytes: 4, Capacity: 5})
		time.Sleep(5 * time.Second)
		wantValues(t, tel, "observe_cache_requests_total", map[string]float64{"prices hit": 9, "prices miss": 1})
		for name, want := range map[string]float64{"evictions_total": 2, "entries": 3, "size_bytes": 4, "capacity": 5} {
			wantValues(t, tel, "observe_cache_"+name, map[string]float64{"prices": want})
		}
		s.set(CacheStats{Hits: 10})
		time.Sleep(5 * time.Second)
		wantValues(t, tel, "observe_cache_entries", map[string]float64{"prices": 0})
		second := tel.Cache("prices", func(context.Context) (CacheStats, error) { return CacheStats{Hits: 5, Misses: 2}, nil })
		synctest.Wait()
		wantValues(t, tel, "observe_cache_requests_total", map[string]float64{"prices hit": 15, "prices miss": 2})
		c.Close()
		c.Close()
		second.Close()
		wantValues(t, tel, "observe_cache_requests_total", map[string]float64{})
		if n := len(tel.sources.all); n != 0 {
			t.Errorf("%d sources after the end", n)
		}
	})
}

func TestLoadCountsStampedes(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, tel *Telemetry) {
		c := tel.Cache("prices", nil)
		load := func(key any, d time.Duration) {
			Load(t.Context(), c, key, func(context.Context) (int, error) { time.Sleep(d); return 1, nil })
		}
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { load("a", time.Second) })
		}
		wg.Go(func() { load("b", time.Second) })
		wg.Go(func() { load(3, time.Second) })
		wg.Wait()
		wantValues(t, tel, "observe_cache_stampedes_total", map[string]float64{"prices": 9})
		load("a", time.Second)
		load("a", time.Second) // one after the other
		wantValues(t, tel, "observe_cache_stampedes_total", map[string]float64{"prices": 9})
		load([]int{1}, 0) // cannot be compared
		wantValues(t, tel, "observe_cache_load_duration_seconds", map[string]float64{"prices": 15})
		if n := len(c.loading); n != 0 {
			t.Errorf("%d keys are kept", n)
		}
	})
}

func TestLoadRecordsErrorsAndPanics(t *testing.T) {
	tel := start(t, Config{})
	c := tel.Cache("prices", nil)
	gone := errors.New("gone")
	if v, err := Load(t.Context(), c, "a", func(context.Context) (string, error) { return "half", gone }); v != "half" || err != gone {
		t.Errorf("%q, %v", v, err)
	}
	func() {
		defer func() {
			if recover() != "boom" {
				t.Error("the panic did not go on")
			}
		}()
		Load(t.Context(), c, "a", func(context.Context) (string, error) { panic("boom") })
	}()
	Load(t.Context(), c, "a", func(context.Context) (string, error) { return "", nil })
	wantValues(t, tel, "observe_cache_load_duration_seconds", map[string]float64{"prices": 1, "prices _OTHER": 1, "prices panic": 1})
	wantValues(t, tel, "observe_cache_stampedes_total", map[string]float64{"prices": 0})
}

func TestLoadsThatAreComparedAreBounded(t *testing.T) {
	tel := start(t, Config{})
	c := tel.Cache("prices", nil)
	for i := range uint64(maxLoading + 10) {
		if ok := c.begin(i); ok != (i < maxLoading) {
			t.Fatalf("load %d: %v", i, ok)
		}
	}
	if !c.begin(1) {
		t.Error("a key that is known has room")
	}
	wantValues(t, tel, "observe_cache_stampedes_total", map[string]float64{"prices": 1})
	if n := len(c.loading); n != maxLoading {
		t.Errorf("%d keys", n)
	}
}

func TestLoadHasExemplars(t *testing.T) {
	tel, _ := collect(t, sdktrace.AlwaysSample())
	c := tel.Cache("prices", nil)
	tracing.Do(t.Context(), "request", func(ctx context.Context) error {
		_, err := Load(ctx, c, 1, func(context.Context) (int, error) { return 1, nil })
		return err
	})
	for _, m := range family(t, tel, "observe_cache_load_duration_seconds") {
		if !hasExemplar(m.GetHistogram()) {
			t.Error("no exemplar")
		}
	}
}

func TestLoadAllocations(t *testing.T) {
	c := start(t, Config{}).Cache("prices", nil)
	load := func(context.Context) (int, error) { return 1, nil }
	if got := allocations(1000, func() { Load(t.Context(), c, "key", load) }); got > 0 {
		t.Errorf("%v allocations", got)
	}
}
