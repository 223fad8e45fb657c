package span

import (
	"context"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// The SDK keeps its rules for nested, repeated and overlong values to itself. Values that could fall under them are put
// into a span of the SDK and read back, so the result is its result; all others pass untouched.

// normalize applies the limits on attribute values.
func (p *Provider) normalize(a attribute.KeyValue) attribute.KeyValue {
	switch a.Value.Type() {
	case attribute.BOOL, attribute.INT64, attribute.FLOAT64, attribute.BOOLSLICE, attribute.INT64SLICE, attribute.FLOAT64SLICE:
		return a
	case attribute.STRING:
		// A string within the limit passes, except that the SDK also mends invalid UTF-8 when it has to look closer.
		limit := p.limits.AttributeValueLengthLimit
		if limit < 0 || len(a.Value.AsString()) <= limit && utf8.ValidString(a.Value.AsString()) {
			return a
		}
	case attribute.STRINGSLICE, attribute.BYTESLICE:
		if p.limits.AttributeValueLengthLimit < 0 {
			return a
		}
	}
	_, s := p.model.Tracer("").Start(context.Background(), "")
	s.SetAttributes(a)
	s.End()
	if got := s.(sdktrace.ReadOnlySpan).Attributes(); len(got) == 1 {
		return got[0]
	}
	return a
}

func nested(a attribute.KeyValue) bool {
	t := a.Value.Type()
	return t == attribute.SLICE || t == attribute.MAP
}

// normalizeAll applies the limit on depth, the only one that the SDK applies to values in events and links.
func (p *Provider) normalizeAll(attrs []attribute.KeyValue) []attribute.KeyValue {
	for _, a := range attrs {
		if nested(a) {
			return p.normalizeByEvent(attrs)
		}
	}
	return attrs
}

func (p *Provider) normalizeByEvent(attrs []attribute.KeyValue) []attribute.KeyValue {
	l := sdktrace.NewSpanLimits()
	l.AttributeValueDepthLimit = p.limits.AttributeValueDepthLimit
	l.AttributePerEventCountLimit, l.EventCountLimit = -1, -1
	model := sdktrace.NewTracerProvider(sdktrace.WithRawSpanLimits(l), sdktrace.WithSampler(sdktrace.AlwaysSample()), sdktrace.WithResource(p.resource))
	_, s := model.Tracer("").Start(context.Background(), "")
	s.AddEvent("", trace.WithAttributes(attrs...))
	s.End()
	if got := s.(sdktrace.ReadOnlySpan).Events(); len(got) == 1 {
		return got[0].Attributes
	}
	return attrs
}

// normalizeSet applies the limit on depth to the attributes of a scope.
func (p *Provider) normalizeSet(set attribute.Set) attribute.Set {
	for i := range set.Len() {
		if kv, _ := set.Get(i); nested(kv) {
			_, s := p.model.Tracer("x", trace.WithInstrumentationAttributeSet(set)).Start(context.Background(), "")
			s.End()
			return s.(sdktrace.ReadOnlySpan).InstrumentationScope().Attributes
		}
	}
	return set
}
