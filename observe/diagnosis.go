package observe

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/loadline-go/loadline/observe/doctor"
)

// diagnoses makes a diagnosis of every interval and keeps account of what is
// found. It is the only one that uses its evidence.
type diagnoses struct {
	t     *Telemetry
	every time.Duration
	parts *vec[prometheus.Counter] // of the routes' time
	found *findings
	turn  chan struct{} // holds one: whoever diagnoses when asked

	mu     sync.Mutex
	now    doctor.Window // what the last report rests on
	next   doctor.Window // what is being diagnosed; the loop's own
	usual  usual
	harmed int // intervals in a row; the loop's own
	report doctor.Report
	states []finding // as of the report
}

// warmTime is how long after the start, and one interval at most, nothing tells
// what is usual: caches and connections are cold.
const warmTime = 30 * time.Second

// newNormal is after how many intervals in a row, an hour by default, what harms is
// what is usual from now on: a release that is slower by design was told of for long
// enough.
const newNormal = 360

func newDiagnoses(t *Telemetry) *diagnoses {
	d := &diagnoses{
		t: t, every: t.config.DiagnoseEvery, parts: t.metrics.counter(routeTime), found: newFindings(t), turn: make(chan struct{}, 1),
		report: doctor.Report{Time: t.started, Verdict: doctor.Unknown, Reason: "the first interval has not ended yet"},
	}
	if d.every < 0 {
		d.report.Reason = "the doctor is off: Config.DiagnoseEvery is negative"
	}
	t.metrics.register(findingActive, d.found)
	return d
}

// run diagnoses each interval until ctx ends.
func (d *diagnoses) run(ctx context.Context) {
	e := newEvidence(d.t)
	e.begin()
	each := sampleEvery(d.every)
	tick := time.NewTicker(each)
	defer tick.Stop()
	last := time.Now()
	next := last.Add(d.every)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		e.sample()
		// A ticker that came late in a starved process catches up with the next: an
		// interval of half its length says less than one that is longer.
		if now := time.Now(); now.Before(next.Add(-each/2)) || now.Sub(last) < d.every/2 {
			continue
		}
		last = time.Now()
		d.interval(ctx, e)
		for now := time.Now(); !next.After(now); { // those missed while the process stood still are gone
			next = next.Add(d.every)
		}
	}
}

// sampleEvery is the time between two samples of the gauges of an interval.
func sampleEvery(interval time.Duration) time.Duration { return min(time.Second, interval/4) }

// interval diagnoses what happened since the last one.
func (d *diagnoses) interval(ctx context.Context, e *evidence) {
	e.look(&d.next)
	d.mu.Lock()
	given := doctor.Evidence{Now: d.next, Usual: d.usual.window(), Running: time.Since(d.t.started)}
	d.mu.Unlock()
	r := d.t.diagnose(ctx, &given, d.every/4) // nobody else writes what it reads
	if ctx.Err() != nil {
		return
	}
	harmed := d.found.update(&r) || r.Harmed
	for _, f := range r.Findings {
		harmed = harmed || f.Level == doctor.Page
	}
	if d.harmed++; !harmed {
		d.harmed = 0
	}
	harmed = harmed && d.harmed <= newNormal
	states := d.found.list()
	warm := given.Running-given.Now.Interval >= min(warmTime, d.every)
	d.mu.Lock()
	d.now, d.next = d.next, d.now
	d.now.Sites = given.Now.Sites
	d.usual.add(&d.now, warm && !harmed)
	d.report, d.states = r, states
	d.mu.Unlock()
	d.countParts(&r)
	var still []doctor.Finding
	for _, f := range states {
		if f.active && !f.here {
			still = append(still, f.Finding)
		}
	}
	d.t.console.Diagnosed(given.Now, r, still)
}

