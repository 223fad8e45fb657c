package observe

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/loadline-go/loadline/internal/span"
	"github.com/loadline-go/loadline/leakcheck"
	"github.com/loadline-go/loadline/observe/capture"
	"github.com/loadline-go/loadline/runtimemetrics"
)

// maxLeakSites bounds the sites of observe_leaked_goroutines; the rest is in
// "other". More places than that leak only if something below all of them does.
const maxLeakSites = 20

// leaks watches the process for what only grows, and shows what it knows. A
// nil leaks is off.
type leaks struct {
	tel  *Telemetry
	want leakcheck.Config // the program's

	suspects, goroutines, unknown *prometheus.Desc

	reported map[string]int // what was left open, when it was reported; Watch's goroutine alone knows

	mu   sync.Mutex
	look leakcheck.Look // the last; its At is zero before the first
}

func newLeaks(t *Telemetry) *leaks {
	return &leaks{tel: t, want: t.config.Leaks, reported: map[string]int{}, suspects: desc(leakSuspects), goroutines: desc(leakedGoroutines), unknown: desc(leakUnknowns)}
}

// config is the program's own with what only this package knows.
func (l *leaks) config() leakcheck.Config {
	c := l.want
	if c.Load == nil {
		c.Load = l.tel.server.load
	}
	c.Looked = func(look leakcheck.Look) {
		look.Suspects = slices.Concat(look.Suspects, l.leftSuspects(look.At))
		slices.SortStableFunc(look.Suspects, func(a, b leakcheck.Suspect) int { return cmp.Compare(b.Confidence, a.Confidence) })
		for i := range look.Suspects {
			look.Suspects[i] = l.here(look.Suspects[i])
		}
		l.mu.Lock()
		l.look = look
		l.mu.Unlock()
		if l.want.Looked != nil {
			l.want.Looked(look)
		}
	}
	return c
}

// start begins to watch and returns how to end that.
func (l *leaks) start() func(context.Context) error {
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		leakcheck.Watch(ctx, l.config(), l.report) // what is wrong with its configuration, Start has said
	}()
	return func(context.Context) error { stop(); <-stopped; return nil }
}

// last returns the last look, false before the first.
func (l *leaks) last() (leakcheck.Look, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.look, !l.look.At.IsZero()
}

// report logs a suspect: when it is new, and when it has doubled.
func (l *leaks) report(s leakcheck.Suspect) {
	s = l.here(s)
	args := []any{"kind", s.Kind}
	add := func(key string, value any, known bool) {
		if known {
			args = append(args, key, value)
		}
	}
	add("site", s.Site.String(), s.Site != leakcheck.Frame{})
	add("creator", s.Creator.String(), s.Creator != leakcheck.Frame{})
	add("group", oneLine(s.Group), s.Group != "")
	add("state", s.State, s.State != "")
	add("count", s.Count, s.Count > 0)
	add("bytes", s.Bytes, s.Bytes > 0)
	add("per_hour", int64(s.PerHour), true)
	add("since", s.Since, true)
	add("confidence", s.Confidence, true)
	add("basis", s.Basis, s.Basis != "")
	m := l.memory(s)
	add("memory", m.String(), m.known)
	add("next", s.Next, s.Next != "")
	l.tel.config.Logger.Warn("observe: leak suspected", args...)
	l.tel.captures.store.Trigger(capture.Reason{Kind: "leak", Detail: oneLine(s.String())})
}

// writeLeaks writes the page for a bundle of evidence.
func (t *Telemetry) writeLeaks(_ context.Context, w io.Writer) error {
	t.leaks.page().write(w)
	return nil
}

// load is what Watch compares growth with.
func (s *server) load() (inFlight int, requests uint64) {
	return int(s.running()), s.total()
}

// total is how many requests there were.
func (s *server) total() (n uint64) {
	native := make([]uint64, 1+(secondsScale.high-secondsScale.low)*perOctave)
	known := s.routes.read.Load()
	if known == nil {
		return 0
	}
	for _, r := range *known {
		if all := r.known.Load(); all != nil {
			for _, k := range *all {
				count, _ := k.duration.own.addTo(native, nil)
				n += count
			}
		}
	}
	return n
}

// Kinds that are always shown, so that an alert sees the zero before the first suspect.
var leakKinds = []string{"goroutine", "heap", "file", "socket", "close_wait", "pipe", "descriptor", "rows", "tx", "body"}

// Describe implements prometheus.Collector.
func (l *leaks) Describe(ch chan<- *prometheus.Desc) {
	ch <- l.suspects
	ch <- l.goroutines
	ch <- l.unknown
}

