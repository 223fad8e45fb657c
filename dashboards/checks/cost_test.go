package checks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	engine "github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/prometheus/common/model"
)

// The fleet that the rules are measured with.
const (
	replicas = 3
	routes   = 50
	every    = 15 * time.Second // between two scrapes
	between  = 30 * time.Second // two evaluations
)

// A series is one of a scrape and how it goes on: a counter has grown from
// nothing to its value, everything else was always so.
type series struct {
	labels  labels.Labels
	value   float64
	hist    *histogram.Histogram
	counter bool
}

// at is the value after so many steps.
func (s *series) at(step int) (float64, *histogram.Histogram) {
	switch {
	case s.hist != nil:
		h := s.hist.Copy()
		n := uint64(step)
		h.Count, h.ZeroCount, h.Sum = h.Count*n, h.ZeroCount*n, h.Sum*float64(n)
		for i := range h.PositiveBuckets {
			h.PositiveBuckets[i] *= int64(n)
		}
		for i := range h.NegativeBuckets {
			h.NegativeBuckets[i] *= int64(n)
		}
		return 0, h
	case s.counter:
		return s.value * float64(step), nil
	}
	return s.value, nil
}

// scrapes is what Prometheus has of three replicas of one service with fifty
// routes: the scrape of a real one, three times, with both kinds of histogram.
var scrapes = sync.OnceValues(func() ([]*series, error) {
	cmd := exec.Command("go", "run", "./dashboards/internal/replica", "-routes", fmt.Sprint(routes))
	cmd.Dir = filepath.Join("..", "..")
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	p, err := textparse.New(text, "application/vnd.google.protobuf", nil, textparse.ParserOptions{KeepClassicOnClassicAndNativeHistograms: true})
	if err != nil {
		return nil, err
	}
	var all []*series
	kind := model.MetricTypeUnknown
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		var s series
		switch entry {
		case textparse.EntryType:
			_, kind = p.Type()
			continue
		case textparse.EntrySeries:
			_, _, s.value = p.Series()
			s.counter = kind == model.MetricTypeCounter || kind == model.MetricTypeHistogram
		case textparse.EntryHistogram:
			if _, _, s.hist, _ = p.Histogram(); s.hist == nil {
				continue
			}
		default:
			continue
		}
		p.Labels(&s.labels)
		all = append(all, &s)
	}
	var fleet []*series
	for i := range replicas {
		of := func(l labels.Labels) labels.Labels {
			b := labels.NewBuilder(l)
			for name, value := range map[string]string{"cluster": "north", "namespace": "shop", "job": "shop", "instance": fmt.Sprintf("10.0.0.%d:9464", i+1)} {
				b.Set(name, value)
			}
			return b.Labels()
		}
		for _, s := range all {
			copied := *s
			copied.labels = of(s.labels)
			fleet = append(fleet, &copied)
		}
		for name, value := range map[string]float64{"up": 1, "scrape_duration_seconds": 0.02, "scrape_samples_post_metric_relabeling": float64(len(all))} {
			fleet = append(fleet, &series{labels: of(labels.FromStrings("__name__", name)), value: value})
		}
	}
	return fleet, nil
})