// countParts adds where the time of the routes went to the counters.
func (d *diagnoses) countParts(r *doctor.Report) {
	seconds := r.Interval.Seconds()
	for i := range r.Split {
		s := &r.Split[i]
		_, route := cut(s.Route)
		add := func(part string, v float64) {
			if v > 0 && !math.IsInf(v, 0) {
				c, _ := d.parts.with(route, part)
				c.Add(v * seconds)
			}
		}
		add("running", s.Running)
		add("ready", s.Ready)
		add("gc_assist", s.GCAssist)
		add("lock", s.Lock)
		add("pool", s.Pool)
		for _, p := range s.Parts {
			add(p.Name, p.Seconds)
		}
		add("other", s.Other)
	}
}

// last returns the last report and what was known of each finding then, the worst
// first. They are not to be changed.
func (d *diagnoses) last() (doctor.Report, []finding) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.report, d.states
}

// evidence returns a copy of what the last report rests on.
func (d *diagnoses) evidence() (e doctor.Evidence) {
	d.mu.Lock()
	defer d.mu.Unlock()
	copyWindow(&e.Now, &d.now)
	was := d.usual.window()
	copyWindow(&e.Usual, &was)
	e.Running = time.Since(d.t.started)
	return e
}

// Diagnose waits for d, from a second to an hour, and says what was the matter
// in that time, compared with what is usual. With d 0 it returns the diagnosis of
// the last interval of Config.DiagnoseEvery at once. An error means that ctx
// ended first, or that d is out of its range; what cannot be told is no error
// but the verdict doctor.Unknown with its reason. It may be called concurrently:
// one call waits for the other. A nil Telemetry knows nothing.
func (t *Telemetry) Diagnose(ctx context.Context, d time.Duration) (doctor.Report, error) {
	switch {
	case t == nil:
		return doctor.Report{Time: time.Now(), Verdict: doctor.Unknown, Reason: "nothing is observed"}, nil
	case d == 0:
		r, _ := t.diagnoses.last()
		return r, nil
	case d < time.Second || d > time.Hour:
		return doctor.Report{}, fmt.Errorf("observe: Diagnose: %v is not from 1s to 1h", d)
	}
	select {
	case t.diagnoses.turn <- struct{}{}:
		defer func() { <-t.diagnoses.turn }()
	case <-ctx.Done():
		return doctor.Report{}, fmt.Errorf("observe: Diagnose: %w", ctx.Err())
	}
	e := newEvidence(t)
	e.begin()
	end := time.NewTimer(d)
	defer end.Stop()
	tick := time.NewTicker(sampleEvery(d))
	defer tick.Stop()
	for waiting := true; waiting; {
		select {
		case <-ctx.Done():
			return doctor.Report{}, fmt.Errorf("observe: Diagnose: %w", ctx.Err())
		case <-tick.C:
			e.sample()
		case <-end.C:
			waiting = false
		}
	}
	given := t.diagnoses.evidence()
	e.look(&given.Now)
	return t.diagnose(ctx, &given, d/4), nil
}

// diagnose takes the profiles that a diagnosis asks for, each kind once: what one of
// them rules out may make it ask for another.
func (t *Telemetry) diagnose(ctx context.Context, given *doctor.Evidence, within time.Duration) doctor.Report {
	given.Now.Sites = nil // those of the interval before
	r := doctor.Diagnose(*given)
	var asked []doctor.SiteKind
	for range 2 {
		wants := slices.DeleteFunc(slices.Clone(r.Wants), func(k doctor.SiteKind) bool { return slices.Contains(asked, k) })
		if len(wants) == 0 {
			break
		}
		asked = append(asked, wants...)
		if sites := t.sites.take(ctx, wants, within); len(sites) > 0 {
			given.Now.Sites = slices.Concat(given.Now.Sites, sites)
			r = doctor.Diagnose(*given)
		}
	}
	return r
}

