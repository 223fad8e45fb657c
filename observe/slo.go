package observe

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/loadline-go/loadline/runtimemetrics"
)

// An SLO is what users of the service are promised: that of all requests, or of
// those of one route, the share Objective is good. A request is bad when it is
// answered with 5xx, or, where there is a Latency, not within it; one whose
// client went away in time is good. Streams and probes are no requests.
//
// How many requests were good and bad is counted from the service's start, as
// observe_slo_requests_total; the rules of dashboards/prometheus/slo make
// windows, burn rates and budgets of it, for whatever objectives there are.
type SLO struct {
	// Name tells the objective from the service's others, in the label objective:
	// letters, digits, dots, underscores and hyphens, at most 63.
	Name string

	// Route is whose requests count, as the pattern is written where it is
	// handled: "/orders/{id}", or "GET /orders/{id}" for one method alone (GET
	// is HEAD as well). A pattern that no request matches counts none.
	// Default: every route, "unmatched" among them.
	Route string

	// Objective is the share of requests that is to be good, above 0 and below
	// 1: what is left to 1 is the budget.
	Objective float64

	// Latency is within what a request must be answered. It is compared exactly,
	// whatever the bounds of the histogram's buckets are.
	// Default: 0, any time.
	Latency time.Duration
}

func (o SLO) check(wrong func(field, format string, a ...any)) {
	if o.Name == "" || len(o.Name) > 63 || strings.ContainsFunc(o.Name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r))
	}) {
		wrong("Name", "%q: want up to 63 letters, digits, dots, underscores and hyphens", clip(o.Name, 80))
	}
	if _, path := o.methodAndPath(); o.Route != "" && !strings.Contains(path, "/") && path != unmatched {
		wrong("Route", `%q: want a pattern, like "/orders/{id}" or "GET /orders/{id}"`, clip(o.Route, 80))
	}
	if !(o.Objective > 0 && o.Objective < 1) { // NaN is neither
		wrong("Objective", "%v is not above 0 and below 1", o.Objective)
	}
	if o.Latency < 0 {
		wrong("Latency", "%v is negative", o.Latency)
	}
}

func (o SLO) methodAndPath() (method, path string) {
	if method, path, ok := strings.Cut(o.Route, " "); ok {
		return method, strings.TrimLeft(path, " \t")
	}
	return "", o.Route
}

// counts tells whether requests of the method and the route, as they are in the
// labels of serverDuration, are the objective's.
func (o SLO) counts(method, route string) bool {
	want, path := o.methodAndPath()
	return (path == "" || path == route) && (want == "" || want == method || want == "GET" && method == "HEAD")
}

// slos counts good and bad requests, out of the histograms of durations that
// are there anyway: a request costs nothing more, and a scrape some
// microseconds. To make the counts exact the histograms have one more cell for
// each Latency, which no scrape shows.
type slos struct {
	all                 []SLO
	durations           *histograms[*histogram]
	objective, requests *prometheus.Desc

	mu     sync.Mutex
	points []tallied // the oldest first
}

// A tallied is what was counted by a time, in the order of slos.all.
type tallied struct {
	at     time.Time
	counts []sloCount
}

type sloCount struct{ good, bad uint64 }

// Windows over which a process looks at its own burning, those of the alert
// SLOBudgetBurnFast, and how often the counts are kept for that.
const (
	shortBurn = 5 * time.Minute
	longBurn  = time.Hour
	burnEvery = 10 * time.Second
)

// fastBurn spends two hundredths of a budget of 30 days in an hour; below
// leastBad bad requests a share says nothing. Both as SLOBudgetBurnFast has them:
// "Alerting on SLOs", The Site Reliability Workbook, chapter 5.
const (
	fastBurn = 14.4
	leastBad = 10
)

func newSLOs(all []SLO, durations *histograms[*histogram]) *slos {
	return &slos{all: all, durations: durations, objective: desc(sloObjective), requests: desc(sloRequests),
		points: []tallied{{time.Now(), make([]sloCount, len(all))}}}
}

// latencies are where the histograms of durations need an end of a cell, in
// seconds as a request's end computes them.
func latencies(all []SLO) (cuts []float64) {
	for _, o := range all {
		if o.Latency > 0 {
			cuts = append(cuts, float64(o.Latency)/1e9)
		}
	}
	return cuts
}

// count adds up what all histograms hold now.
func (s *slos) count() []sloCount {
	s.durations.mu.Lock()
	type series struct {
		h             *histogram
		method, route string
		failed        bool
	}
	all := make([]series, 0, len(s.durations.all))
	for key, h := range s.durations.all {
		labels := strings.Split(key, "\xff") // serverDuration.Labels
		all = append(all, series{h, labels[0], labels[1], len(labels[2]) == 3 && labels[2][0] == '5'})
	}
	s.durations.mu.Unlock()

	counts := make([]sloCount, len(s.all))
	var cells []uint64
	for _, one := range all {
		read := false
		for i, o := range s.all {
			if !o.counts(one.method, one.route) {
				continue
			}
			if !read {
				cells, read = one.h.perCell(cells), true
			}
			inTime := len(cells)
			if o.Latency > 0 {
				k, _ := slices.BinarySearch(one.h.cells.ends, float64(o.Latency)/1e9)
				inTime = k + 1
			}
			for j, n := range cells {
				if one.failed || j >= inTime {
					counts[i].bad += n
				} else {
					counts[i].good += n
				}
			}
		}
	}
	return counts
}

