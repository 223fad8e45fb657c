package observe

import (
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/internal/span"
)

// countRepeats counts a statement among those of its trace, once the trace has
// become large enough for one to be repeated too often.
func (t *Telemetry) countRepeats(s *span.Span, st *statement) {
	n, more := s.Tally(queryOf, t.config.RepeatedQueries)
	if !more {
		return
	}
	root := s.LocalRoot()
	root.SetAttributes(attribute.String("observe.db.repeated_query", text(st.summary, maxSummary)), attribute.Int("observe.db.repeated_query.count", n))
	if n < 2*t.config.RepeatedQueries {
		root.AddEvent("observe.db.repeated_query", trace.WithAttributes(
			attribute.String("db.namespace", text(st.db.name, maxHost)), attribute.String("db.query.summary", text(st.summary, maxSummary)), attribute.Int("observe.db.repeated_query.count", n),
		))
	}
}

// queryOf is what the spans of statements are counted by.
func queryOf(d span.Describer) any {
	if s, ok := d.(*statement); ok && s.summary != "" {
		return s.query
	}
	return nil
}

// repeats counts, at the end of a local root, the queries that it repeated.
func (t *Telemetry) repeats(root *span.Span, tally *span.Tally) {
	route := root.Name()
	if q, ok := root.Describer().(*request); ok {
		route = q.series.route
	}
	pace := route
	if q, ok := root.Describer().(*request); ok {
		pace = q.series.spanName
	}
	tally.All(func(kind any, n int) {
		if s := kind.(*query); n > t.config.RepeatedQueries {
			c, exact := t.databases.repeated.with(s.db.name, s.summary, route)
			c.Inc()
			if exact {
				t.databases.repeats.add(pace, s.summary)
			}
		}
	})
}

// repeats are the requests, by the name of their spans, that ran one query too
// often, and which one it was the last time.
type repeats struct {
	mu  sync.Mutex
	all map[string]repeat
}

type repeat struct {
	n     int64
	query string
}

func (r *repeats) add(name, query string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = map[string]repeat{}
	}
	r.all[name] = repeat{r.all[name].n + 1, query}
}

func (r *repeats) of(name string) (n int64, query string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	is := r.all[name]
	return is.n, is.query
}
