package observe

import (
	"context"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/internal/span"
)

// Transport returns a http.RoundTripper that measures and traces every request
// and sends it through next, http.DefaultTransport when nil. The trace goes on
// in the called service: the headers traceparent, tracestate and baggage are
// set on a copy of the request. The span ends when the body of the response is
// read to its end or closed; the metric ends with the response's header. A nil
// Telemetry returns next, or http.DefaultTransport.
func (t *Telemetry) Transport(next http.RoundTripper) http.RoundTripper {
	if next == nil {
		next = http.DefaultTransport
	}
	if t == nil {
		return next
	}
	return &transport{next: next, client: t.client}
}

type transport struct {
	next   http.RoundTripper
	client *client
}

// CloseIdleConnections is what http.Client.CloseIdleConnections calls.
func (t *transport) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// client is what all Transports of one Telemetry share.
type client struct {
	tel      *Telemetry
	duration *vec[*timing]
	found    cache[clientKey, *timing]
}

type clientKey struct {
	host, scheme, errorType string
	method, status          int
}

func newClient(t *Telemetry) *client {
	return &client{tel: t, duration: t.metrics.histogram(clientDuration)}
}

// outgoing is one request on its way out: its span, its record and the body of
// its response in one allocation.
type outgoing struct {
	span      span.Span
	method    int
	r         *http.Request
	status    int
	errorType string
	body      io.ReadCloser
	ended     atomic.Bool
}

func (t *transport) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	start := time.Now()
	o := &outgoing{method: methodIndex(r.Method), r: r}
	if r.Method == "" { // as net/http does
		o.method = methodIndex("GET")
	}
	t.client.tel.provider.Begin(&o.span, r.Context(), span.Options{
		Name: methods[o.method], Kind: trace.SpanKindClient, Start: start, Describer: o, Scope: t.client.tel.scope,
	})
	out := r.WithContext(&o.span)
	out.Header = maps.Clone(r.Header) // values are replaced, not changed
	if out.Header == nil {
		out.Header = make(http.Header, 2)
	}
	o.span.Inject(out.Header)

	returned := false
	defer func() {
		switch {
		case !returned:
			o.errorType = "panic"
		case err != nil:
			o.errorType = errorType(err)
		default:
			o.status = resp.StatusCode
			if o.status >= 400 {
				o.errorType = statusText(o.status)
			}
		}
		end := time.Now()
		t.client.timing(o).observeFor(end.Sub(start), end, exemplar(&o.span))
		// An upgraded connection keeps its own body, which is also a writer.
		if !returned || err != nil || resp.Body == nil || resp.StatusCode == http.StatusSwitchingProtocols {
			o.end(end)
			return
		}
		o.body = resp.Body
		resp.Body = o
	}()
	resp, err = t.next.RoundTrip(out)
	returned = true
	return resp, err
}

func (o *outgoing) end(at time.Time) {
	if o.ended.CompareAndSwap(false, true) {
		o.span.Finish(span.Outcome{End: at, Failed: o.errorType != ""})
	}
}

// Read and Close make outgoing the body of its response.
func (o *outgoing) Read(p []byte) (int, error) {
	n, err := o.body.Read(p)
	if err != nil {
		o.end(time.Now())
	}
	return n, err
}

func (o *outgoing) Close() error {
	err := o.body.Close()
	o.end(time.Now())
	return err
}

func (c *client) timing(o *outgoing) *timing {
	u := o.r.URL
	key := clientKey{host: u.Host, scheme: u.Scheme, errorType: o.errorType, method: o.method, status: o.status}
	if t, ok := c.found.get(key); ok {
		return t
	}
	status := ""
	if o.status != 0 {
		status = statusText(o.status)
	}
	t, exact := c.duration.with(methods[o.method], clip(u.Hostname(), 255), clip(port(o.r), 5), status, o.errorType)
	if exact {
		c.found.add(key, t)
	}
	return t
}

func port(r *http.Request) string {
	switch {
	case r.URL.Port() != "":
		return r.URL.Port()
	case r.URL.Scheme == "https":
		return "443"
	}
	return "80"
}

// Describe gives the attributes of the client span when somebody will read them.
func (o *outgoing) Describe(attrs []attribute.KeyValue, ended bool) []attribute.KeyValue {
	if ended {
		if o.status != 0 {
			attrs = append(attrs, attribute.Int("http.response.status_code", o.status))
		}
		if o.errorType != "" {
			attrs = append(attrs, attribute.String("error.type", o.errorType))
		}
		return attrs
	}
	attrs = slices.Grow(attrs, 6)
	attrs = append(attrs,
		attribute.String("http.request.method", methods[o.method]),
		attribute.String("server.address", o.r.URL.Hostname()),
		attribute.String("url.full", clip(redactURL(o.r.URL), maxAttribute)),
	)
	if n, err := strconv.Atoi(port(o.r)); err == nil {
		attrs = append(attrs, attribute.Int("server.port", n))
	}
	return attrs
}

// Call measures and traces one call of a dependency that has no wrapper of its
// own: a queue, a cache, a client of another protocol. Dependency and
// operation name it, each one of few: "mail", "send". What f returns is
// returned as it is. A nil Telemetry just calls f.
func (t *Telemetry) Call(ctx context.Context, dependency, operation string, f func(context.Context) error) (err error) {
	if t == nil {
		return f(ctx)
	}
	start := time.Now()
	c := &call{dependency: dependency, operation: operation}
	t.provider.Begin(&c.span, ctx, span.Options{
		Name: operation, Kind: trace.SpanKindClient, Start: start, Describer: c, Scope: t.scope,
	})
	returned := false
	defer func() {
		switch {
		case !returned:
			c.errorType = "panic"
		case err != nil:
			c.errorType = errorType(err)
			c.span.RecordError(err)
		}
		end := time.Now()
		c.span.Finish(span.Outcome{End: end, Failed: c.errorType != "", Panicked: !returned})
		t.calls.timing(c).observeFor(end.Sub(start), end, exemplar(&c.span))
	}()
	err = f(&c.span)
	returned = true
	return err
}

type call struct {
	span                             span.Span
	dependency, operation, errorType string
}

// Describe gives the attributes of the call's span when somebody will read them.
func (c *call) Describe(attrs []attribute.KeyValue, ended bool) []attribute.KeyValue {
	if !ended {
		return append(attrs, attribute.String("peer.service", c.dependency), attribute.String("observe.operation", c.operation))
	}
	if c.errorType != "" {
		attrs = append(attrs, attribute.String("error.type", c.errorType))
	}
	return attrs
}

type calls struct {
	duration *vec[*timing]
	found    cache[callKey, *timing]
}

type callKey struct{ dependency, operation, errorType string }

func (s *calls) timing(c *call) *timing {
	key := callKey{c.dependency, c.operation, c.errorType}
	if t, ok := s.found.get(key); ok {
		return t
	}
	t, exact := s.duration.with(c.dependency, c.operation, c.errorType)
	if exact {
		s.found.add(key, t)
	}
	return t
}
