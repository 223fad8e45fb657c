package observe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/pprof"
	rt "runtime/trace"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/internal/span"
)

// Handler returns a handler that measures and traces every request and passes
// it on to next, http.DefaultServeMux when nil. The route is the pattern that
// a http.ServeMux matched. A middleware inside that passes on a copy of the
// request (r.WithContext) hides it: wrap the mux as well,
//
//	tel.Handler(middleware(tel.Handler(mux)))
//
// An inner Handler only tells the outer one the route, so applying it twice is
// safe and nearly free. Other routers tell it with SetRoute.
//
// A panic is counted as status 500 and goes on; a client that went away before
// it was answered is counted as status 499, not as a server's error. Streams
// (server-sent events, hijacked and upgraded connections, and what SetStream
// names) are kept out of the latency histogram. So are probes: requests for
// /livez, /readyz, /healthz, /metrics and Config.Probes are counted apart and
// make no trace. A nil Telemetry returns next as it is.
func (t *Telemetry) Handler(next http.Handler) http.Handler {
	if next == nil {
		next = http.DefaultServeMux
	}
	if t == nil {
		return next
	}
	return &handler{next: next, server: t.server}
}

// SetRoute tells the Handler around a request which pattern it matched, for
// routers that are not a http.ServeMux: "/users/{id}", or with the method in
// front. It wins over the pattern of a ServeMux. The pattern must be one of
// few: never the path itself. Outside of a request it does nothing.
func SetRoute(ctx context.Context, pattern string) {
	if q := requestOf(ctx); q != nil {
		q.more().route.Store(&pattern)
		q.server.label(ctx, pattern)
	}
}

// SetStream tells the Handler around a request that its time is the client's and
// not the service's, as that of a long poll: it is counted as a stream and not
// in the latency. Server-sent events, WebSockets and other connections that are
// taken over need not be told. Outside of a request it does nothing.
func SetStream(ctx context.Context) {
	if q := requestOf(ctx); q != nil {
		q.streams()
	}
}

type handler struct {
	next   http.Handler
	server *server
}

// request is all there is of one request: its context, its span, its response
// writer and its record.
type request struct {
	span   span.Span
	server *server
	w      http.ResponseWriter // what net/http gave
	r      *http.Request       // what next got
	rare   atomic.Pointer[rare]
	labels *context.Context // holds those of a CPU profile, set before next is called; nil: none
	series *serverSeries    // set at the end

	written  int64
	first    time.Duration // until the first flush or the connection was taken over; 0: neither
	status   int32
	hijacked bool
}

// served is a request with the http.Request that next gets, in one allocation of
// 576 bytes, a size class of the allocator.
type served struct {
	request
	own http.Request
}

// rare is what few requests have. It keeps served within its size class.
type rare struct {
	route  atomic.Pointer[string] // told by an inner Handler or SetRoute
	body   countedBody            // of a request without an announced length
	stream atomic.Bool            // told by SetStream
}

// streams says that the request is a stream from now on: its time is not the
// service's, and it is not one that does not end.
func (q *request) streams() {
	if !q.more().stream.Swap(true) {
		q.server.streaming.Add(1)
	}
}

func (q *request) more() *rare {
	if m := q.rare.Load(); m != nil {
		return m
	}
	q.rare.CompareAndSwap(nil, new(rare))
	return q.rare.Load()
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	alone := !span.Current(ctx) // nor is there a request, then, which would be one: one walk through the context, not two
	if !alone {
		if outer := requestOf(ctx); outer != nil && outer.server == h.server {
			h.tellRoute(outer, w, r)
			return
		}
	}
	s, method, tls := h.server, methodIndex(r.Method), tlsIndex(r)
	if s.probeLengths[len(r.URL.Path)%len(s.probeLengths)] && s.servedProbe(h.next, w, r) {
		return
	}
	all := new(served)
	q := &all.request
	q.server, q.w, q.r = s, w, r
	on, random := here()
	if len(s.propagator.Baggage) > 0 {
		ctx = s.propagator.ExtractBaggage(ctx, r.Header)
	}
	s.tel.provider.BeginIncoming(&q.span, ctx, &span.Options{
		Name: methods[method], Kind: trace.SpanKindServer, Start: time.Now(),
		Header: r.Header, Describer: q, Scope: s.tel.scope,
	}, random, alone)
	if s.queue != nil {
		q.queued()
	}
	all.own = *r.WithContext(q) // whose memory is on the stack: the compiler sees that it is copied
	q.r = &all.own
	if r.ContentLength < 0 && r.Body != nil {
		body := &q.more().body
		body.ReadCloser = r.Body
		q.r.Body = body
	}
	active := &s.active[method][tls]
	active.add(1, on)
	returned := false
	defer func() {
		active.add(-1, on)
		if returned {
			q.end(on, nil, false)
			return
		}
		p := recover()
		q.end(on, p, true)
		if p != nil { // nil after runtime.Goexit, as by t.FailNow in a handler
			panic(p)
		}
	}()
	if s.watched() || rt.IsEnabled() {
		h.serveWatched(q)
	} else {
		h.next.ServeHTTP(q.writer(), q.r)
	}
	returned = true
}