// serveDoctor serves the last diagnosis as text, as JSON, or with
// ?format=evidence what it rests on.
func (t *Telemetry) serveDoctor(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	switch format := r.URL.Query().Get("format"); {
	case format == "evidence":
		writeJSON(w, http.StatusOK, plainly(reflect.ValueOf(t.diagnoses.evidence())))
	case wantsJSON(r):
		page, err := t.diagnoses.json()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(page)
	case format != "" && format != "text":
		http.Error(w, "format: want text, json or evidence", http.StatusBadRequest)
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		t.diagnoses.write(w)
	}
}

// writeDiagnosis writes the page for a bundle of evidence.
func (t *Telemetry) writeDiagnosis(_ context.Context, w io.Writer) error {
	return t.diagnoses.write(w)
}

// write writes the last report, and below it which findings count already and
// which still do.
func (d *diagnoses) write(w io.Writer) error {
	r, states := d.last()
	here := r
	here.Findings = slices.Clone(r.Findings)
	for i := range here.Findings {
		here.Findings[i].Next = d.command(here.Findings[i].Next)
	}
	if _, err := io.WriteString(w, here.String()); err != nil {
		return err
	}
	for _, kind := range []struct {
		title string
		is    func(finding) bool
	}{
		{"active", func(f finding) bool { return f.active && f.here }},
		{"active, and not seen in the last interval", func(f finding) bool { return f.active && !f.here }},
		{"seen, and not yet active: it takes two intervals of three", func(f finding) bool { return !f.active && f.here }},
	} {
		title := "\n" + kind.title + "\n"
		for _, f := range states {
			if kind.is(f) {
				fmt.Fprintf(w, "%s   %s\n", title, oneLine(fmt.Sprintf("%s  %s  [%s]  since %s (%s)", f.Cause, f.Subject, f.Level, f.since.Format(time.TimeOnly), r.Time.Sub(f.since).Round(time.Second))))
				title = ""
			}
		}
	}
	return nil
}

// command puts the admin address into a command.
func (d *diagnoses) command(next string) string {
	if d.t.address == "" {
		return next
	}
	return strings.ReplaceAll(next, "ADMIN", d.t.address)
}

// json is the last report with what is known of each finding over time. Those
// that are active and were not found this time are among them.
func (d *diagnoses) json() ([]byte, error) {
	r, states := d.last()
	type told struct {
		finding doctor.Finding
		since   *time.Time
		active  bool
	}
	var all []told
	for _, f := range r.Findings {
		one := told{finding: f}
		if i := slices.IndexFunc(states, func(s finding) bool { return keyOf(&s.Finding) == keyOf(&f) }); i >= 0 {
			one.since, one.active = &states[i].since, states[i].active
		}
		all = append(all, one)
	}
	for i, s := range states {
		if s.active && !s.here {
			all = append(all, told{s.Finding, &states[i].since, true})
		}
	}
	findings := make([]json.RawMessage, 0, len(all))
	for _, one := range all {
		one.finding.Next = d.command(one.finding.Next)
		text, err := json.Marshal(one.finding)
		if err != nil {
			return nil, err
		}
		more, err := json.Marshal(struct {
			Since  *time.Time `json:"since"`
			Active bool       `json:"active"`
		}{one.since, one.active})
		if err != nil {
			return nil, err
		}
		findings = append(findings, append(append(text[:len(text)-1:len(text)-1], ','), more[1:]...))
	}
	page := map[string]json.RawMessage{}
	text, err := json.Marshal(r)
	if err == nil {
		err = json.Unmarshal(text, &page)
	}
	if err == nil {
		page["findings"], err = json.Marshal(findings)
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(page)
}

// plainly turns evidence into what JSON has: objects by the names of the fields,
// durations in seconds, null for what is not known.
func plainly(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Float64:
		if f := v.Float(); !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f
		}
		return nil
	case reflect.Slice:
		all := make([]any, v.Len())
		for i := range all {
			all[i] = plainly(v.Index(i))
		}
		return all
	case reflect.Struct:
		if at, ok := v.Interface().(time.Time); ok {
			return at
		}
		fields := make(map[string]any, v.NumField())
		for i := range v.NumField() {
			fields[v.Type().Field(i).Name] = plainly(v.Field(i))
		}
		return fields
	case reflect.Int64:
		if d, ok := v.Interface().(time.Duration); ok {
			return d.Seconds()
		}
	}
	return v.Interface()
}

