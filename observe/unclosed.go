package observe

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/loadline-go/loadline/internal/span"
)

// opening says that rows or a transaction are open, and since when, for a
// reader on another goroutine. What it holds is written by the connection's
// user alone.
type opening struct {
	span      atomic.Pointer[span.Span] // nil: closed, or lone
	statement atomic.Pointer[statement] // of a lone one
	since     atomic.Int64              // of a lone one, Unix nanoseconds
	site      atomic.Pointer[string]    // where it was opened, known of the second of a kind that was left open

	seen openingSeen // under database.mu
}

// openingSeen is what the last look saw.
type openingSeen struct {
	since, activity int64
	at              time.Time // when activity last changed
}

func (o *opening) begin(e *execution) {
	if e.leak.Load() {
		o.site.Store(new(callSite()))
	} else if o.site.Load() != nil {
		o.site.Store(nil)
	}
	if e.span != nil {
		o.span.Store(e.span)
		return
	}
	o.since.Store(e.start.UnixNano())
	o.statement.Store(e.statement)
}

func (o *opening) end() {
	if o.span.Load() != nil {
		o.span.Store(nil)
		return
	}
	o.statement.Store(nil)
}

// look returns what is open and since when; nil when nothing is.
func (o *opening) look() (s *statement, trace *span.Span, since time.Time) {
	if trace = o.span.Load(); trace != nil {
		s, _ = trace.Describer().(*statement)
		return s, trace, trace.StartTime()
	}
	s, since = o.statement.Load(), time.Unix(0, o.since.Load())
	return s, nil, since
}

// opened is rows or a transaction.
type opened interface {
	opening() (o *opening, activity int64, kind string)
}

func (r *rows) opening() (*opening, int64, string) {
	return &r.open, r.read.Load(), "rows"
}

func (t *tx) opening() (*opening, int64, string) {
	return &t.open, 0, "transaction"
}

// note and forget keep the list of what is open beside the first of a connection.
func (d *database) note(o opened) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.extra[o] = struct{}{}
}

func (d *database) forget(o opened) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.extra, o)
}

// unclosed is one sql.Rows or sql.Tx that nobody reads, uses or closes.
type unclosed struct {
	Database string        `json:"database"`
	Kind     string        `json:"kind"`              // rows or transaction
	Summary  string        `json:"summary,omitempty"` // of the query
	Route    string        `json:"route,omitempty"`   // the local root of its trace
	TraceID  string        `json:"trace_id,omitempty"`
	Age      time.Duration `json:"age_ns"`
	Idle     time.Duration `json:"idle_ns"`        // at least, as far as was looked
	Site     string        `json:"site,omitempty"` // where it was opened: known from the second one on
}

// unclosedIdle is how long rows or a transaction must have been left alone to
// count as left open: no row read, no statement run. A minute is longer than a
// program waits between two rows, and than most servers let a request take.
const unclosedIdle = time.Minute

// maxUnclosed bounds the list.
const maxUnclosed = 100

// unclosed returns the rows and transactions of all databases that were left
// open, the oldest first. What is idle is known by comparing with the look
// before: a first look finds nothing, and each scrape is one.
func (t *Telemetry) unclosed() []unclosed {
	if t == nil {
		return nil
	}
	var all []unclosed
	for _, p := range t.pools.list() {
		all = append(all, p.database.unclosed(time.Now())...)
	}
	slices.SortStableFunc(all, func(a, b unclosed) int { return cmp.Compare(b.Age, a.Age) })
	return all[:min(len(all), maxUnclosed)]
}

func (d *database) unclosed(now time.Time) (all []unclosed) {
	d.mu.Lock()
	defer d.mu.Unlock()
	look := func(c *conn, one opened) {
		o, activity, kind := one.opening()
		s, trace, since := o.look()
		if s == nil {
			return
		}
		if kind == "transaction" {
			activity += c.operations.Load()
		}
		if o.seen.since != since.UnixNano() || o.seen.activity != activity {
			o.seen = openingSeen{since.UnixNano(), activity, now}
		}
		idle := now.Sub(o.seen.at)
		if idle < unclosedIdle {
			return
		}
		s.leak.Store(true)
		u := unclosed{Database: d.name, Kind: kind, Summary: s.summary, Age: now.Sub(since), Idle: idle}
		if trace != nil {
			u.TraceID, u.Route = trace.TraceID().String(), trace.LocalRoot().Name()
		}
		if site := o.site.Load(); site != nil {
			u.Site = *site
		}
		all = append(all, u)
	}
	for c := range d.conns {
		look(c, &c.rows)
		look(c, &c.tx)
	}
	for one := range d.extra {
		switch one := one.(type) {
		case *rows:
			look(one.conn, one)
		case *tx:
			look(one.conn, one)
		}
	}
	return all
}

// callSite returns the function and line outside of this package and
// database/sql from which a query runs.
func callSite() string {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		f, more := frames.Next()
		if f.Function != "" && !strings.HasPrefix(f.Function, "database/sql.") && !strings.HasPrefix(f.Function, scopeName+".(*") && !strings.HasPrefix(f.Function, scopeName+".conn") {
			return fmt.Sprintf("%s %s:%d", f.Function, f.File, f.Line)
		}
		if !more {
			return ""
		}
	}
}