// serveWatched serves while a CPU profile is taken, whose samples carry the
// route, or an execution trace, in which the request is a region. Where next is
// no mux, the route is known later: to an inner Handler or SetRoute.
func (h *handler) serveWatched(q *request) {
	name, profiling := unmatched, h.server.watched()
	var known *route
	if mux, ok := h.next.(*http.ServeMux); ok {
		_, pattern := mux.Handler(q.r)
		known = h.server.labelled(pattern)
		name = known.name
	}
	if profiling {
		defer pprof.SetGoroutineLabels(&q.span) // those of the request's own context
		q.profiled(known)
	}
	region := rt.StartRegion(q, name)
	defer func() {
		if route := h.server.route(q.finalRoute()).name; route != name {
			rt.Log(q, "http_route", route)
		}
		region.End()
	}()
	h.next.ServeHTTP(q.writer(), q.r)
}

// tellRoute serves as the inner of two Handlers. Where next is the mux the
// pattern is looked up before the call, so that it is known when the outer
// handler gives up first, as http.TimeoutHandler does.
func (h *handler) tellRoute(outer *request, w http.ResponseWriter, r *http.Request) {
	if mux, ok := h.next.(*http.ServeMux); ok {
		if _, pattern := mux.Handler(r); pattern != "" {
			outer.more().route.CompareAndSwap(nil, &pattern)
			h.server.label(r.Context(), pattern)
		}
	} else {
		defer func() {
			if r.Pattern != "" {
				outer.more().route.CompareAndSwap(nil, &r.Pattern)
			}
		}()
		if r.Pattern != "" { // next is one route of a mux outside
			outer.more().route.CompareAndSwap(nil, &r.Pattern)
		}
	}
	h.next.ServeHTTP(w, r)
}

// A request is the context of what it serves.
func (q *request) Deadline() (time.Time, bool) { return q.span.Deadline() }
func (q *request) Done() <-chan struct{}       { return q.span.Done() }
func (q *request) Err() error                  { return q.span.Err() }
func (q *request) String() string              { return q.span.String() }

func (q *request) Value(key any) any {
	if _, ok := key.(requestKey); ok {
		return q
	}
	if q.labels != nil && key == profileLabelsKey {
		return (*q.labels).Value(key)
	}
	return q.span.Value(key)
}

type requestKey struct{}

func requestOf(ctx context.Context) *request {
	if q, ok := ctx.(*request); ok {
		return q
	}
	q, _ := ctx.Value(requestKey{}).(*request)
	return q
}

// end records the request. broke means that the handler did not return: p is
// its panic, or nil when the goroutine exits.
func (q *request) end(on processor, p any, broke bool) {
	took := q.span.Running()
	status, class := q.status, classNone
	rare := q.rare.Load()
	stream := q.hijacked || status == http.StatusSwitchingProtocols || isEventStream(q.w.Header()) || rare != nil && rare.stream.Load()
	if rare != nil && rare.stream.Load() {
		q.server.streaming.Add(-1)
	}
	panicked := broke && p != http.ErrAbortHandler
	switch {
	case panicked:
		status, class = http.StatusInternalServerError, classPanic
	case q.hijacked:
		status = http.StatusSwitchingProtocols
	case (status == 0 || status >= 500) && errors.Is(q.Err(), context.Canceled):
		status, class = statusClientGone, classCanceled
	case broke:
		class = classAborted
	}
	if status == 0 {
		status = http.StatusOK
		if broke {
			status = http.StatusInternalServerError
		}
	}
	if class == classNone && status >= 500 {
		class = classStatus
	}

	pattern := q.r.Pattern
	if rare != nil {
		if told := rare.route.Load(); told != nil {
			pattern = *told
		}
	}
	if pattern == "" && status < 400 {
		q.server.hintNoRoute()
	}
	route := q.server.route(pattern)
	series := route.series(q.server, seriesKey{status: status, method: uint8(methodIndex(q.r.Method)), tls: uint8(tlsIndex(q.r)), class: class})
	q.series = series
	if p != nil && panicked {
		q.span.RecordError(fmt.Errorf("panic: %v", p))
	}
	q.span.FinishWith(&span.Outcome{
		Took: took, Name: series.spanName, Failed: status >= 500, Panicked: panicked, Stream: stream,
		Route: series.spanName, Pace: series.pace, Detacher: q,
	})

	if panicked {
		route.panics.Inc()
	}
	seconds := float64(took) / 1e9
	if stream {
		series.streamed(q.server, took, q.first, on)
	} else {
		series.duration.own.observe(seconds, on)
		if q.span.Exported() {
			series.duration.exemplify(seconds, &q.span)
		}
	}
	if n := q.r.ContentLength; n > 0 {
		series.requestSize(q.server).own.observe(float64(n), on)
	} else if rare != nil && rare.body.ReadCloser != nil {
		series.requestSize(q.server).own.observe(float64(rare.body.n.Load()), on)
	}
	if !q.hijacked && q.r.Method != http.MethodHead {
		series.responseBody.own.observe(float64(q.written), on)
	}
}

func isEventStream(h http.Header) bool {
	if len(h) == 0 {
		return false
	}
	types := h["Content-Type"]
	return len(types) > 0 && strings.HasPrefix(types[0], "text/event-stream")
}

// statusClientGone is what nginx writes when the client went away first.
const statusClientGone = 499

func first(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}

// countedBody counts what is read of a request body.
type countedBody struct {
	io.ReadCloser
	n atomic.Int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}