// findings knows of each finding since when it is there. A finding counts when it
// was there in two of the last three intervals, or at once when it is nearly
// certain, and until it was missing in two: what one interval shows may be the
// weather. It is a collector for those that count.
type findings struct {
	t             *Telemetry
	active, share *prometheus.Desc

	mu  sync.Mutex
	all map[findingKey]*finding
}

type findingKey struct {
	cause   doctor.Cause
	subject string
}

// keyOf tells one finding from another: a function is the same at each of its lines,
// of which every interval may see another most.
func keyOf(f *doctor.Finding) findingKey {
	function, place, cut := strings.Cut(f.Subject, " (")
	if !cut || !strings.Contains(place, ".go:") {
		function = f.Subject
	}
	return findingKey{f.Cause, function}
}

// finding is one over time.
type finding struct {
	doctor.Finding       // as it was last seen, but for Subject: as it was first
	seen           uint8 // one bit an interval, the last one lowest
	here           bool  // in the last interval
	active         bool
	captured       bool
	since          time.Time // when the first interval of it began
	ended          int       // intervals since it ended
	levels         [3]bool   // that were told of it
	told           int       // the worst level that was logged since it began
}

const (
	// A finding so sure counts at once.
	certain = 0.9
	// Ended findings are told as 0 for as many intervals, so that a scrape sees
	// the end; half an hour by default.
	tellEnded = 180
	// More findings at once than this say no more.
	maxFindings = 200
)

func newFindings(t *Telemetry) *findings {
	return &findings{t: t, active: desc(findingActive), share: desc(findingShare), all: map[findingKey]*finding{}}
}

// update takes note of a report, tells what begins and ends, and returns whether
// somebody is to be woken by what is active.
func (fs *findings) update(r *doctor.Report) (paging bool) {
	var begun, over []finding
	var persistent []*finding
	fs.mu.Lock()
	for _, f := range fs.all {
		f.seen <<= 1
		f.here = false
	}
	for _, f := range r.Findings {
		key := keyOf(&f)
		is := fs.all[key]
		if is == nil {
			if len(fs.all) >= maxFindings {
				continue
			}
			is = &finding{}
			is.Subject = strings.Clone(f.Subject)
			fs.all[findingKey{f.Cause, strings.Clone(key.subject)}] = is
		}
		if is.here { // told twice; the worse stands first
			continue
		}
		if !is.active && is.seen&7 == 0 {
			is.since = r.Time.Add(-r.Interval)
		}
		f.Subject = is.Subject // a label that changes is another alert
		is.Finding, is.here = f, true
		is.seen |= 1
	}
	for key, f := range fs.all {
		recent := f.seen&1 + f.seen>>1&1 + f.seen>>2&1
		switch {
		case !f.active && f.here && (recent >= 2 || f.Confidence >= certain):
			f.active, f.captured, f.ended, f.told = true, false, 0, levelIndex(f.Level)
			begun = append(begun, *f)
		case f.active && f.seen&3 == 0:
			f.active = false
			over = append(over, *f)
			f.seen = 0
		case !f.active && f.levels == [3]bool{} && f.seen&7 == 0:
			delete(fs.all, key)
			continue
		}
		if f.active {
			if worse := levelIndex(f.Level); worse < f.told {
				f.told = worse
				begun = append(begun, *f)
			}
			f.levels[levelIndex(f.Level)] = true
			if f.Level == doctor.Page {
				paging = true
				if recent >= 2 && f.here && !f.captured {
					persistent = append(persistent, f)
				}
			}
		} else if f.levels != [3]bool{} {
			if f.ended++; f.ended > tellEnded && f.seen&7 == 0 {
				delete(fs.all, key)
			}
		}
	}
	fs.mu.Unlock()
	order := func(a, b finding) int { return strings.Compare(string(a.Cause)+a.Subject, string(b.Cause)+b.Subject) }
	slices.SortFunc(begun, order)
	slices.SortFunc(over, order)
	for _, f := range begun {
		fs.log(f, "observe: diagnosis", "since", f.since)
	}
	for _, f := range over {
		fs.log(f, "observe: diagnosis no longer holds", "duration", r.Time.Sub(f.since).Round(time.Second))
	}
	for _, f := range persistent { // only update writes them
		captured := fs.t.captures.finding(string(f.Cause), f.Subject, f.Summary)
		fs.mu.Lock()
		f.captured = captured
		fs.mu.Unlock()
	}
	return paging
}

