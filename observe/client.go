package observe

import (
	"context"
	"hash/maphash"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
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
//
// Where next is a *http.Transport, requests go through a clone of it whose
// dialer counts its connections: one clone, however often Transport is called,
// with a pool of its own. What is set on next afterwards has no effect; to close
// idle connections call CloseIdleConnections of the http.Client or of what
// Transport returns. A connection that net/http/httptrace shows has a method
// NetConn for the one beneath. Of any other RoundTripper is known what it tells
// through net/http/httptrace.
//
// A request counts as a resending of one before it when that failed in the
// minute before (with an error, or with 401, 408, 425, 429 or 5xx), had the
// same method and URL, and either belongs to the same span or is the same
// *http.Request, as it is with the usual retrying clients. Those are counted in
// observe_http_client_retries_total; the span carries their ordinal number, and
// that of redirected requests, as http.request.resend_count.
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
	made := &transport{next: next, client: t.client}
	if theirs, ok := next.(*http.Transport); ok {
		made.keep = theirs
		if clone := t.client.clone(theirs); clone != nil {
			made.next, made.whole = clone, theirs
		}
	}
	return made
}

// WithTemplate returns a context whose outgoing requests are counted and named
// by a template of their path, "/users/{id}", in the label url_template. The
// template must be one of few: never the path itself. It is meant for one
// request, since it holds for every request that is sent with the context or
// one derived from it, redirects among them. The empty template takes back one
// that was set.
func WithTemplate(ctx context.Context, template string) context.Context {
	return &templated{ctx, template}
}

type templated struct {
	context.Context
	template string
}

type templateKey struct{}

func (t *templated) Value(key any) any {
	if _, ok := key.(templateKey); ok {
		return t
	}
	return t.Context.Value(key)
}

// templateOf returns what WithTemplate set, or "".
func templateOf(ctx context.Context) string {
	if t, ok := ctx.Value(templateKey{}).(*templated); ok {
		return t.template
	}
	return ""
}

type transport struct {
	next   http.RoundTripper
	whole  *http.Transport // what next is a clone of: it knows schemes that a clone does not
	keep   *http.Transport // next is net/http's own, whose hooks are over when it returns
	client *client
}

// CloseIdleConnections is what http.Client.CloseIdleConnections calls.
func (t *transport) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
	if t.whole != nil {
		t.whole.CloseIdleConnections()
	}
}

// client is what all Transports of one Telemetry share.
type client struct {
	tel                            *Telemetry
	duration, phase, lifetime, dns *vec[*timing]
	retried, unclosed              *vec[prometheus.Counter]
	hosts                          hosts
	attempts                       attempts
	bodies                         bodies
	hooks                          sync.Pool
	clones                         clones
}

func newClient(t *Telemetry) *client {
	m := t.metrics
	c := &client{
		tel:      t,
		duration: m.histogram(clientDuration),
		phase:    m.histogram(clientPhase),
		lifetime: m.histogram(clientConnectionDuration),
		dns:      m.histogram(dnsDuration),
		retried:  m.counter(clientRetries),
		unclosed: m.counter(clientUnclosed),
	}
	c.attempts.seed = maphash.MakeSeed()
	c.hosts.begin(c)
	c.bodies.begin(c)
	c.hooks.New = func() any { return newHooks() }
	return c
}

// outgoing is one request on its way out, in one allocation: the request as it
// is sent and its context, its record, and the body of its response. It keeps a
// copy of the URL, because the span may be described after the caller took the
// request back and changed it.
type outgoing struct {
	span     *span.Span
	request  http.Request
	url      url.URL
	host     *clientHost
	series   *clientSeries // set with the response
	template string
	original string // the method, when it is not a known one
	hooks    atomic.Pointer[hooks]
	header   span.HeaderRoom

	method    uint8
	status    int16
	resend    int32 // the how manieth sending it is, behind the first
	errorType string

	body    io.ReadCloser
	conn    *connection   // that the body is on, nil when it is not known
	headed  time.Duration // from the start to the response's header
	waited  time.Duration // by the caller, for header and body; set at the end
	reading atomic.Int64  // nanoseconds in the reads of the body that are timed
	ended   atomic.Bool
	watched watched
}

// outermost is an outgoing with its span, for a request outside of any trace.
type outermost struct {
	outgoing
	own span.Span
}

