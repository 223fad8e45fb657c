package observe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// inBubble runs f with a Telemetry whose clock is the test's.
func inBubble(t *testing.T, config Config, f func(t *testing.T, tel *Telemetry)) {
	synctest.Test(t, func(t *testing.T) {
		config.Captures = noCaptures
		tel := start(t, config)
		f(t, tel)
		if err := tel.Shutdown(t.Context()); err != nil { // what runs in the bubble ends in it
			t.Error(err)
		}
	})
}

// held is what a test changes while another goroutine reads it.
type held[T any] struct {
	mu sync.Mutex
	v  T
}

func (h *held[T]) set(v T) { h.mu.Lock(); h.v = v; h.mu.Unlock() }
func (h *held[T]) get() T  { h.mu.Lock(); defer h.mu.Unlock(); return h.v }

func TestQueueShowsItsDepth(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, tel *Telemetry) {
		d := held[Depth]{v: Depth{Length: 3}}
		stop := tel.Queue("orders", func(context.Context) (Depth, error) { return d.get(), nil })
		time.Sleep(2 * time.Second) // between two questions
		wantValues(t, tel, "observe_queue_length", map[string]float64{"orders": 3})
		for _, name := range []string{"capacity", "unacknowledged", "consumers", "oldest_age_seconds", "added_total", "taken_total"} {
			wantValues(t, tel, "observe_queue_"+name, map[string]float64{}) // not known
		}
		next := func(depth Depth) {
			d.set(depth)
			time.Sleep(5 * time.Second) // Config.Interval
		}
		next(Depth{Length: 4, Capacity: 10, Unacked: 2, Consumers: 1, Oldest: time.Minute, Added: 9, Taken: 5})
		for name, want := range map[string]float64{"length": 4, "capacity": 10, "unacknowledged": 2, "consumers": 1, "oldest_age_seconds": 60, "added_total": 9, "taken_total": 5} {
			wantValues(t, tel, "observe_queue_"+name, map[string]float64{"orders": want})
		}
		next(Depth{Capacity: 10, Added: 9, Taken: 9})
		for name, want := range map[string]float64{"length": 0, "unacknowledged": 0, "consumers": 0, "oldest_age_seconds": 0} {
			wantValues(t, tel, "observe_queue_"+name, map[string]float64{"orders": want}) // known to be none
		}
		other := tel.Queue("orders", func(context.Context) (Depth, error) { return Depth{Length: 5, Capacity: 5, Oldest: time.Hour}, nil })
		next(Depth{Length: 1, Capacity: 10, Oldest: time.Minute})
		for name, want := range map[string]float64{"length": 6, "capacity": 15, "oldest_age_seconds": 3600} {
			wantValues(t, tel, "observe_queue_"+name, map[string]float64{"orders": want})
		}
		stop()
		stop()
		wantValues(t, tel, "observe_queue_length", map[string]float64{"orders": 5})
		other()
		wantValues(t, tel, "observe_queue_length", map[string]float64{})
		if n := len(tel.sources.all); n != 0 {
			t.Errorf("%d sources after the end", n)
		}
	})
}

// A server that does not answer: no scrape waits, no old value is shown, no second question is asked.
func TestAQueueThatCannotBeReadIsAbsent(t *testing.T) {
	var log lines
	inBubble(t, Config{Logger: log.logger()}, func(t *testing.T, tel *Telemetry) {
		var read held[func(ctx context.Context) (Depth, error)]
		var calls atomic.Int64
		time.Sleep(time.Second) // so that what follows falls between two questions
		works := func(context.Context) (Depth, error) { return Depth{Length: 1}, nil }
		for _, c := range []struct {
			name     string
			read     func(context.Context) (Depth, error)
			failures float64 // after three intervals
			known    bool
		}{
			{"works", works, 0, true},
			{"fails", func(context.Context) (Depth, error) { return Depth{Length: 7}, errors.New("connection\nrefused") }, 3, false},
			{"works again", works, 3, true},
			{"panics", func(context.Context) (Depth, error) { panic("boom") }, 6, false},
			{"is slow", func(ctx context.Context) (Depth, error) { time.Sleep(4 * time.Second); return Depth{Length: 7}, nil }, 6, true},
			{"heeds its context", func(ctx context.Context) (Depth, error) { <-ctx.Done(); return Depth{}, ctx.Err() }, 8, false}, // of the third the end is still to come
		} {
			read.set(c.read)
			if c.name == "works" {
				tel.Queue("orders", func(ctx context.Context) (Depth, error) { calls.Add(1); return read.get()(ctx) })
				time.Sleep(time.Second)
			}
			time.Sleep(15 * time.Second)
			got := values(t, tel, "observe_queue_length")
			if _, known := got["orders"]; known != c.known {
				t.Errorf("%s: %v", c.name, got)
			}
			failures := values(t, tel, "observe_source_failures_total")["orders queue"]
			if failures != c.failures {
				t.Errorf("%s: %v failures, want %v", c.name, failures, c.failures)
			}
		}
		time.Sleep(time.Minute)
		release := make(chan struct{})
		read.set(func(context.Context) (Depth, error) { <-release; return Depth{Length: 2}, nil })
		time.Sleep(10 * time.Second)
		asked := calls.Load()
		time.Sleep(time.Hour)
		if n := calls.Load(); n != asked {
			t.Errorf("asked %d times while it did not answer", n-asked)
		}
		wantValues(t, tel, "observe_queue_length", map[string]float64{})
		close(release)
		synctest.Wait()
		wantValues(t, tel, "observe_queue_length", map[string]float64{"orders": 2})
	})
	if n := strings.Count(log.String(), "the state of a queue is not known"); n < 2 || n > 65 || !strings.Contains(log.String(), "connection refused") {
		t.Errorf("%d warnings in about an hour, want one a minute at most:\n%.2000s", n, log.String())
	}
}

func TestShutdownDoesNotWaitForAQueueForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := start(t, Config{Captures: noCaptures})
		release := make(chan struct{})
		tel.Queue("orders", func(context.Context) (Depth, error) { <-release; return Depth{}, nil })
		synctest.Wait()
		began := time.Now()
		tel.ending.Store(true) // the end of the test is not to see this failure
		err := tel.end(withTimeout(t, 10*time.Second))
		if err == nil || !strings.Contains(err.Error(), "Queue") {
			t.Errorf("%v: does not say what hung", err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("took %v", took)
		}
		close(tel.done)
		close(release)
		tel.Queue("late", func(context.Context) (Depth, error) { t.Error("asked after the end"); return Depth{}, nil })()
	})
}

func withTimeout(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestNamesOfQueuesCachesAndStreamsAreBounded(t *testing.T) {
	inBubble(t, Config{MaxSeries: 5}, func(t *testing.T, tel *Telemetry) {
		for i := range 100 {
			name := fmt.Sprintf("%d\xff%s", i, strings.Repeat("x", 300))
			tel.Queue(name, func(context.Context) (Depth, error) { return Depth{Length: 1}, nil })
			tel.Cache(name, func(context.Context) (CacheStats, error) { return CacheStats{Hits: 1}, nil })
			io.WriteString(tel.Stream(name).Writer(io.Discard), "x")
			NewChannel[int](tel, name, 1).Send(t.Context(), i)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		for name, want := range map[string]float64{"observe_queue_length": 200, "observe_cache_requests_total": 100, "observe_stream_bytes_total": 100} {
			got, sum := values(t, tel, name), 0.0
			for _, v := range got {
				sum += v
			}
			if len(got) > 12 || sum != want { // 6 names, of which streams and caches have two series
				t.Errorf("%s: %d series that add up to %v, want %v", name, len(got), sum, want)
			}
		}
	})
}

func TestQueuesAndCachesOfANilTelemetry(t *testing.T) {
	var tel *Telemetry
	tel.Queue("a", func(context.Context) (Depth, error) { t.Error("asked"); return Depth{}, nil })()
	start(t, Config{}).Queue("a", nil)()
	c := tel.Cache("a", func(context.Context) (CacheStats, error) { t.Error("asked"); return CacheStats{}, nil })
	if v, err := Load(t.Context(), c, 1, func(context.Context) (int, error) { return 2, io.EOF }); v != 2 || err != io.EOF {
		t.Error(v, err)
	}
	c.Close()
	s := tel.Stream("a")
	if r := strings.NewReader("x"); s.Reader(r) != io.Reader(r) || s.Writer(io.Discard) != io.Discard {
		t.Error("wrapped for nothing")
	}
	ch := NewChannel[int](tel, "a", 1)
	if err := ch.Send(t.Context(), 1); err != nil {
		t.Error(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ch.Send(ended, 2); err != context.Canceled {
		t.Error(err)
	}
	ch.Close()
	if v, err := ch.Receive(t.Context()); v != 1 || err != nil {
		t.Error(v, err)
	}
	if _, err := ch.Receive(t.Context()); err != io.EOF {
		t.Error(err)
	}
}

// Which side waits is seen while it waits.
func TestChannelTellsWhichSideWaits(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, tel *Telemetry) {
		c := NewChannel[int](tel, "resize", 2)
		blocked := func(send, receive float64) {
			t.Helper()
			wantValues(t, tel, "observe_queue_blocked_seconds_total", map[string]float64{"resize send": send, "resize receive": receive})
		}
		sent := make(chan error, 3)
		for i := range 3 {
			sent <- c.Send(t.Context(), i)
			if i == 1 {
				go func() { time.Sleep(30 * time.Second); c.Receive(t.Context()) }()
				time.Sleep(10 * time.Second)
				blocked(0, 0)
			}
		}
		for range 3 {
			if err := <-sent; err != nil {
				t.Error(err)
			}
		}
		blocked(20, 0)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		wantValues(t, tel, "observe_queue_length", map[string]float64{"resize": 2})
		wantValues(t, tel, "observe_queue_capacity", map[string]float64{"resize": 2})
		wantValues(t, tel, "observe_queue_added_total", map[string]float64{"resize": 3})
		wantValues(t, tel, "observe_queue_taken_total", map[string]float64{"resize": 1})

		// Two senders and one that gives up; all of them are still waiting at first.
		short, cancel := context.WithTimeout(t.Context(), 40*time.Second)
		defer cancel()
		go c.Send(t.Context(), 3)
		go func() {
			if err := c.Send(short, 4); err != context.DeadlineExceeded {
				t.Error(err)
			}
		}()
		time.Sleep(30 * time.Second)
		blocked(20+2*30, 0)
		time.Sleep(30 * time.Second)
		blocked(20+60+40, 0)
		c.Receive(t.Context())
		synctest.Wait()
		c.Close()
		n := 0
		for range c.All(t.Context()) {
			n++
		}
		if n != 2 {
			t.Errorf("%d items were left, want 2", n)
		}

		// The totals outlive a channel, its items and its room do not.
		d := NewChannel[string](tel, "resize", 7)
		go d.Receive(t.Context())
		time.Sleep(15 * time.Second)
		blocked(120, 15)
		wantValues(t, tel, "observe_queue_capacity", map[string]float64{"resize": 7})
		wantValues(t, tel, "observe_queue_added_total", map[string]float64{"resize": 4})
		d.Close()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		wantValues(t, tel, "observe_queue_capacity", map[string]float64{"resize": 0})
		wantValues(t, tel, "observe_queue_length", map[string]float64{"resize": 0})
	})
}

func TestChannelCarriesEveryItemOnce(t *testing.T) {
	tel := start(t, Config{})
	const n, workers = 2000, 4
	for _, capacity := range []int{0, 3} {
		c := NewChannel[int](tel, fmt.Sprint("c", capacity), capacity)
		var seen [n]int
		var mu sync.Mutex
		var senders, receivers sync.WaitGroup
		for w := range workers {
			senders.Go(func() {
				for i := w; i < n; i += workers {
					if err := c.Send(t.Context(), i); err != nil {
						t.Error(err)
					}
				}
			})
			receivers.Go(func() {
				for i := range c.All(t.Context()) {
					mu.Lock()
					seen[i]++
					mu.Unlock()
				}
			})
		}
		senders.Wait()
		c.Close()
		receivers.Wait()
		for i, times := range seen {
			if times != 1 {
				t.Fatalf("item %d arrived %d times", i, times)
			}
		}
		if added, taken := c.all.added.Load(), c.all.taken.Load(); added != n || taken != n {
			t.Errorf("added %d, taken %d", added, taken)
		}
		if len(c.all.all) != 0 {
			t.Error("a channel that is closed and empty is kept")
		}
	}
}

func TestChannelAllocations(t *testing.T) {
	c := NewChannel[int](start(t, Config{}), "c", 1)
	if got := allocations(1000, func() { c.Send(t.Context(), 1); c.Receive(t.Context()) }); got > 0 {
		t.Errorf("%v allocations", got)
	}
}

func BenchmarkChannel(b *testing.B) {
	b.Run("bare", func(b *testing.B) {
		c := make(chan int, 1)
		for b.Loop() {
			c <- 1
			<-c
		}
	})
	b.Run("counted", func(b *testing.B) {
		c := NewChannel[int](start(b, Config{}), "c", 1)
		ctx := b.Context()
		for b.Loop() {
			c.Send(ctx, 1)
			c.Receive(ctx)
		}
	})
}
