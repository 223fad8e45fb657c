package span

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Bounds on baggage, in and out: those that the W3C says a platform must be able to carry.
const (
	maxBaggageMembers = 64
	maxBaggageBytes   = 8192
	baggageKey        = "Baggage"
	baggageName       = "baggage"
)

// Propagator carries trace context and, by an allow-list, baggage between processes, for libraries that ask the
// OpenTelemetry globals. It implements propagation.TextMapPropagator.
type Propagator struct {
	// Baggage lists the keys that may come in and go out; "*" allows all. Default: none, because baggage is written by
	// strangers and read by strangers.
	Baggage []string
}

var _ propagation.TextMapPropagator = Propagator{}

// Fields lists the headers that Inject writes.
func (p Propagator) Fields() []string {
	f := []string{traceparentName, tracestateName}
	if len(p.Baggage) > 0 {
		f = append(f, baggageName)
	}
	return f
}

// Inject writes the current span's identity and the allowed baggage into carrier.
func (p Propagator) Inject(ctx context.Context, carrier propagation.TextMapCarrier) {
	current := trace.SpanFromContext(ctx)
	if sc := current.SpanContext(); sc.IsValid() {
		state := sc.TraceState().String()
		switch s := current.(type) {
		case *Span:
			state = s.stateText()
		case *caller:
			if s.raw != "" {
				state = s.raw
			}
		}
		if h, ok := carrier.(propagation.HeaderCarrier); ok {
			injectHeader(http.Header(h), sc.TraceID(), sc.SpanID(), sc.TraceFlags(), state)
		} else {
			var text [traceparentLen]byte
			formatTraceparent(&text, sc.TraceID(), sc.SpanID(), sc.TraceFlags())
			carrier.Set(traceparentName, string(text[:]))
			if state != "" {
				carrier.Set(tracestateName, state)
			}
		}
	}
	if len(p.Baggage) == 0 {
		return
	}
	if text := p.filter(baggage.FromContext(ctx)).String(); text != "" {
		carrier.Set(baggageName, text)
	}
}

// Extract returns ctx with the caller's identity as the remote current span, and with the allowed baggage. What is
// malformed is ignored.
func (p Propagator) Extract(ctx context.Context, carrier propagation.TextMapCarrier) context.Context {
	if parents := values(carrier, traceparentName); len(parents) == 1 {
		if c, ok := parseTraceparent(parents[0]); ok {
			far := new(caller)
			if states := values(carrier, tracestateName); len(states) > 0 {
				text := readTracestate(states)
				var err error
				if c.TraceState, err = trace.ParseTraceState(text); err != nil {
					far.raw = text
				}
			}
			far.sc = trace.NewSpanContext(c)
			ctx = trace.ContextWithSpan(ctx, far)
		}
	}
	if len(p.Baggage) > 0 {
		if bag := p.parse(values(carrier, baggageName)); bag.Len() > 0 {
			ctx = baggage.ContextWithBaggage(ctx, bag)
		}
	}
	return ctx
}

// caller is the remote current span that Extract makes: the API's, with a state that the API cannot hold.
type caller struct {
	noop.Span
	sc  trace.SpanContext
	raw string
}

func (c *caller) SpanContext() trace.SpanContext { return c.sc }

// ExtractBaggage returns ctx with the allowed baggage of h; ctx itself when there is none.
func (p Propagator) ExtractBaggage(ctx context.Context, h http.Header) context.Context {
	if len(p.Baggage) == 0 || len(h[baggageKey]) == 0 {
		return ctx
	}
	if bag := p.parse(h[baggageKey]); bag.Len() > 0 {
		return baggage.ContextWithBaggage(ctx, bag)
	}
	return ctx
}

// InjectBaggage writes the allowed baggage of ctx into h.
func (p Propagator) InjectBaggage(ctx context.Context, h http.Header) {
	if len(p.Baggage) == 0 {
		return
	}
	if text := p.filter(baggage.FromContext(ctx)).String(); text != "" {
		h[baggageKey] = []string{text}
	}
}

// values returns every value of a key that the carrier can tell.
func values(carrier propagation.TextMapCarrier, key string) []string {
	if g, ok := carrier.(propagation.ValuesGetter); ok {
		return g.Values(key)
	}
	if v := carrier.Get(key); v != "" {
		return []string{v}
	}
	return nil
}

func (p Propagator) allows(key string) bool {
	return slices.Contains(p.Baggage, key) || slices.Contains(p.Baggage, "*")
}

// parse reads members one by one, so that one that is malformed costs only itself.
func (p Propagator) parse(headers []string) baggage.Baggage {
	var members []baggage.Member
	size := 0
	for _, h := range headers {
		for rest := h; rest != "" && size <= maxBaggageBytes; {
			var text string
			text, rest, _ = strings.Cut(rest, ",")
			size += len(text) + 1
			if size > maxBaggageBytes+1 || len(members) >= maxBaggageMembers {
				break
			}
			key, _, _ := strings.Cut(text, "=")
			if !p.allows(strings.Trim(key, " \t")) {
				continue
			}
			one, err := baggage.Parse(strings.Trim(text, " \t"))
			if err != nil {
				continue
			}
			members = append(members, one.Members()...)
		}
	}
	bag, err := baggage.New(members...)
	if err != nil {
		return baggage.Baggage{}
	}
	return bag
}

// filter returns the part of bag that may go out.
func (p Propagator) filter(bag baggage.Baggage) baggage.Baggage {
	var members []baggage.Member
	size := 0
	for _, m := range bag.Members() {
		size += len(m.String()) + 1
		if p.allows(m.Key()) && len(members) < maxBaggageMembers && size <= maxBaggageBytes {
			members = append(members, m)
		}
	}
	out, err := baggage.New(members...)
	if err != nil {
		return baggage.Baggage{}
	}
	return out
}