func (t *transport) begin(r *http.Request, random uint64) *outgoing {
	c, ctx := t.client, r.Context()
	opts := span.Options{Kind: trace.SpanKindClient, Start: time.Now(), Scope: c.tel.scope}
	if span.FromContext(ctx) != nil {
		o := &outgoing{}
		o.set(c, r, opts.Start)
		opts.Name, opts.Describer = methods[o.method], o
		o.span = c.tel.provider.Start(ctx, opts) // in the memory of its trace
		return o
	}
	o := &outermost{}
	o.set(c, r, opts.Start)
	opts.Name, opts.Describer = methods[o.method], &o.outgoing
	o.span = &o.own
	c.tel.provider.BeginIncoming(o.span, ctx, &opts, random, !span.Current(ctx))
	return &o.outgoing
}

func (o *outgoing) set(c *client, r *http.Request, now time.Time) {
	o.url = *r.URL
	switch m := methodIndex(r.Method); {
	case r.Method == "": // as net/http does
		o.method = uint8(methodIndex(http.MethodGet))
	case m == 0:
		o.original = r.Method
	default:
		o.method = uint8(m)
	}
	o.template = templateOf(r.Context())
	o.host = c.hosts.of(&o.url)
	if c.attempts.last.Load() != 0 || r.Response != nil {
		o.resend = c.resending(o, r, now)
	}
}

func (t *transport) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	if r.URL == nil {
		return t.next.RoundTrip(r) // to fail there, as it would
	}
	next := t.next
	if t.whole != nil && schemeIndex(r.URL.Scheme) < 0 {
		next = t.whole
	}
	on, random := here()
	o := t.begin(r, random)
	out := &o.request
	*out = *r.WithContext(o)
	out.Header = make(http.Header, len(r.Header)+2)
	if len(r.Header) > 0 {
		maps.Copy(out.Header, r.Header) // values are replaced, not changed
	}
	o.span.InjectIn(&o.header, out.Header)
	if p := &t.client.tel.server.propagator; len(p.Baggage) > 0 {
		p.InjectBaggage(r.Context(), out.Header)
	}

	returned := false
	defer func() {
		if resp != nil && resp.Request == out {
			resp.Request = r
		}
		o.finish(t, r, resp, err, returned, on)
	}()
	resp, err = next.RoundTrip(out)
	returned = true
	return resp, err
}

// finish records what RoundTrip returned, and makes o the body of the response.
func (o *outgoing) finish(t *transport, r *http.Request, resp *http.Response, err error, returned bool, on processor) {
	switch {
	case !returned:
		o.errorType = "panic"
	case err != nil:
		o.errorType = errorType(err)
		recordError(o.span, err, nil)
	case resp != nil:
		o.status = int16(min(max(resp.StatusCode, -1), 9999))
		if o.status >= 400 {
			o.errorType = statusText(int(o.status))
		}
	}
	o.headed = o.span.Running()
	series := o.host.series(o)
	o.series = series
	seconds := float64(o.headed) / 1e9
	series.duration.own.observe(seconds, on)
	if o.span.Exported() {
		// The span ends with the body, and the measure with the header.
		if at := o.span.StartTime().Add(o.headed); series.duration.due(seconds, at.UnixNano()) {
			series.duration.own.exemplar(seconds, at, o.span.TraceID().String(), o.span.SpanID().String())
		}
	}
	answered := err == nil && resp != nil
	if o.errorType != "" {
		t.client.attempts.note(o, r)
	}
	if h := o.hooks.Load(); h != nil {
		o.host.got(o, h, answered, on)
		if t.keep != nil && returned && h.reusable {
			h.reset()
			t.client.hooks.Put(h)
		}
	}
	// An upgraded connection keeps its own body, which is also a writer, and is
	// in use until it is closed.
	upgraded := answered && resp.StatusCode == http.StatusSwitchingProtocols
	if !answered || resp.Body == nil || resp.Body == http.NoBody || upgraded {
		if upgraded {
			o.conn = nil
		}
		o.end(o.headed, o.headed, "", !returned)
		return
	}
	o.body = resp.Body
	t.client.bodies.open(o, on)
	o.span.Answered(o.headed)
	resp.Body = o
}

// end ends the request once; its caller waited for so long of it. A body that broke off is told by the span alone:
// the metric was observed with the header.
func (o *outgoing) end(took, waited time.Duration, errorType string, panicked bool) {
	if !o.ended.CompareAndSwap(false, true) {
		return
	}
	o.waited = waited
	if o.conn != nil {
		o.conn.release()
	}
	if o.errorType == "" {
		o.errorType = errorType
	}
	outcome := span.Outcome{Took: took, Failed: o.errorType != "", Panicked: panicked, Route: o.series.name, Pace: o.series.pace}
	if o.template != "" {
		outcome.Name = o.series.name
	}
	o.span.FinishWith(&outcome)
}

