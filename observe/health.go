package observe

import (
	"cmp"
	"context"
	"encoding/json"
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
	"go.opentelemetry.io/otel/trace"
)

// A Check is one condition under which the service can serve.
type Check struct {
	// Name stands in /readyz and as a label: lower case, few, fixed.
	Name string

	// Groups are names of sets to which the check belongs as well as to the
	// whole: /readyz/{group} asks these alone, such as those that a start needs.
	// Default: none.
	Groups []string

	// Timeout bounds one run of Probe.
	// Default: 1 s.
	Timeout time.Duration

	// MaxAge is how long a result stands for those who ask again, so that many
	// callers cost what one does.
	// Default: 1 s.
	MaxAge time.Duration

	// Probe returns nil when the condition holds. It may be called
	// concurrently with everything else, but never with itself. Its panic
	// counts as a failure.
	Probe func(context.Context) error
}

// Check adds a readiness check; /readyz answers 200 only while all of them
// pass, /readyz/{name} while that one or those of that group do, and
// ?exclude={name}, as often as needed, leaves one or a group out. Checks run when they are asked for.
// Check panics when the name or the probe is missing, a name is no word or is taken: names of
// checks and of groups are one namespace. On a nil Telemetry it does nothing.
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

type health struct {
	draining atomic.Bool

	mu     sync.Mutex
	checks []*readiness

	up    *vec[prometheus.Gauge]
	took  *vec[*timing]
	ready prometheus.Gauge
}

// readiness is a check with its state.
type readiness struct {
	Check
	health  *health
	running atomic.Bool // also after the timeout, until the probe returns

	mu   sync.Mutex // held while it runs: callers share one run
	last checkResult
}

type checkResult struct {
	name   string
	err    string        // on one line, empty when the check passed
	result string        // ok, error, panic or timeout
	took   time.Duration // of the run
	at     time.Time     // when it ended
}

func newHealth(m *metrics) *health {
	h := &health{up: m.gauge(checkUp), took: m.histogram(checkDuration)}
	h.ready, _ = m.gauge(ready).with()
	h.ready.Set(1)
	return h
}

func (h *health) add(c Check) {
	for _, name := range append([]string{c.Name}, c.Groups...) {
		if name == "" || strings.ContainsFunc(name, func(r rune) bool {
			return !unicode.IsGraphic(r) || unicode.IsSpace(r) || r == unicode.ReplacementChar || r == '/'
		}) {
			panic(fmt.Sprintf("observe: Check: name %q: want a word", clip(name, 80)))
		}
	}
	switch {
	case c.Probe == nil:
		panic("observe: Check " + c.Name + ": Probe is nil")
	case slices.Contains(c.Groups, c.Name):
		panic("observe: Check " + c.Name + ": the name is taken")
	}
	if c.Timeout <= 0 {
		c.Timeout = time.Second
	}
	if c.MaxAge <= 0 {
		c.MaxAge = time.Second
	}
	c.Groups = slices.Clone(c.Groups)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range h.checks {
		if o.Name == c.Name || slices.Contains(o.Groups, c.Name) || slices.Contains(c.Groups, o.Name) {
			panic("observe: Check " + c.Name + ": the name is taken")
		}
	}
	h.checks = append(h.checks, &readiness{Check: c, health: h})
}

// is tells whether the check is called that, or belongs to the group of that name.
func (c *readiness) is(name string) bool { return c.Name == name || slices.Contains(c.Groups, name) }

// named returns the checks that name stands for, all when it is empty, without
// those that exclude names.
func (h *health) named(name string, exclude []string) (checks []*readiness) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.checks {
		if (name == "" || c.is(name)) && !slices.ContainsFunc(exclude, c.is) {
			checks = append(checks, c)
		}
	}
	return checks
}

// run returns the results of all checks and whether the service can serve.
func (h *health) run(ctx context.Context) ([]checkResult, bool) {
	results, ok := h.ask(ctx, h.named("", nil))
	h.ready.Set(0)
	if ok {
		h.ready.Set(1)
		if h.draining.Load() { // Drain came between; its 0 is the last word
			h.ready.Set(0)
			ok = false
		}
	}
	return results, ok
}

// ask runs the checks at once, those whose last result is not fresh.
func (h *health) ask(ctx context.Context, checks []*readiness) ([]checkResult, bool) {
	results := make([]checkResult, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() { results[i] = c.fresh(ctx) })
	}
	wg.Wait()
	ok := !h.draining.Load()
	for _, r := range results {
		ok = ok && r.err == ""
	}
	return results, ok
}