// perCell is how many observations lie in each cell, in the memory of all where
// that is enough.
func (h *histogram) perCell(all []uint64) []uint64 {
	all = slices.Grow(all[:0], len(h.cells.ends))[:len(h.cells.ends)]
	clear(all)
	for i := range h.shards {
		if c := h.shards[i].Load(); c != nil {
			for j := range c.cells {
				all[j] += c.cells[j].Load()
			}
		}
	}
	return all
}

// Describe implements prometheus.Collector.
func (s *slos) Describe(ch chan<- *prometheus.Desc) {
	ch <- s.objective
	ch <- s.requests
}

// Collect implements prometheus.Collector.
func (s *slos) Collect(ch chan<- prometheus.Metric) {
	for i, n := range s.count() {
		name := s.all[i].Name
		ch <- prometheus.MustNewConstMetric(s.objective, prometheus.GaugeValue, s.all[i].Objective, name)
		ch <- prometheus.MustNewConstMetric(s.requests, prometheus.CounterValue, float64(n.good), name, "good")
		ch <- prometheus.MustNewConstMetric(s.requests, prometheus.CounterValue, float64(n.bad), name, "bad")
	}
}

// sample keeps the counts for the windows of the burn rates. It is called with
// each sample of the runtime; a nil slos has no objectives.
func (s *slos) sample(now time.Time) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.points[len(s.points)-1].at) < burnEvery {
		return
	}
	s.points = append(s.points, tallied{now, s.count()})
	// One at or before the window's beginning stays.
	old := 0
	for old+1 < len(s.points) && now.Sub(s.points[old+1].at) >= longBurn {
		old++
	}
	s.points = slices.Delete(s.points, 0, old)
}

// sloState is how an objective fares in this process: the service's other
// instances are not known here.
type sloState struct {
	SLO
	Good, Bad uint64   // since the start
	Short     burnRate // over the last 5 minutes
	Long      burnRate // over the last hour
}

// A burnRate is how fast a budget was spent over a window.
type burnRate struct {
	Rate      float64       // 1 spends exactly what the objective allows; 0 without requests
	Good, Bad uint64        // requests in the window
	Over      time.Duration // how long it was: less than the window in a young process
}

// burning tells that the budget is spent so fast that an alert pages, and by
// enough requests to say so.
func (s sloState) burning() bool {
	return s.Short.Rate > fastBurn && s.Long.Rate > fastBurn && s.Long.Bad >= leastBad
}

func (s sloState) String() string {
	return fmt.Sprintf("%s: %d of %d requests of the last %v were bad, %.1f times what the objective of %v allows",
		s.Name, s.Short.Bad, s.Short.Good+s.Short.Bad, s.Short.Over.Round(time.Second), s.Short.Rate, s.Objective)
}

// states tells of each objective how it fares now; a nil slos has none.
func (s *slos) states() []sloState {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	points := slices.Clone(s.points)
	s.mu.Unlock()
	now := tallied{time.Now(), s.count()}
	states := make([]sloState, len(s.all))
	for i, o := range s.all {
		n := now.counts[i]
		states[i] = sloState{SLO: o, Good: n.good, Bad: n.bad}
		states[i].Short = burned(points, now, i, shortBurn).of(o.Objective)
		states[i].Long = burned(points, now, i, longBurn).of(o.Objective)
	}
	return states
}

// burned compares with the last one that is at least a window old, or the first.
func burned(points []tallied, now tallied, i int, window time.Duration) burnRate {
	from := points[0]
	for _, p := range points {
		if now.at.Sub(p.at) < window {
			break
		}
		from = p
	}
	return burnRate{Good: now.counts[i].good - from.counts[i].good, Bad: now.counts[i].bad - from.counts[i].bad, Over: now.at.Sub(from.at)}
}

func (b burnRate) of(objective float64) burnRate {
	if all := b.Good + b.Bad; all > 0 {
		b.Rate = float64(b.Bad) / float64(all) / (1 - objective)
	}
	return b
}

var (
	sloObjective = Description{
		Name: "observe_slo_objective_ratio", Kind: runtimemetrics.Gauge, Unit: "1",
		Help:   "Share of requests that Config.SLOs promises to be good; absent without that setting.",
		Labels: []string{"objective"},
	}
	sloRequests = Description{
		Name: "observe_slo_requests_total", Kind: runtimemetrics.Counter, Unit: "{request}",
		Help:   "Requests that count for an objective of Config.SLOs, by result: good, or bad for an answer of 5xx or a late one.",
		Labels: []string{"objective", "result"},
	}
)
