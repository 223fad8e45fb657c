package observe

import (
	"context"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/internal/span"
)

// Call measures and traces one call of a dependency that has no wrapper of its
// own: a queue, a cache, a client of another protocol. Dependency and
// operation name it, each one of few: "mail", "send". What f returns is
// returned as it is; an f that does not return is counted under error_type
// "panic", and its panic goes on. A nil Telemetry just calls f.
func (t *Telemetry) Call(ctx context.Context, dependency, operation string, f func(context.Context) error) (err error) {
	if t == nil {
		return f(ctx)
	}
	start := time.Now()
	c := &call{dependency: dependency, operation: operation}
	s := t.beginSpan(ctx, span.Options{Name: operation, Kind: trace.SpanKindClient, Start: start, Describer: c, Scope: t.scope})
	returned := false
	defer func() {
		class := ""
		switch {
		case !returned:
			class = "panic"
		case err != nil:
			class = errorType(err)
			recordError(s, err, nil)
		}
		finishSpan(s, t.calls.timing(c, class), start, class, !returned)
	}()
	err = f(s)
	returned = true
	return err
}

// beginSpan begins a span in the memory of its trace, or on its own when ctx
// belongs to none.
func (t *Telemetry) beginSpan(ctx context.Context, o span.Options) *span.Span {
	if span.FromContext(ctx) != nil {
		return t.provider.Start(ctx, o)
	}
	s := new(span.Span)
	t.provider.Begin(s, ctx, o)
	return s
}

// finishSpan ends a span and records how long it took.
func finishSpan(s *span.Span, series *timing, start time.Time, errorType string, panicked bool) {
	end := time.Now()
	if errorType != "" {
		s.SetAttributes(attribute.String("error.type", errorType))
	}
	s.Finish(span.Outcome{End: end, Failed: errorType != "", Panicked: panicked})
	series.observeFor(end.Sub(start), end, exemplar(s))
}

type call struct {
	dependency, operation string
	party                 *span.Party // set at the end
}

// Describe gives the attributes of the call's span when somebody will read
// them; finishSpan adds the error.
func (c *call) Describe(attrs []attribute.KeyValue, ended bool) []attribute.KeyValue {
	if ended {
		return attrs
	}
	return append(attrs, attribute.String("peer.service", text(c.dependency, maxHost)), attribute.String("observe.operation", text(c.operation, maxHost)))
}

// calls is what all Calls of one Telemetry share.
type calls struct {
	duration *vec[*timing]
	found    cache[callKey, foundDependency]
	parties  *parties
}

type callKey struct{ dependency, operation, errorType string }

func (s *calls) timing(c *call, errorType string) *timing {
	key := callKey{c.dependency, c.operation, errorType}
	if is, ok := s.found.get(key); ok {
		c.party = is.party
		return is.timing
	}
	t, exact := s.duration.with(c.dependency, c.operation, errorType)
	c.party = s.parties.named(span.Party{Kind: kindOther, Name: c.dependency})
	// What is mended shares a series and is without number: see client.timing.
	if exact && utf8.ValidString(c.dependency) && utf8.ValidString(c.operation) {
		s.found.add(key, foundDependency{timing: t, party: c.party})
	}
	return t
}
