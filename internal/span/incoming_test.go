package span

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// What BeginIncoming makes of a request is what Begin makes of it, whatever the caller sent and the sampler says.
func TestAnIncomingRequestBeginsLikeAnyOther(t *testing.T) {
	parents := [][]string{
		nil, {""}, {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"},
		{"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03"}, {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff"},
		{"00-00000000000000000000000000000000-b7ad6b7169203331-01"}, {"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"},
		{"00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, {"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more"},
		{" 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 "}, {"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		{"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x"}, {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
	}
	states := [][]string{nil, {""}, {"a=1,b=2"}, {"a=1", "b=2"}, {"a=1,a=2"}, {"=,="}, {"1x@=y"}}
	samplers := map[string]sdktrace.Sampler{
		"always": sdktrace.AlwaysSample(), "never": sdktrace.NeverSample(), "half": sdktrace.TraceIDRatioBased(.5), "like the parent": sdktrace.ParentBased(sdktrace.NeverSample()),
		"unlike the parent": sdktrace.ParentBased(sdktrace.AlwaysSample(), sdktrace.WithRemoteParentSampled(sdktrace.NeverSample()), sdktrace.WithRemoteParentNotSampled(sdktrace.AlwaysSample())),
		"by attribute":      byAttribute{},
	}
	local, _ := New(Settings{}).Tracer("x").Start(context.Background(), "local")
	contexts := map[string]context.Context{
		"none": context.Background(), "a local span": local,
		"a remote span": trace.ContextWithRemoteSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, Remote: true})),
	}
	for name, sampler := range samplers {
		for _, s := range []Settings{{Sampler: sampler}, {Sampler: sampler, Off: true}, {Sampler: sampler, SDKSpans: true}, {Sampler: sampler, IDs: &counted{}}} {
			p := New(s)
			for under, ctx := range contexts {
				for _, parent := range parents {
					for _, state := range states {
						h := http.Header{traceparentKey: parent, tracestateKey: state}
						o := Options{Name: "GET", Kind: trace.SpanKindServer, Header: h, Scope: p.own, Describer: &ended{}}
						var want, got Span
						p.Begin(&want, ctx, o)
						p.BeginIncoming(&got, ctx, &o, 7, !Current(ctx))
						if name == "half" && !want.Parent().IsValid() {
							continue // chance
						}
						if g, w := identity(p, &got), identity(p, &want); g != w {
							t.Fatalf("%s, off %v, SDK %v, under %s, %q %q:\ngot  %s\nwant %s", name, s.Off, s.SDKSpans, under, parent, state, g, w)
						}
					}
				}
			}
		}
	}
}

// identity is all that a beginning decides, but for random IDs.
func identity(p *Provider, s *Span) string {
	h := http.Header{}
	s.Inject(h)
	id, traced := s.TraceID().String(), "new"
	if parent := s.Parent(); parent.IsValid() || p.off {
		traced = id
	}
	return fmt.Sprintln(s.mode, s.flags, s.Parent(), traced, s.Parent().TraceState(), s.SpanContext().TraceState(), h[tracestateKey],
		s.Sampled(), s.IsRecording(), s.name, s.SpanKind(), s.TraceID().IsValid(), s.SpanID().IsValid(), s.family.Load() != nil)
}

type ended struct{}

func (*ended) Describe(attrs []attribute.KeyValue, ended bool) []attribute.KeyValue {
	return append(attrs, attribute.Bool("ended", ended))
}

// byAttribute is a sampler that must be asked in full.
type byAttribute struct{}

func (byAttribute) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	r := sdktrace.SamplingResult{Tracestate: trace.SpanContextFromContext(p.ParentContext).TraceState()}
	if len(p.Attributes) > 0 {
		r.Decision = sdktrace.RecordAndSample
	}
	return r
}

func (byAttribute) Description() string { return "by attribute" }

// counted makes IDs that are never random.
type counted struct{ n byte }

func (c *counted) NewIDs(context.Context) (trace.TraceID, trace.SpanID) {
	c.n++
	return trace.TraceID{c.n, 1}, trace.SpanID{c.n, 1}
}

func (c *counted) NewSpanID(context.Context, trace.TraceID) trace.SpanID {
	c.n++
	return trace.SpanID{c.n, 1}
}
