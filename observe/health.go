package observe

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"
)

// A Check is one condition under which the service can serve.
type Check struct {
	// Name stands in /readyz and as a label: lower case, few, fixed.
	Name string

	// Timeout bounds one run of Probe.
	// Default: 1 s.
	Timeout time.Duration

	// Probe returns nil when the condition holds. It may be called
	// concurrently with everything else, but never with itself. Its panic
	// counts as a failure.
	Probe func(context.Context) error
}

// Check adds a readiness check; /readyz answers 200 only while all of them
// pass. Checks run when /readyz is asked, at most once a second. Check panics
// when the name or the probe is missing or the name is taken. On a nil
// Telemetry it does nothing.
func (t *Telemetry) Check(c Check) {
	if t == nil {
		return
	}
	t.health.add(c)
}

// Drain makes /readyz fail from now on, so that load balancers send no new
// work. Serve does it by itself. On a nil Telemetry it does nothing.
func (t *Telemetry) Drain() {
	if t == nil {
		return
	}
	t.health.draining.Store(true)
	t.health.ready.Set(0)
}

// Results are kept this long, so that many callers cost what one does.
const checkAge = time.Second

type health struct {
	draining atomic.Bool

	mu      sync.Mutex // held while checks run: callers share one run
	checks  []*readiness
	results []checkResult
	ran     time.Time

	up    *vec[prometheus.Gauge]
	ready prometheus.Gauge
}

// readiness is a check with its state.
type readiness struct {
	Check
	running atomic.Bool // also after the timeout, until the probe returns
}

type checkResult struct {
	name string
	err  string // on one line, empty when the check passed
}

func newHealth(m *metrics) *health {
	h := &health{up: m.gauge(checkUp)}
	h.ready, _ = m.gauge(ready).with()
	h.ready.Set(1)
	return h
}

func (h *health) add(c Check) {
	switch {
	case c.Name == "" || strings.ContainsFunc(c.Name, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) || r == unicode.ReplacementChar }):
		panic(fmt.Sprintf("observe: Check: name %q: want a word", clip(c.Name, 80)))
	case c.Probe == nil:
		panic("observe: Check " + c.Name + ": Probe is nil")
	}
	if c.Timeout <= 0 {
		c.Timeout = time.Second
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if slices.ContainsFunc(h.checks, func(o *readiness) bool { return o.Name == c.Name }) {
		panic("observe: Check " + c.Name + ": the name is taken")
	}
	h.checks = append(h.checks, &readiness{Check: c})
	h.ran = time.Time{}
}

// run returns the results of all checks, not older than checkAge, and whether
// the service can serve.
func (h *health) run(ctx context.Context) ([]checkResult, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ran.IsZero() || time.Since(h.ran) >= checkAge {
		h.results = make([]checkResult, len(h.checks))
		var wg sync.WaitGroup
		for i, c := range h.checks {
			wg.Go(func() { h.results[i] = c.probe(ctx) })
		}
		wg.Wait()
		h.ran = time.Now()
	}
	ok := !h.draining.Load()
	for _, r := range h.results {
		up, _ := h.up.with(r.name)
		up.Set(1)
		if r.err != "" {
			up.Set(0)
			ok = false
		}
	}
	h.ready.Set(0)
	if ok {
		h.ready.Set(1)
		if h.draining.Load() { // Drain came between; its 0 is the last word
			h.ready.Set(0)
			ok = false
		}
	}
	return h.results, ok
}

// probe runs one check and returns when it ends or its time is over, whichever
// is first: a probe that ignores its context must not hang the answer.
func (c *readiness) probe(ctx context.Context) checkResult {
	if !c.running.CompareAndSwap(false, true) {
		return checkResult{name: c.Name, err: "the last run has not ended"}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Timeout) // the caller's going away is no failure of the check
	done := make(chan string, 1)
	go func() {
		defer cancel()
		defer c.running.Store(false)
		done <- c.ask(ctx)
	}()
	select {
	case err := <-done:
		return checkResult{c.Name, err}
	case <-ctx.Done():
		select {
		case err := <-done: // both were ready
			return checkResult{c.Name, err}
		default:
			return checkResult{c.Name, fmt.Sprintf("no answer within %v", c.Timeout)}
		}
	}
}

// ask calls the probe. Its error is turned into text here, where a panic of its
// Error method is caught too.
func (c *readiness) ask(ctx context.Context) (failed string) {
	defer func() {
		if p := recover(); p != nil {
			failed = oneLine(fmt.Sprintf("panic: %v", p))
		}
	}()
	err := c.Probe(ctx)
	if err == nil {
		return ""
	}
	return cmp.Or(oneLine(err.Error()), "an error without text")
}

func (h *health) serveReady(w http.ResponseWriter, r *http.Request) {
	results, ok := h.run(r.Context())
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	h.write(w, results, ok)
}

// write prints one line a check and one for the whole.
func (h *health) write(w io.Writer, results []checkResult, ok bool) {
	for _, r := range results {
		if r.err != "" {
			fmt.Fprintf(w, "failed %s: %s\n", r.name, r.err)
		} else {
			fmt.Fprintf(w, "ok     %s\n", r.name)
		}
	}
	switch {
	case h.draining.Load():
		fmt.Fprintln(w, "not ready: draining")
	case !ok:
		fmt.Fprintln(w, "not ready")
	default:
		fmt.Fprintln(w, "ready")
	}
}

func serveLive(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	io.WriteString(w, "alive\n")
}

// oneLine makes text from elsewhere safe to print on a line of its own: no line
// breaks, no control characters that a terminal would obey, no more than 200 bytes.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return ' '
		}
		return r
	}, clip(s, 800)) // room for what the next step takes away
	return clip(strings.Join(strings.Fields(s), " "), 200)
}