// log tells of a finding, with its proof.
func (fs *findings) log(f finding, msg string, more ...any) {
	var proof []string
	for _, p := range f.Proof {
		proof = append(proof, oneLine(p.Text))
	}
	args := []any{"cause", string(f.Cause)}
	if f.Subject != "" {
		args = append(args, "subject", oneLine(f.Subject))
	}
	args = append(args, "level", string(f.Level), "share", round2(f.Share), "confidence", round2(f.Confidence), "summary", oneLine(f.Summary))
	args = append(args, more...)
	args = append(args, "proof", strings.Join(proof, "; "), "next", oneLine(fs.t.diagnoses.command(f.Next)))
	if f.Level == doctor.Info {
		fs.t.config.Logger.Info(msg, args...)
	} else {
		fs.t.config.Logger.Warn(msg, args...)
	}
}

func round2(v float64) float64 { return math.Round(100*v) / 100 }

var findingLevels = [3]doctor.Level{doctor.Page, doctor.Ticket, doctor.Info}

func levelIndex(l doctor.Level) int { return max(slices.Index(findingLevels[:], l), 0) }

// list returns copies of what is known, the worst first.
func (fs *findings) list() []finding {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	all := make([]finding, 0, len(fs.all))
	for f := range maps.Values(fs.all) {
		all = append(all, *f)
	}
	slices.SortFunc(all, func(a, b finding) int {
		if a.Level != b.Level {
			return levelIndex(a.Level) - levelIndex(b.Level)
		}
		if a.Share != b.Share {
			if a.Share > b.Share {
				return -1
			}
			return 1
		}
		return strings.Compare(string(a.Cause)+a.Subject, string(b.Cause)+b.Subject)
	})
	return all
}

// Describe implements prometheus.Collector.
func (fs *findings) Describe(ch chan<- *prometheus.Desc) { ch <- fs.active; ch <- fs.share }

// Collect implements prometheus.Collector.
func (fs *findings) Collect(ch chan<- prometheus.Metric) {
	told := map[findingKey]bool{}
	for _, f := range fs.list() {
		cause, subject := string(f.Cause), text(f.Subject, maxName)
		if f.levels == [3]bool{} || told[findingKey{f.Cause, subject}] { // it has never counted; mended texts may be alike
			continue
		}
		told[findingKey{f.Cause, subject}] = true
		share := 0.0
		for i, ever := range f.levels {
			if !ever {
				continue
			}
			on := 0.0
			if f.active && f.Level == findingLevels[i] {
				on, share = 1, f.Share
			}
			ch <- prometheus.MustNewConstMetric(fs.active, prometheus.GaugeValue, on, cause, subject, string(findingLevels[i]))
		}
		ch <- prometheus.MustNewConstMetric(fs.share, prometheus.GaugeValue, share, cause, subject)
	}
}