// history is a Prometheus that has scraped the fleet: all of it for the six
// minutes that the rules look back at most for what many series have, hours for
// what each instance has a few of, and what was recorded for as long as rules
// ask for it.
func history(t testing.TB, recorded []*series, now time.Time) *tsdb.DB {
	t.Helper()
	fleet, err := scrapes()
	if err != nil {
		t.Fatal(err)
	}
	options := tsdb.DefaultOptions()
	options.WALSegmentSize, options.RetentionDuration = -1, (40 * 24 * time.Hour).Milliseconds()
	db, err := tsdb.Open(t.TempDir(), slog.New(slog.DiscardHandler), nil, options, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.DisableCompactions()

	var few, objectives, sums []*series
	for _, s := range fleet {
		if s.hist == nil && !s.labels.Has("http_route") && !s.labels.Has("le") {
			few = append(few, s)
		}
	}
	for _, s := range recorded {
		if s.labels.Has("slo") {
			objectives = append(objectives, s)
		}
		if strings.HasSuffix(s.labels.Get("__name__"), ":sum5m") {
			sums = append(sums, s)
		}
	}
	isSum := func(s *series) bool { return slices.Contains(sums, s) }
	recorded, objectives = slices.DeleteFunc(recorded, isSum), slices.DeleteFunc(objectives, isSum)
	add := func(app storage.Appender, of []*series, at time.Time, step int) {
		for _, s := range of {
			v, h := s.at(step)
			var err error
			if h != nil {
				_, err = app.AppendHistogram(0, s.labels, at.UnixMilli(), h, nil)
			} else {
				_, err = app.Append(0, s.labels, at.UnixMilli(), v)
			}
			if err != nil {
				t.Fatalf("%v at %v: %v", s.labels, at, err)
			}
		}
	}
	app, pending := db.Appender(t.Context()), 0
	first := now.Add(-31 * 24 * time.Hour)
	step := 0
	for at := first; !at.After(now); at = at.Add(every) {
		ago := now.Sub(at)
		step++
		if ago%between == 0 {
			switch week, day := 7*24*time.Hour, 24*time.Hour; {
			case ago <= 4*time.Hour, ago >= day && ago <= day+time.Hour, ago >= week && ago <= week+time.Hour:
				if ago > 0 {
					add(app, recorded, at, step)
				}
			default:
				add(app, objectives, at, step)
			}
		}
		if ago%(5*time.Minute) == 0 && ago > 0 {
			add(app, sums, at, step)
		}
		switch {
		case ago <= 6*time.Minute:
			add(app, fleet, at, step)
		case ago <= 4*time.Hour:
			add(app, few, at, step)
		}
		if pending++; pending%500 == 0 || ago <= 6*time.Minute {
			if err := app.Commit(); err != nil {
				t.Fatal(err)
			}
			app = db.Appender(t.Context())
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	return db
}

// An evaluation is all rules beside a history.
type evaluation struct {
	groups  map[string]*rules.Group
	samples int64            // that the queries have loaded
	each    map[string]int64 // by query
	now     time.Time
}

func evaluate(t testing.TB, db *tsdb.DB, now time.Time) *evaluation {
	t.Helper()
	e := &evaluation{groups: map[string]*rules.Group{}, each: map[string]int64{}, now: now}
	promEngine := engine.NewEngine(engine.EngineOpts{MaxSamples: 50e6, Timeout: time.Minute, EnableAtModifier: true, EnableNegativeOffset: true, Parser: promql})
	query := func(ctx context.Context, text string, at time.Time) (engine.Vector, error) {
		q, err := promEngine.NewInstantQuery(ctx, db, nil, text, at)
		if err != nil {
			return nil, err
		}
		defer q.Close()
		result := q.Exec(ctx)
		if result.Err != nil {
			return nil, fmt.Errorf("%s: %w", text, result.Err)
		}
		loaded := q.Stats().Samples.TotalSamples
		e.samples += loaded
		e.each[text] = loaded
		if s, ok := result.Value.(engine.Scalar); ok {
			return engine.Vector{{T: s.T, F: s.V}}, nil
		}
		return result.Vector()
	}
	manager := rules.NewManager(&rules.ManagerOptions{
		Context: t.Context(), QueryFunc: query, Appendable: db, Queryable: db, Logger: slog.New(slog.DiscardHandler), Parser: promql,
		NotifyFunc: func(context.Context, string, ...*rules.Alert) {}, NameValidationScheme: model.UTF8Validation,
	})
	paths := append(files(t, "prometheus/*.yaml"), files(t, "prometheus/slo/*.yaml")...)
	groups, errs := manager.LoadGroups(between, labels.EmptyLabels(), "", nil, false, paths...)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for _, g := range groups {
		e.groups[g.Name()] = g
	}
	return e
}

// recordings are the groups of recording rules in the order of their need.
var recordings = []string{"loadline-recording", "loadline-latency-recording", "loadline-slo-recording", "loadline-slo-sums"}

// fleetHistory is what the rules have recorded of the fleet for a month, and the scrapes.
func fleetHistory(t testing.TB) (*tsdb.DB, time.Time) {
	t.Helper()
	now := time.Now().Truncate(time.Minute)
	first := history(t, nil, now)
	e := evaluate(t, first, now)
	for _, name := range recordings {
		e.groups[name].Eval(t.Context(), now)
	}
	q, err := first.Querier(now.UnixMilli(), now.UnixMilli())
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	var recorded []*series
	set := q.Select(t.Context(), false, nil, labels.MustNewMatcher(labels.MatchRegexp, "__name__", ".+:.+"))
	var it chunkenc.Iterator
	for set.Next() {
		it = set.At().Iterator(it)
		if it.Next() == chunkenc.ValFloat {
			_, v := it.At()
			recorded = append(recorded, &series{labels: set.At().Labels(), value: v})
		}
	}
	if err := set.Err(); err != nil || len(recorded) < 10*routes {
		t.Fatalf("%d recorded series, %v", len(recorded), err)
	}
	return history(t, recorded, now), now
}

// mostSamples is what one evaluation of a group may read for three replicas
// with fifty routes, a fifth above what it does. A sample of a histogram counts
// as often as it is longer than a number.
var mostSamples = map[string]int64{
	"loadline-recording":         300e3,
	"loadline-latency-recording": 500e3,
	"loadline-slo-recording":     60e3,
	"loadline-http":              40e3,
}

// What the rules read, and so what they cost, does not grow unseen: a thousand
// samples take about a tenth of a millisecond.
func TestRulesReadFewSamples(t *testing.T) {
	db, now := fleetHistory(t)
	e := evaluate(t, db, now)
	var all int64
	for _, name := range groupsInOrder(e) {
		e.samples = 0
		clear(e.each)
		e.groups[name].Eval(t.Context(), now)
		for _, r := range e.groups[name].Rules() {
			if r.Health() != rules.HealthGood {
				t.Errorf("%s: %s is %s: %v", name, r.Name(), r.Health(), r.LastError())
			}
		}
		read := e.samples
		all += read
		if most := cmp.Or(mostSamples[name], 10e3); read > most {
			t.Errorf("%s reads %d samples, at most %d were thought of", name, read, most)
			for _, q := range slices.SortedFunc(maps.Keys(e.each), func(a, b string) int { return cmp.Compare(e.each[b], e.each[a]) })[:1] {
				t.Errorf("  %d of them for %s", e.each[q], q)
			}
		}
	}
	if all < 500e3 {
		t.Errorf("%d samples: the test evaluates nothing", all)
	}
}

func groupsInOrder(e *evaluation) []string {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(e.groups)), func(name string) bool { return slices.Contains(recordings, name) })
	return append(slices.Clone(recordings), names...)
}

// cpuTime is what the process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// One evaluation of each group, by the clock and by the processor.
//
//	GOWORK=off go test -run '^$' -bench Rules -benchtime 20x
func BenchmarkRules(b *testing.B) {
	db, now := fleetHistory(b)
	e := evaluate(b, db, now)
	for _, name := range groupsInOrder(e) {
		b.Run(name, func(b *testing.B) {
			e.samples = 0
			var took []time.Duration
			cpu := cpuTime()
			for b.Loop() {
				began := time.Now()
				e.groups[name].Eval(b.Context(), now)
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			n := float64(len(took))
			b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/1000/n, "cpu-ms/op")
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "median-ms")
			b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "max-ms")
			b.ReportMetric(float64(e.samples)/n, "samples/op")
		})
	}
}
