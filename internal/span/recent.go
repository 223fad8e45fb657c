package span

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// The bounds of the recent traces: at most 128 routes with 3 slow and 3 failed traces of 64 spans each.
const (
	recentRoutes = 128
	recentEach   = 3
	recentSpans  = 64
	// recentWindow is how long a trace counts as recent: older ones stay until a newer one takes their place.
	recentWindow = 5 * time.Minute
	// failedEvery is the least time between two failed traces of a route that are copied.
	failedEvery = 100 * time.Millisecond
)

// recent keeps the slowest and the last failed traces of each route, sampled or not, with or without an exporter.
type recent struct {
	routes atomic.Int32                                            // that have a ring
	logs   func(traceID string, began time.Time) ([]TraceLog, int) // see OnRecent; nil: nobody knows any
}

// ring holds the traces of one route.
type ring struct {
	mu     sync.Mutex
	slow   []Trace // at most recentEach
	failed []Trace // at most recentEach, the oldest first
}

// wants reports whether a root that has ended is worth a copy. It takes no lock: most are not.
func (r *recent) wants(w *Pace, s *Span, o *Outcome) bool {
	if s.failed(o) {
		// In a storm of errors one in a tenth of a second is enough.
		last, now := w.lastFailed.Load(), s.start.Add(s.took).UnixMilli()
		return now-last >= failedEvery.Milliseconds() && w.lastFailed.CompareAndSwap(last, now)
	}
	return !o.Stream && (int64(s.took) > w.slowest.Load() || s.start.Unix() > w.stale.Load())
}

func (s *Span) failed(o *Outcome) bool {
	return o.Failed || o.Panicked || codes.Code(s.status) == codes.Error
}

