package observe

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/internal/span"
)

// Transport returns a http.RoundTripper that measures and traces every request
// and sends it through next, http.DefaultTransport when nil. The trace goes on
// in the called service: the headers traceparent and tracestate, and baggage
// where Config.Tracing allows some, are set on a copy of the request. The metric ends with the response's header; the span
// ends when the response's body is read to its end or closed. A request whose
// RoundTrip did not return is counted under error_type "panic", and the panic
// goes on. Applying it twice counts once. A nil Telemetry returns next, or
// http.DefaultTransport.
func (t *Telemetry) Transport(next http.RoundTripper) http.RoundTripper {
	if next == nil {
		next = http.DefaultTransport
	}
	if t == nil {
		return next
	}
	if inner, ok := next.(*transport); ok && inner.client == t.client {
		return inner
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

// outgoing is one request on its way out: its record and the body of its
// response in one allocation. It keeps a copy of the URL, because the span may
// be described after the caller took the request back and changed it.
type outgoing struct {
	span      *span.Span
	method    int
	url       url.URL
	original  string // the method, when it is not a known one
	status    int
	errorType string
	body      io.ReadCloser
	header    span.HeaderRoom
	ended     atomic.Bool
}

// outermost is an outgoing with its span, for a request outside of any trace.
type outermost struct {
	outgoing
	own span.Span
}

func (t *transport) begin(r *http.Request, start time.Time) *outgoing {
	provider := t.client.tel.provider
	opts := span.Options{Kind: trace.SpanKindClient, Start: start, Scope: t.client.tel.scope}
	if span.FromContext(r.Context()) != nil {
		o := &outgoing{}
		o.set(r)
		opts.Name, opts.Describer = methods[o.method], o
		o.span = provider.Start(r.Context(), opts) // in the memory of its trace
		return o
	}
	o := &outermost{}
	o.set(r)
	opts.Name, opts.Describer = methods[o.method], &o.outgoing
	o.span = &o.own
	provider.Begin(o.span, r.Context(), opts)
	return &o.outgoing
}

func (o *outgoing) set(r *http.Request) {
	o.url = *r.URL
	switch o.method = methodIndex(r.Method); {
	case r.Method == "": // as net/http does
		o.method = methodIndex(http.MethodGet)
	case o.method == 0:
		o.original = r.Method
	}
}

func (t *transport) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	if r.URL == nil {
		return t.next.RoundTrip(r) // to fail there, as it would
	}
	start := time.Now()
	o := t.begin(r, start)
	out := r.WithContext(o.span)
	out.Header = make(http.Header, len(r.Header)+2)
	maps.Copy(out.Header, r.Header) // values are replaced, not changed
	o.span.InjectIn(&o.header, out.Header)
	t.client.tel.server.propagator.InjectBaggage(r.Context(), out.Header)

	returned := false
	defer func() {
		switch {
		case !returned:
			o.errorType = "panic"
		case err != nil:
			o.errorType = errorType(err)
			recordError(o.span, err, nil)
		case resp != nil:
			o.status = resp.StatusCode
			if o.status >= 400 {
				o.errorType = statusText(o.status)
			}
		}
		end := time.Now()
		t.client.timing(o).observeFor(end.Sub(start), end, exemplar(o.span))
		if resp != nil && resp.Request == out {
			resp.Request = r
		}
		// An upgraded connection keeps its own body, which is also a writer.
		if err != nil || resp == nil || resp.Body == nil || resp.Body == http.NoBody || resp.StatusCode == http.StatusSwitchingProtocols {
			o.end(end, "", !returned)
			return
		}
		o.body = resp.Body
		resp.Body = o
	}()
	resp, err = t.next.RoundTrip(out)
	returned = true
	return resp, err
}

// end ends the span once. A body that broke off is told by the span alone: the
// metric was observed with the header.
func (o *outgoing) end(at time.Time, errorType string, panicked bool) {
	if !o.ended.CompareAndSwap(false, true) {
		return
	}
	if o.errorType == "" {
		o.errorType = errorType
	}
	o.span.Finish(span.Outcome{End: at, Failed: o.errorType != "", Panicked: panicked})
}

// Read and Close make outgoing the body of its response.
func (o *outgoing) Read(p []byte) (int, error) {
	n, err := o.body.Read(p)
	switch {
	case err == io.EOF:
		o.end(time.Now(), "", false)
	case err != nil && !o.ended.Load():
		o.end(time.Now(), errorType(err), false)
	}
	return n, err
}

func (o *outgoing) Close() error {
	err := o.body.Close()
	o.end(time.Now(), "", false)
	return err
}

func (c *client) timing(o *outgoing) *timing {
	u := &o.url
	key := clientKey{host: u.Host, scheme: u.Scheme, errorType: o.errorType, method: o.method, status: o.status}
	if t, ok := c.found.get(key); ok {
		return t
	}
	status := ""
	if o.status != 0 {
		status = statusText(o.status)
	}
	address, port := u.Hostname(), port(u)
	t, exact := c.duration.with(methods[o.method], clip(address, maxHost), clip(port, maxPort), status, o.errorType)
	// Hosts that share a series by being clipped or mended are without number,
	// and so are schemes: the cache takes only what has a series of its own.
	if exact && len(address) <= maxHost && len(port) <= maxPort && utf8.ValidString(u.Host) && (u.Scheme == "http" || u.Scheme == "https") {
		key.host, key.scheme = strings.Clone(key.host), strings.Clone(key.scheme) // not a part of the URL
		c.found.add(key, t)
	}
	return t
}

const (
	maxHost = 255 // octets of a name in the DNS
	maxPort = 5
)

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	switch u.Scheme {
	case "http":
		return "80"
	case "https":
		return "443"
	}
	return ""
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
	attrs = slices.Grow(attrs, 7)
	attrs = append(attrs,
		attribute.String("http.request.method", methods[o.method]),
		attribute.String("server.address", text(o.url.Hostname(), maxHost)),
		attribute.String("url.full", text(redactURL(&o.url), maxAttribute)),
	)
	if n, err := strconv.Atoi(port(&o.url)); err == nil {
		attrs = append(attrs, attribute.Int("server.port", n))
	}
	if o.original != "" {
		attrs = append(attrs, attribute.String("http.request.method_original", text(o.original, 32)))
	}
	return attrs
}

// text makes s fit for an attribute: an exporter may refuse a whole batch of
// spans for one string that is not UTF-8.
func text(s string, max int) string {
	if s = clip(s, max); span.Sound(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

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

type call struct{ dependency, operation string }

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
	found    cache[callKey, *timing]
}

type callKey struct{ dependency, operation, errorType string }

func (s *calls) timing(c *call, errorType string) *timing {
	key := callKey{c.dependency, c.operation, errorType}
	if t, ok := s.found.get(key); ok {
		return t
	}
	t, exact := s.duration.with(c.dependency, c.operation, errorType)
	// What is mended shares a series and is without number: see client.timing.
	if exact && utf8.ValidString(c.dependency) && utf8.ValidString(c.operation) {
		s.found.add(key, t)
	}
	return t
}
