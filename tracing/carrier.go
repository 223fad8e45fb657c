package tracing

import (
	"context"
	"net/textproto"
	"strings"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/internal/span"
)

// Inject writes the current trace of ctx into the headers of a message: any map from string to string, []string, []byte
// or any, such as http.Header or amqp.Table. It uses the global propagator, W3C Trace Context when none was set. A nil
// map or a map of another kind of value is left alone.
func Inject[M ~map[string]V, V any](ctx context.Context, headers M) {
	if headers != nil {
		propagator().Inject(ctx, carrier[M, V]{headers})
	}
}

// Extract returns ctx with the trace that Inject wrote into headers: the next span begun in it is a child of the
// sender's. Keys are found in any case. What is missing or malformed leaves ctx as it is.
func Extract[M ~map[string]V, V any](ctx context.Context, headers M) context.Context {
	return propagator().Extract(ctx, carrier[M, V]{headers})
}

// Link links the current span of ctx to the trace in headers: for the consumer of a batch, whose one span has many
// senders. Without a trace in headers it does nothing.
func Link[M ~map[string]V, V any](ctx context.Context, headers M) {
	from := trace.SpanContextFromContext(Extract(context.Background(), headers))
	if from.IsValid() {
		trace.SpanFromContext(ctx).AddLink(trace.Link{SpanContext: from})
	}
}

// propagator returns the global one, or ours while none was set.
func propagator() propagation.TextMapPropagator {
	if p := otel.GetTextMapPropagator(); len(p.Fields()) > 0 {
		return p
	}
	return span.Propagator{}
}

// carrier lets a propagator write into a map.
type carrier[M ~map[string]V, V any] struct{ m M }

func (c carrier[M, V]) Set(key, value string) {
	var zero V
	var boxed any = value
	switch any(&zero).(type) {
	case *string, *any:
	case *[]string:
		key, boxed = textproto.CanonicalMIMEHeaderKey(key), []string{value}
	case *[]byte:
		boxed = []byte(value)
	default:
		return
	}
	c.m[key] = boxed.(V)
}

func (c carrier[M, V]) Get(key string) string {
	if all := c.Values(key); len(all) > 0 {
		return all[0]
	}
	return ""
}

func (c carrier[M, V]) Values(key string) []string {
	v, ok := c.m[key]
	if !ok {
		for k, other := range c.m {
			if strings.EqualFold(k, key) {
				v, ok = other, true
				break
			}
		}
	}
	if !ok {
		return nil
	}
	switch v := any(v).(type) {
	case string:
		return []string{v}
	case []string:
		return v
	case []byte:
		return []string{string(v)}
	}
	return nil
}

func (c carrier[M, V]) Keys() []string {
	keys := make([]string, 0, len(c.m))
	for k := range c.m {
		keys = append(keys, k)
	}
	return keys
}