// Collect implements prometheus.Collector. Before the first look nothing is
// known, and nothing is sent.
func (l *leaks) Collect(ch chan<- prometheus.Metric) {
	look, ok := l.last()
	if !ok {
		return
	}
	kinds, sites := map[string]int{}, map[string]int{}
	for _, kind := range leakKinds {
		kinds[kind] = 0
	}
	for _, s := range look.Suspects {
		kinds[s.Kind]++
		if s.Kind == "goroutine" {
			site := siteLabel(s)
			if _, known := sites[site]; !known && len(sites) >= maxLeakSites {
				site = other
			}
			sites[site] += s.Count
		}
	}
	for kind, n := range kinds {
		ch <- prometheus.MustNewConstMetric(l.suspects, prometheus.GaugeValue, float64(n), strings.ToValidUTF8(kind, "�"))
	}
	for site, n := range sites {
		ch <- prometheus.MustNewConstMetric(l.goroutines, prometheus.GaugeValue, float64(n), strings.ToValidUTF8(site, "�"))
	}
	ch <- prometheus.MustNewConstMetric(l.unknown, prometheus.GaugeValue, float64(len(look.Unknown)))
}

// siteLabel is where a suspect's goroutines were started, as a person would
// write it: "shop.(*Queue).run (queue.go:41)".
func siteLabel(s leakcheck.Suspect) string {
	at := s.Creator
	if at == (leakcheck.Frame{}) {
		at = s.Site
	}
	name := at.Function[strings.LastIndexByte(at.Function, '/')+1:]
	if at.File != "" {
		name += " (" + filepath.Base(at.File) + ":" + strconv.Itoa(at.Line) + ")"
	}
	return clip(name, 200)
}

// memory says what a growing heap site means for the process.
type memory struct {
	known       bool
	used, limit float64 // bytes
	by          string  // which limit is nearest
	after       time.Duration
}

// memory joins the site's growth with the nearest limit: that is reached when
// the site alone has filled what is free, or before, at the trend of all.
func (l *leaks) memory(s leakcheck.Suspect) (m memory) {
	d, ok := l.tel.sampler.Latest()
	h := d.Headroom
	if s.Kind != "heap" || !ok || !runtimemetrics.Known(h.Limit) {
		return m
	}
	m = memory{known: true, used: h.Used, limit: h.Limit, by: h.By, after: h.After}
	if hours := (h.Limit - h.Used) / s.PerHour; hours > 0 && hours < 365*24 {
		if own := time.Duration(hours * float64(time.Hour)); m.after == 0 || own < m.after {
			m.after = own
		}
	}
	return m
}

func (m memory) String() string {
	limit := map[string]string{"cgroup": "the container's limit", "gomemlimit": "GOMEMLIMIT", "host": "the host's memory"}[m.by]
	text := fmt.Sprintf("%s of %s used (%s)", mebibytes(m.used), mebibytes(m.limit), limit)
	if m.after > 0 {
		text += ", reached in about " + roughly(m.after) + " at this growth"
	}
	return text
}

func mebibytes(n float64) string {
	if n >= 10<<30 {
		return fmt.Sprintf("%.1f GiB", n/(1<<30))
	}
	return fmt.Sprintf("%.0f MiB", n/(1<<20))
}

// roughly prints a forecast in one unit: it is not exact to the second.
func roughly(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h", d.Hours())
	}
	return fmt.Sprintf("%.0f days", d.Hours()/24)
}

// leakPage is /debug/leaks as JSON.
type leakPage struct {
	Off         bool          `json:"off,omitempty"`
	At          *time.Time    `json:"at,omitempty"` // of the last look
	Windows     int           `json:"windows"`
	CostSeconds float64       `json:"cost_seconds"`
	NextSeconds float64       `json:"next_seconds"` // from at
	Suspects    []leakSuspect `json:"suspects"`
	LeftOpen    []leakLeft    `json:"left_open"`
	Unknown     []string      `json:"unknown"`
}

// leakLeft is what was left open, suspected or not yet.
type leakLeft struct {
	Kind        string     `json:"kind"`
	Group       string     `json:"group"`
	Site        *leakPlace `json:"site,omitempty"`
	Count       int        `json:"count"`
	AgeSeconds  float64    `json:"age_seconds"`  // of the oldest
	IdleSeconds float64    `json:"idle_seconds"` // since one of them was used, as far as is known
	Route       string     `json:"route,omitempty"`
	TraceID     string     `json:"trace_id,omitempty"`

	text string
}

type leakSuspect struct {
	Kind       string      `json:"kind"`
	Site       *leakPlace  `json:"site,omitempty"`
	Creator    *leakPlace  `json:"creator,omitempty"`
	Group      string      `json:"group,omitempty"`
	State      string      `json:"state,omitempty"`
	Count      int         `json:"count"`
	Bytes      int64       `json:"bytes,omitempty"`
	PerHour    float64     `json:"per_hour"`
	Since      time.Time   `json:"since"`
	Confidence float64     `json:"confidence"`
	Basis      string      `json:"basis,omitempty"`
	Memory     *leakMemory `json:"memory,omitempty"`
	Next       string      `json:"next,omitempty"`
	Stack      string      `json:"stack,omitempty"`

	text string
}