// put copies a trace into the ring of its route. below are its ended spans, open those that still run.
func (r *recent) put(w *Pace, s *Span, o *Outcome, reason string, below, open []*Span, lost int) {
	g := w.ring.Load()
	if g == nil {
		if r.routes.Add(1) > recentRoutes {
			r.routes.Add(-1)
			w.slowest.Store(math.MaxInt64) // no ring for this route: do not ask again
			w.stale.Store(math.MaxInt64)
			w.lastFailed.Store(math.MaxInt64)
			return
		}
		g = new(ring)
		if !w.ring.CompareAndSwap(nil, g) {
			r.routes.Add(-1)
			g = w.ring.Load()
		}
	}
	t := traceOf(s, o, reason, below, open, lost)
	if r.logs != nil {
		t.Logs, t.LostLogs = r.logs(t.ID, t.Start)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.Failed {
		if len(g.failed) == recentEach {
			g.failed = slices.Delete(g.failed, 0, 1)
		}
		g.failed = append(g.failed, t)
		return
	}
	if o.Stream {
		return
	}
	now := t.Start.Add(t.Duration)
	if len(g.slow) < recentEach {
		g.slow = append(g.slow, t)
	} else {
		// The one to give way: the oldest beyond the window, or else the quickest.
		i := 0
		for j := range g.slow {
			if now.Sub(g.slow[j].Start) > recentWindow {
				if g.slow[j].Start.Before(g.slow[i].Start) || now.Sub(g.slow[i].Start) <= recentWindow {
					i = j
				}
			} else if now.Sub(g.slow[i].Start) <= recentWindow && g.slow[j].Duration < g.slow[i].Duration {
				i = j
			}
		}
		g.slow[i] = t
	}
	if len(g.slow) < recentEach {
		return
	}
	quickest, oldest := g.slow[0].Duration, g.slow[0].Start
	for _, k := range g.slow[1:] {
		quickest = min(quickest, k.Duration)
		if k.Start.Before(oldest) {
			oldest = k.Start
		}
	}
	w.slowest.Store(int64(quickest))
	w.stale.Store(oldest.Add(recentWindow).Unix())
}

// Trace is a copy of one recent trace's part in this process.
type Trace struct {
	ID       string        `json:"trace_id"`
	Route    string        `json:"route"`
	Start    time.Time     `json:"start"`
	Duration time.Duration `json:"duration_ns"`
	Failed   bool          `json:"failed"`
	Exported bool          `json:"exported"`              // sampled or kept late, and there is an exporter
	Reason   string        `json:"keep_reason,omitempty"` // why it was kept late
	Lost     int           `json:"lost_spans,omitempty"`  // spans beyond the bounds
	Spans    []TraceSpan   `json:"spans"`                 // the root first, then in the order they began
	Logs     []TraceLog    `json:"logs,omitempty"`        // what was logged meanwhile, the oldest first
	LostLogs int           `json:"lost_logs,omitempty"`   // records before these, beyond the bounds
}

// TraceLog is a record that was logged within a trace, cut to what a page shows.
type TraceLog struct {
	Seq        uint64        `json:"-"`         // tells two records apart
	Offset     time.Duration `json:"offset_ns"` // since the root began
	Level      string        `json:"level"`
	Span       string        `json:"span_id,omitempty"`
	Message    string        `json:"message"`
	Attributes string        `json:"attributes,omitempty"` // order=7 err="no stock"
}

// TraceSpan is one span of a Trace.
type TraceSpan struct {
	ID         string            `json:"span_id"`
	Parent     string            `json:"parent_id,omitempty"`
	Name       string            `json:"name"`
	Kind       string            `json:"kind"`
	Scope      string            `json:"scope"`
	Offset     time.Duration     `json:"offset_ns"` // since the root began
	Duration   time.Duration     `json:"duration_ns"`
	Open       bool              `json:"open,omitempty"` // it still ran when the root ended
	Error      bool              `json:"error,omitempty"`
	Message    string            `json:"message,omitempty"` // of the status
	Attributes map[string]string `json:"attributes,omitempty"`
	Events     []TraceEvent      `json:"events,omitempty"`
}

// TraceEvent is one event of a TraceSpan.
type TraceEvent struct {
	Name       string            `json:"name"`
	Offset     time.Duration     `json:"offset_ns"` // since the root began
	Attributes map[string]string `json:"attributes,omitempty"`
}

func traceOf(s *Span, o *Outcome, reason string, below, open []*Span, lost int) Trace {
	t := Trace{
		ID: s.traceID.String(), Route: routeOf(s, o), Start: s.start, Duration: s.took, Failed: s.failed(o),
		Exported: (s.mode&modeSampled != 0 || reason != "") && len(s.scope().p.pipelines) > 0, Reason: reason, Lost: lost,
	}
	all := slices.Concat(open, below, []*Span{s})
	slices.Reverse(all) // families list the youngest first
	slices.SortStableFunc(all[1:], func(a, b *Span) int { return a.start.Compare(b.start) })
	if len(all) > recentSpans {
		t.Lost += len(all) - recentSpans
		all = all[:recentSpans]
	}
	t.Spans = make([]TraceSpan, len(all))
	for i, c := range all {
		r := c.record("", false, nil)
		k := &t.Spans[i]
		*k = TraceSpan{
			ID: c.id.String(), Name: r.name, Kind: r.SpanKind().String(), Scope: r.scope.is.Name, Offset: r.start.Sub(s.start),
			Open: !r.ended, Error: codes.Code(r.status) == codes.Error, Message: r.Status().Description, Attributes: texts(r.Attributes()),
		}
		if c.parentID.IsValid() {
			k.Parent = c.parentID.String()
		}
		if k.Open {
			k.Duration = t.Duration - k.Offset
		} else {
			k.Duration = r.EndTime().Sub(r.start)
		}
		for _, e := range r.Events() {
			k.Events = append(k.Events, TraceEvent{Name: e.Name, Offset: e.Time.Sub(s.start), Attributes: texts(e.Attributes)})
		}
	}
	return t
}

// maxText bounds a value in the recent traces: a page shows no more, and the memory must stay small.
const maxText = 256

func texts(attrs []attribute.KeyValue) map[string]string {
	if len(attrs) == 0 {
		return nil
	}
	m := make(map[string]string, len(attrs))
	for _, a := range attrs {
		v := a.Value.String()
		if len(v) > maxText {
			v = string([]byte(v[:maxText])) + "..." // a copy, so that the long text can go
		}
		m[string(a.Key)] = v
	}
	return m
}

// Recent returns the slowest and the last failed traces of each route of the last minutes, the newest first. The copies
// are the caller's, but for the spans' maps, which nobody may change. A nil Provider has none.
func (p *Provider) Recent() []Trace {
	if p == nil {
		return nil
	}
	var all []Trace
	take := func(w *Pace) {
		if g := w.ring.Load(); g != nil {
			g.mu.Lock()
			all = append(append(all, g.slow...), g.failed...)
			g.mu.Unlock()
		}
	}
	for _, w := range *p.late.routes.Load() {
		take(w)
	}
	take(&p.late.rest)
	slices.SortFunc(all, func(a, b Trace) int { return b.Start.Compare(a.Start) })
	return all
}

// OnRecent has f called for every trace that Recent is going to return, on the goroutine that ends its local root: f tells
// what was logged in it, and how many records it has left out. It must be called before the first span begins, and f must
// not block.
func (p *Provider) OnRecent(f func(traceID string, began time.Time) (logs []TraceLog, lost int)) {
	p.recent.logs = f
}

// UnderWay calls f for spans that wait for somebody below a local root and have not ended, at most n, in no order. f must
// not end them.
func (p *Provider) UnderWay(n int, f func(*Span)) {
	if p == nil {
		return
	}
	for i := range p.families.shards {
		h := &p.families.shards[i]
		h.mu.Lock()
		for k := h.oldest; k != nil && n > 0; k = k.newer {
			k.mu.Lock()
			for c := k.last; c != nil && k.waiting > 0 && n > 0; c = c.next {
				if m := c.marks.Load(); c.mode&modeWaits != 0 && m&(markDone|markAnswered) == 0 && !k.closed {
					f(c)
					n--
				}
			}
			k.mu.Unlock()
		}
		h.mu.Unlock()
	}
}

// OpenSpan is a span that has begun and not ended.
type OpenSpan struct {
	TraceID string        `json:"trace_id"`
	SpanID  string        `json:"span_id"`
	Name    string        `json:"name"`
	Scope   string        `json:"scope"`
	Kind    string        `json:"kind"`
	Root    string        `json:"root"`       // the name of its local root
	Ended   bool          `json:"root_ended"` // the local root has ended: the span was forgotten, or works on behind it
	Age     time.Duration `json:"age_ns"`
}

// Open lists the spans that began longer ago than age and have not ended, the oldest first, at most 1000. Roots without
// children that were begun by Begin are not among them: their edge knows what is in flight.
func (p *Provider) Open(age time.Duration) []OpenSpan {
	if p == nil {
		return nil
	}
	const most = 1000
	now := time.Now()
	var out []OpenSpan
	add := func(s, root *Span) {
		if old := now.Sub(s.start); !s.Ended() && old > age && len(out) < most {
			out = append(out, OpenSpan{
				TraceID: s.traceID.String(), SpanID: s.id.String(), Name: s.Name(), Scope: s.scope().is.Name,
				Kind: trace.SpanKind(s.kind).String(), Root: root.Name(), Ended: root.Ended(), Age: old,
			})
		}
	}
	for i := range p.families.shards {
		h := &p.families.shards[i]
		var list []*family
		h.mu.Lock()
		for f := h.oldest; f != nil; f = f.newer {
			list = append(list, f)
		}
		h.mu.Unlock()
		for _, f := range list {
			var spans []*Span
			f.mu.Lock()
			spans = append(spans, f.root)
			for c := f.last; c != nil; c = c.next {
				spans = append(spans, c)
			}
			f.mu.Unlock()
			for _, s := range spans {
				add(s, f.root)
			}
		}
	}
	slices.SortFunc(out, func(a, b OpenSpan) int { return int(b.Age - a.Age) })
	return out
}