// endBody ends the request with its body. Whole says that the reads so far have
// waited for all of it.
func (o *outgoing) endBody(errorType string, whole bool) {
	if o.ended.Load() {
		return
	}
	took := o.span.Running()
	waited := took
	if !whole {
		waited = o.headed + time.Duration(o.reading.Load())
	}
	o.end(took, waited, errorType, false)
	if o.host.client.bodies.done(o) {
		o.host.observe(phaseBody, took-o.headed, currentProcessor())
	}
}

// Read and Close make outgoing the body of its response.
func (o *outgoing) Read(p []byte) (int, error) {
	reads := o.watched.reads.Add(1) // odd while one is under way
	timed := reads > 2*untimedReads
	var began time.Duration
	if timed {
		began = o.span.Running()
	}
	n, err := o.body.Read(p)
	o.watched.reads.Add(1)
	if timed {
		o.reading.Add(int64(o.span.Running() - began))
	}
	switch {
	case err == nil:
	case err == io.EOF:
		o.endBody("", !timed)
	case !o.ended.Load():
		o.endBody(errorType(err), !timed)
	}
	return n, err
}

func (o *outgoing) Close() error {
	err := o.body.Close()
	o.endBody("", false)
	return err
}

// An outgoing is the context of the request that is sent.
func (o *outgoing) Deadline() (time.Time, bool) { return o.span.Deadline() }
func (o *outgoing) Done() <-chan struct{}       { return o.span.Done() }
func (o *outgoing) Err() error                  { return o.span.Err() }
func (o *outgoing) String() string              { return o.span.String() }

func (o *outgoing) Value(key any) any {
	if key == clientTraceKey {
		return o.clientTrace()
	}
	if _, ok := key.(outgoingKey); ok {
		return o
	}
	return o.span.Value(key)
}

type outgoingKey struct{}

// clientTraceKey is the key under which net/http/httptrace keeps its hooks in a
// context. It is not exported, but any context is asked for it. Answering it
// costs a request that asks for no hooks nothing.
var clientTraceKey = func() (key any) {
	httptrace.ContextClientTrace(keyProbe{context.Background(), &key})
	return key
}()

type keyProbe struct {
	context.Context
	key *any
}

func (p keyProbe) Value(key any) any { *p.key = key; return nil }

// Describe gives the attributes of the client span when somebody will read them.
func (o *outgoing) Describe(attrs []attribute.KeyValue, ended bool) []attribute.KeyValue {
	if ended {
		if o.status != 0 {
			attrs = append(attrs, attribute.Int("http.response.status_code", int(o.status)))
		}
		if o.errorType != "" {
			attrs = append(attrs, attribute.String("error.type", o.errorType))
		}
		return attrs
	}
	attrs = slices.Grow(attrs, 9)
	attrs = append(attrs,
		attribute.String("http.request.method", methods[o.method]),
		attribute.String("server.address", text(o.host.address, maxHost)),
		attribute.String("url.full", text(fullURL(&o.url), maxAttribute)),
	)
	if o.host.number != 0 {
		attrs = append(attrs, attribute.Int("server.port", o.host.number))
	}
	if o.template != "" {
		attrs = append(attrs, attribute.String("url.template", text(o.template, maxTemplate)))
	}
	if o.original != "" {
		attrs = append(attrs, attribute.String("http.request.method_original", text(o.original, 32)))
	}
	if o.resend != 0 {
		attrs = append(attrs, attribute.Int("http.request.resend_count", int(o.resend)))
	}
	return attrs
}

// fullURL is redactURL; the usual URL has no part that could hold a secret.
func fullURL(u *url.URL) string {
	if u.User == nil && u.RawQuery == "" && u.Opaque == "" && u.RawPath == "" && u.Scheme != "" && plain(u.Host) && strings.HasPrefix(u.Path, "/") && plain(u.Path) {
		return u.Scheme + "://" + u.Host + u.Path
	}
	return redactURL(u)
}

// plain reports whether s is made of characters alone that stand for themselves
// in a URL and separate none of its parts.
func plain(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '-' && c <= ':', c == '_', c == '~': // - . / 0-9 :
		default:
			return false
		}
	}
	return true
}

// text makes s fit for an attribute: an exporter may refuse a whole batch of
// spans for one string that is not UTF-8.
func text(s string, max int) string {
	if s = clip(s, max); span.Sound(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
