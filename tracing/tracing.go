// Package tracing answers where the time of one request went.
//
//	p, err := tracing.NewProvider(ctx, tracing.Config{Service: "shop"})
//	if err != nil {
//		return err
//	}
//	defer p.Shutdown(ctx)
//	err = tracing.Do(ctx, "price", func(ctx context.Context) error { return price(ctx, cart) })
//
// The spans are this module's own: small, and the same for sampled and refused traces. Samplers, processors, exporters,
// limits and the resource are the OpenTelemetry SDK's, set by its standard variables. Any instrumentation library can use
// the provider.
//
// # Late sampling
//
// A trace that the sampler refused is remembered until its local root ends. When the root was slow, failed, panicked or
// was marked with Keep, its spans are exported after all, with the IDs, times and attributes they had; the root carries
// observe.keep_reason. The flag sent downstream stays "not sampled", because the decision comes after the call: every
// service on a slow path decides for itself and keeps its own part under the same trace ID.
//
// IsRecording is true for refused spans: instrumentation libraries set the attributes that say what they call, so that
// dependencies are measured and late traces are complete.
//
// # Failure
//
// Bad settings are errors of NewProvider. Afterwards nothing fails: an exporter that is slow, hangs or refuses costs no
// request any time, memory is bounded by the queue, and each lost span is counted by reason in Stats and logged at most
// once a minute. For each exporter, produced = exported + queued + dropped, at any time.
//
// # Concurrency
//
// Everything here may be called concurrently. A context may be kept after its request: spans begun in it belong to the
// same trace and share its fate.
//
// # Cost
//
// A span is 184 bytes: part of the edge's own allocation for a request, a quarter of one for a step or a query below it.
// When it is exported one allocation more holds the copy. BenchmarkServerRefused and its neighbours in internal/span
// measure it beside the SDK's spans.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	rt "runtime/trace"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/internal/span"
)

// scopeName is the instrumentation scope of steps.
const scopeName = "github.com/loadline-go/loadline/tracing"

// Do runs f as a step: a span, a region of the execution trace and the profile label "step", all called name. f gets the
// context of the step; its error is recorded and returned as it is. A panic is recorded and goes on. The name must be one
// of few. Without a span in ctx the step belongs to the global TracerProvider, which does nothing unless one was set.
func Do(ctx context.Context, name string, f func(context.Context) error) (err error) {
	var step trace.Span
	parent := ctx
	if s := span.FromContext(ctx); s != nil && trace.SpanFromContext(ctx) == trace.Span(s) {
		ctx, step = s.TracerProvider().Tracer(scopeName).Start(ctx, name)
	} else {
		ctx, step = otel.Tracer(scopeName).Start(ctx, name)
	}
	ctx = pprof.WithLabels(ctx, pprof.Labels("step", name))
	pprof.SetGoroutineLabels(ctx)
	region := rt.StartRegion(ctx, name)
	returned := false
	defer func() {
		region.End()
		pprof.SetGoroutineLabels(parent)
		if returned {
			if err != nil {
				step.RecordError(err)
				if !errors.Is(err, context.Canceled) { // whoever asked has gone: nothing failed
					step.SetStatus(codes.Error, err.Error())
				}
			}
			step.End()
			return
		}
		// A panic, or runtime.Goexit, for which recover returns nil.
		if r := recover(); r != nil {
			step.SetStatus(codes.Error, fmt.Sprint(r))
			recordPanic(step, r)
			step.End()
			panic(r)
		}
		step.End()
	}()
	err = f(ctx)
	returned = true
	return err
}

// recordPanic adds the exception event and asks for the trace to be kept.
func recordPanic(step trace.Span, r any) {
	err, ok := r.(error)
	if !ok {
		err = fmt.Errorf("%v", r)
	}
	step.RecordError(err, trace.WithStackTrace(true))
	if s, ok := step.(*span.Span); ok {
		s.Keep()
	}
}

// ID returns the trace ID of the current span in hex, empty when there is none.
func ID(ctx context.Context) string {
	switch s := trace.SpanFromContext(ctx).(type) {
	case *span.Span:
		if !s.SpanContext().IsValid() {
			return ""
		}
		id, _ := s.IDs()
		return id
	default:
		if sc := s.SpanContext(); sc.IsValid() {
			return sc.TraceID().String()
		}
	}
	return ""
}

// Keep asks for the current trace to be exported whatever the sampler said, within the budget. It counts when called
// before the local root ends; without a span in ctx it does nothing.
func Keep(ctx context.Context) { span.FromContext(ctx).Keep() }