// fresh returns a result not older than MaxAge.
func (c *readiness) fresh(ctx context.Context) checkResult {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.last.at.IsZero() && time.Since(c.last.at) < c.MaxAge {
		return c.last
	}
	began := time.Now()
	r, ran := c.probe(ctx)
	r.name, r.at = c.Name, time.Now()
	if ran {
		r.took = r.at.Sub(began)
		took, _ := c.health.took.with(c.Name, r.result)
		took.observeFor(r.took, r.at, trace.SpanContext{})
	}
	up, _ := c.health.up.with(c.Name)
	up.Set(0)
	if r.err == "" {
		up.Set(1)
	}
	c.last = r
	return r
}

// probe runs the check and returns when it ends or its time is over, whichever
// is first: a probe that ignores its context must not hang the answer.
func (c *readiness) probe(ctx context.Context) (r checkResult, ran bool) {
	if !c.running.CompareAndSwap(false, true) {
		return checkResult{err: "the last run has not ended", result: "timeout"}, false
	}
	ctx, cancel := context.WithTimeout(untraced(context.WithoutCancel(ctx)), c.Timeout) // the caller's going away is no failure of the check
	done := make(chan checkResult, 1)
	go func() {
		defer cancel()
		ended := false
		defer func() {
			if !ended { // the probe ended its goroutine
				c.running.Store(false)
			}
		}()
		r := c.ask(ctx)
		ended = true
		c.running.Store(false) // before the answer: the next run may come at once
		done <- r
	}()
	select {
	case r := <-done:
		return r, true
	case <-ctx.Done():
		select {
		case r := <-done: // both were ready
			return r, true
		default:
			return checkResult{err: fmt.Sprintf("no answer within %v", c.Timeout), result: "timeout"}, true
		}
	}
}

// ask calls the probe. Its error is turned into text here, where a panic of its
// Error method is caught too.
func (c *readiness) ask(ctx context.Context) (r checkResult) {
	defer func() {
		if p := recover(); p != nil {
			r = checkResult{err: oneLine(fmt.Sprintf("panic: %v", p)), result: "panic"}
		}
	}()
	err := c.Probe(ctx)
	if err == nil {
		return checkResult{result: "ok"}
	}
	r = checkResult{err: cmp.Or(oneLine(err.Error()), "an error without text"), result: "error"}
	if ctx.Err() != nil {
		r.result = "timeout"
	}
	return r
}

func (h *health) serveReady(w http.ResponseWriter, r *http.Request) {
	var results []checkResult
	var ok bool
	name, exclude := r.PathValue("name"), r.URL.Query()["exclude"]
	if name == "" && len(exclude) == 0 {
		results, ok = h.run(r.Context())
	} else {
		checks := h.named(name, exclude)
		if name != "" && len(h.named(name, nil)) == 0 {
			http.Error(w, "no check and no group has this name", http.StatusNotFound)
			return
		}
		results, ok = h.ask(r.Context(), checks)
	}
	status := http.StatusOK
	if !ok {
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Vary", "Accept")
	if wantsJSON(r) {
		writeJSON(w, status, h.report(results, ok))
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	h.write(w, results, ok)
}

// readyReport is what /readyz says in JSON.
type readyReport struct {
	Ready    bool          `json:"ready"`
	Draining bool          `json:"draining"`
	Checks   []checkReport `json:"checks"`
}

type checkReport struct {
	Name   string  `json:"name"`
	Result string  `json:"result"`
	Error  string  `json:"error,omitempty"`
	Took   float64 `json:"took_seconds"`
	Age    float64 `json:"age_seconds"`
}

func (h *health) report(results []checkResult, ok bool) readyReport {
	report := readyReport{Ready: ok, Draining: h.draining.Load(), Checks: []checkReport{}}
	for _, r := range results {
		report.Checks = append(report.Checks, checkReport{r.name, r.result, r.err, r.took.Seconds(), time.Since(r.at).Seconds()})
	}
	return report
}

// wantsJSON tells whether the client names JSON among what it accepts, or says
// ?format=json; the plain lines are for all others, such as curl with its */*.
func wantsJSON(r *http.Request) bool {
	if r.URL.RawQuery != "" && r.URL.Query().Get("format") == "json" {
		return true
	}
	for _, accept := range r.Header["Accept"] {
		for media := range strings.SplitSeq(accept, ",") {
			media, _, _ = strings.Cut(media, ";")
			if strings.EqualFold(strings.TrimSpace(media), "application/json") {
				return true
			}
		}
	}
	return false
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
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

func serveLive(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Vary", "Accept")
	if wantsJSON(r) {
		writeJSON(w, http.StatusOK, map[string]bool{"alive": true})
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
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
