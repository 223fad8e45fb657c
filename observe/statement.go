package observe

import (
	"context"
	"database/sql/driver"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/internal/span"
)

// Bounds on the statements that are remembered, 1 MiB a database at most. A
// program whose queries are written in its code has fewer; one that puts
// values into their text has them without number.
const (
	maxStatements    = 512
	maxStatementText = 2048
)

// query is what statements with the same summary have in common: their labels
// and series.
type query struct {
	db                             *database
	operation, collection, summary string
	name                           string // of spans: the summary, or the operation of what has none
	pace                           *span.Pace
	ok, rows                       atomic.Pointer[timing] // of executions that succeed; of the rows read
}

func newQuery(d *database, operation, collection, summary string) *query {
	s := &query{db: d, operation: operation, collection: collection, summary: summary, name: text(or(summary, operation), maxSummary)}
	s.pace = d.tel.provider.Pace(s.name)
	return s
}

// statement is what the executions of one text have in common. It describes
// the span of each.
type statement struct {
	*query
	text string
	leak atomic.Bool // rows of it were found left open: the next ones note where they are opened

	once  sync.Once
	attrs []attribute.KeyValue
}

// statement returns that of a text. A known one costs no allocation, and where
// its text lies where it lay the last time, which is so for a constant, no hash.
func (d *database) statement(text string) *statement {
	slot := &d.recent[(uintptr(unsafe.Pointer(unsafe.StringData(text)))>>4^uintptr(len(text)))%uintptr(len(d.recent))]
	if s := slot.Load(); s != nil && s.text == text {
		return s
	}
	s, ok := d.statements.get(text)
	if !ok {
		s = &statement{query: d.query(text), text: text}
		if len(text) > maxStatementText || d.room.Load() >= maxStatements || d.room.Add(1) > maxStatements {
			return s
		}
		s.text = strings.Clone(text) // not a part of something larger
		d.statements.add(s.text, s)
	}
	slot.Store(s)
	return s
}

// query returns that of a text.
func (d *database) query(text string) *query {
	verb, collection, summary := summarize(text)
	if s, ok := d.queries.get(summary); ok {
		return s
	}
	s := newQuery(d, verb, strings.Clone(collection), summary)
	if d.queries.len() < maxStatements {
		d.queries.add(summary, s)
	}
	return s
}

// Describe gives the attributes of the span when somebody will read them;
// execution.end adds the error.
func (s *statement) Describe(attrs []attribute.KeyValue, ended bool) []attribute.KeyValue {
	if ended {
		return attrs
	}
	s.once.Do(func() {
		add := func(key attribute.Key, value string, max int) {
			if value != "" {
				s.attrs = append(s.attrs, key.String(text(value, max)))
			}
		}
		s.attrs = []attribute.KeyValue{
			attribute.String("db.system.name", s.db.system),
			attribute.String("db.namespace", text(s.db.name, maxHost)),
		}
		add("db.operation.name", s.operation, maxSummary)
		add("db.collection.name", s.collection, maxSummary)
		add("db.query.summary", s.summary, maxSummary)
		if s.text != "" {
			add("db.query.text", withoutLiterals(s.text), 2*maxAttribute)
		}
	})
	return append(attrs, s.attrs...)
}

// Detach leaves the words to the exporter: they are the statement's own. A text
// that is too long to be remembered is not kept waiting either.
func (s *statement) Detach(f *span.Facts) bool {
	if len(s.text) > maxStatementText {
		return false
	}
	f.By = s
	return true
}

// DescribeFacts implements span.FactsDescriber.
func (s *statement) DescribeFacts(_ *span.Facts, attrs []attribute.KeyValue) []attribute.KeyValue {
	return s.Describe(attrs, false)
}

type timingKey struct {
	query     *query
	errorType string
}

