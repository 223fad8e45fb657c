package observe

import (
	"context"
	"runtime/pprof"

	"go.opentelemetry.io/otel/attribute"

	"github.com/loadline-go/loadline/internal/span"
)

// The labels of samples, while a CPU profile is taken.
const (
	routeLabel = "route"
	jobLabel   = "job_name"
	// The identity of the local root of a sampled trace, under the names that
	// Pyroscope and Grafana join profiles and traces by.
	spanLabel                  = "span_id"
	spanProfiled attribute.Key = "pyroscope.profile.id"
)

// profileLabelsKey is the key under which runtime/pprof keeps labels in a
// context. It does not export it, but asks any context for it.
var profileLabelsKey = func() (key any) {
	pprof.Label(keyProbe{context.Background(), &key}, "")
	return key
}()

// label gives the goroutine the label of a pattern's route while a profile is
// taken, beside those of ctx, and what it starts inherits it.
func (s *server) label(ctx context.Context, pattern string) {
	if s.watched() {
		pprof.SetGoroutineLabels(pprof.WithLabels(ctx, s.labelled(pattern).labels))
	}
}

// labelled returns a route with its labels.
func (s *server) labelled(pattern string) *route {
	r := s.route(pattern)
	r.labelled.Do(func() {
		r.labels = pprof.Labels(routeLabel, r.name)
		r.alone = pprof.WithLabels(context.Background(), r.labels)
	})
	return r
}

// profiled gives the goroutine that serves q the labels of its route, nil when
// that is not known yet, and of its trace, and the context, so that what
// pprof.Do adds inside comes beside them. A request without either costs no
// allocation: its labels are the route's.
func (q *request) profiled(r *route) {
	linked := q.server.tel.profiler.push != nil && q.span.SpanContext().IsSampled()
	switch {
	case linked:
		id := linkProfile(&q.span)
		labels := pprof.Labels(spanLabel, id)
		if r != nil {
			labels = pprof.Labels(routeLabel, r.name, spanLabel, id)
		}
		ctx := pprof.WithLabels(&q.span, labels)
		q.labels = &ctx
	case r == nil:
		return
	case q.span.Value(profileLabelsKey) == nil:
		q.labels = &r.alone
	default:
		ctx := pprof.WithLabels(&q.span, r.labels)
		q.labels = &ctx
	}
	pprof.SetGoroutineLabels(q)
}

// linkProfile makes the profiles of a local root findable from it.
func linkProfile(s *span.Span) (id string) {
	_, id = s.IDs()
	s.SetAttributes(spanProfiled.String(id))
	return id
}

// profiledJob returns the context of a run with the labels of its job, and of
// its trace where the run is a local root, and gives them to the goroutine.
func (t *Telemetry) profiledJob(parent context.Context, r *run) context.Context {
	labels := pprof.Labels(jobLabel, r.state.name)
	if t.profiler.push != nil && !span.Current(parent) && r.span.SpanContext().IsSampled() {
		labels = pprof.Labels(jobLabel, r.state.name, spanLabel, linkProfile(&r.span))
	}
	ctx := pprof.WithLabels(&r.span, labels)
	pprof.SetGoroutineLabels(ctx)
	return ctx
}