type leakPlace struct {
	Function string `json:"function"`
	File     string `json:"file"`
	Line     int    `json:"line"`
}

type leakMemory struct {
	UsedBytes    float64 `json:"used_bytes"`
	LimitBytes   float64 `json:"limit_bytes"`
	Limit        string  `json:"limit"`
	AfterSeconds float64 `json:"after_seconds,omitempty"`
}

func (l *leaks) page() leakPage {
	p := leakPage{Suspects: []leakSuspect{}, LeftOpen: []leakLeft{}, Unknown: []string{}}
	if l == nil {
		p.Off = true
		return p
	}
	for _, o := range l.tel.leftOpen() {
		p.LeftOpen = append(p.LeftOpen, leakLeft{o.kind, o.group, place(o.site), o.count, o.age.Seconds(), o.idle.Seconds(), o.route, o.trace, o.String()})
	}
	look, ok := l.last()
	if !ok {
		p.Unknown = append(p.Unknown, "everything: the first window has not ended yet")
		return p
	}
	p.At, p.Windows, p.CostSeconds, p.NextSeconds = &look.At, look.Windows, look.Cost.Seconds(), look.Next.Seconds()
	for _, err := range look.Unknown {
		p.Unknown = append(p.Unknown, oneLine(strings.TrimPrefix(err.Error(), "leakcheck: ")))
	}
	for _, s := range look.Suspects {
		e := leakSuspect{
			Kind: s.Kind, Site: place(s.Site), Creator: place(s.Creator), Group: s.Group, State: s.State, Count: s.Count, Bytes: s.Bytes,
			PerHour: s.PerHour, Since: s.Since, Confidence: s.Confidence, Basis: s.Basis, Next: s.Next, Stack: s.Stack,
		}
		m := l.memory(s)
		if m.known {
			e.Memory = &leakMemory{m.used, m.limit, m.by, m.after.Seconds()}
		}
		e.text = suspectText(s, m)
		p.Suspects = append(p.Suspects, e)
	}
	return p
}

func place(f leakcheck.Frame) *leakPlace {
	if f == (leakcheck.Frame{}) {
		return nil
	}
	return &leakPlace{f.Function, f.File, f.Line}
}

// suspectText is a suspect for a reader: the sentence, then a line for each
// fact beyond it, then the stack.
func suspectText(s leakcheck.Suspect, m memory) string {
	var b strings.Builder
	fmt.Fprintln(&b, s)
	fact := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, "  %-12s%s\n", name, text)
		}
	}
	fact("confidence", strconv.FormatFloat(s.Confidence, 'f', 2, 64))
	fact("basis", s.Basis)
	if m.known {
		fact("memory", m.String())
	}
	fact("next", s.Next)
	if s.Stack != "" {
		fmt.Fprintln(&b, "  stack")
		for line := range strings.Lines(s.Stack) {
			fmt.Fprintf(&b, "    %s", line)
		}
	}
	return b.String()
}

// serveLeaks serves what the watch knows: as text, or as JSON for ?format=json
// or a client that accepts only that.
func (t *Telemetry) serveLeaks(w http.ResponseWriter, r *http.Request) {
	p := t.leaks.page()
	w.Header().Set("Cache-Control", "no-store")
	if r.FormValue("format") == "json" || r.Header.Get("Accept") == "application/json" {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(p)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	p.write(w)
}

func (p leakPage) write(w io.Writer) {
	switch {
	case p.Off:
		fmt.Fprintln(w, "unknown: the watch is off (Config.NoLeaks)")
		return
	case p.At == nil:
		fmt.Fprintln(w, "unknown: the first window has not ended yet")
		return
	}
	fmt.Fprintf(w, "window %d, looked at %s in %s, next in %s\n\n",
		p.Windows, p.At.Format(time.RFC3339), span.Short(seconds(p.CostSeconds)), max(time.Until(p.At.Add(seconds(p.NextSeconds))), 0).Round(time.Second))
	switch n := len(p.Suspects); n {
	case 0:
		fmt.Fprintln(w, "no suspects: nothing that was looked at only grows; a judgement takes 10 to 24 windows and more")
		fmt.Fprintln(w)
	case 1:
		fmt.Fprint(w, "1 suspect\n\n")
	default:
		fmt.Fprintf(w, "%d suspects, the surest first\n\n", n)
	}
	for _, s := range p.Suspects {
		fmt.Fprintln(w, s.text)
	}
	if len(p.LeftOpen) > 0 {
		fmt.Fprintln(w, "left alone for a minute and not closed")
		for _, o := range p.LeftOpen {
			fmt.Fprintln(w, "  "+o.text)
		}
		fmt.Fprintln(w)
	}
	if len(p.Unknown) > 0 {
		fmt.Fprintln(w, "unknown")
		for _, line := range p.Unknown {
			fmt.Fprintln(w, "  "+line)
		}
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