// timing returns the series of the executions that ended with errorType.
func (s *query) timing(errorType string) *timing {
	if errorType == "" {
		if t := s.ok.Load(); t != nil {
			return t
		}
	}
	d := s.db
	key := timingKey{s, errorType}
	if t, ok := d.found.get(key); ok {
		return t
	}
	t, exact := d.tel.databases.operations.with(d.system, d.name, s.operation, s.collection, s.summary, errorType)
	// Queries that are not remembered are without number.
	if known, _ := d.queries.get(s.summary); !exact || s.summary != "" && known != s {
		return t
	}
	if errorType == "" {
		s.ok.Store(t)
	} else {
		d.found.add(key, t)
	}
	return t
}

// returned returns the series of the rows that executions returned.
func (s *query) returned() *timing {
	if t := s.rows.Load(); t != nil {
		return t
	}
	t, exact := s.db.tel.databases.rows.with(s.db.system, s.db.name, s.operation, s.collection, s.summary)
	if exact {
		s.rows.Store(t)
	}
	return t
}

// execution is one operation under way. It is not on the heap: its span is in
// the memory of the trace.
type execution struct {
	*statement
	conn  *conn           // nil for CONNECT
	ctx   context.Context // for the driver
	span  *span.Span      // nil while lone
	lone  span.Lone
	start time.Time
}

func (s *statement) start(ctx context.Context, c *conn) execution {
	e := execution{statement: s, conn: c, ctx: ctx, start: time.Now()}
	if c != nil {
		if c.used.IsZero() {
			c.used = e.start
		}
		c.operations.Store(c.operations.Load() + 1)
	}
	tel := s.db.tel
	var alone bool
	if e.lone, alone = tel.provider.Lone(ctx); alone {
		return e
	}
	e.begin(ctx)
	e.ctx = e.span
	if s.summary != "" {
		tel.countRepeats(e.span, s)
	}
	return e
}

func (e *execution) begin(ctx context.Context) {
	tel := e.db.tel
	e.span = tel.beginSpan(ctx, span.Options{
		Name: e.name, Kind: trace.SpanKindClient, Start: e.start, Describer: e.statement, Scope: tel.scope, Lone: e.lone,
	})
}

// end records the operation. driver.ErrSkip says that there was none:
// database/sql goes on to do it in another way.
func (e *execution) end(err error, returned bool) {
	took := time.Since(e.start) // half the price of time.Now
	class := ""
	switch {
	case !returned:
		class = "panic"
	case err == driver.ErrSkip:
		if e.span != nil {
			e.span.Discard()
		}
		return
	case err != nil:
		class = errorType(err)
	}
	p := e.processor()
	if e.span == nil && (class != "" || !e.db.tel.provider.Forget(e.pace, e.start, took)) {
		e.begin(e.ctx) // it is worth one after all
		e.ctx = e.span
	}
	series := e.timing(class)
	if e.span == nil {
		series.own.observe(took.Seconds(), p)
	} else {
		if class != "" {
			e.failed(err, class)
		}
		end := e.start.Add(took)
		e.span.Finish(span.Outcome{End: end, Failed: class != "", Panicked: !returned, Route: e.name, Pace: e.pace, Detacher: e.statement})
		series.observe(took.Seconds(), end, exemplar(e.span), p)
	}
	if took >= e.db.slow.above && e.summary != "" {
		e.db.slow.record(e, took, class)
	}
}

// failed says on the span what went wrong.
func (e *execution) failed(err error, class string) {
	if err != nil && class != "panic" {
		recordError(e.span, err, withoutLiterals) // servers quote the statement and its values
		if code := databaseCode(err); code != "" {
			e.span.SetAttributes(attribute.String("db.response.status_code", code))
		}
	}
	e.span.SetAttributes(attribute.String("error.type", class))
}

// processor is the connection's, where there is one: it is free.
func (e *execution) processor() processor {
	if e.conn != nil {
		return e.conn.processor
	}
	return currentProcessor()
}
