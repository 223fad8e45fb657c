package observe

import (
	"context"
	"net/http"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"

	"github.com/loadline-go/loadline/internal/span"
)

// unmatched is the route of requests that no pattern matched.
const unmatched = "unmatched"

// The methods of RFC 9110, RFC 5789 and RFC 10008; any other is _OTHER.
var methods = [...]string{"_OTHER", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"}

func methodIndex(m string) int {
	switch m {
	case "GET":
		return 1
	case "HEAD":
		return 2
	case "POST":
		return 3
	case "PUT":
		return 4
	case "DELETE":
		return 5
	case "CONNECT":
		return 6
	case "OPTIONS":
		return 7
	case "TRACE":
		return 8
	case "PATCH":
		return 9
	case "QUERY":
		return 10
	}
	return 0
}

var schemes = [...]string{"http", "https"}

func tlsIndex(r *http.Request) int {
	if r.TLS != nil {
		return 1
	}
	return 0
}

// server is what all Handlers of one Telemetry share: its routes and their series.
type server struct {
	tel                                         *Telemetry
	duration, requestBody, responseBody, stream *vec[*timing]
	firstByte                                   *vec[*timing]
	panics, probes                              *vec[prometheus.Counter]
	queue                                       *queue          // nil: no header tells
	isProbe                                     map[string]bool // by path
	probeLengths                                [64]bool        // of these paths, modulo 64
	active                                      [len(methods)][len(schemes)]level
	streaming                                   atomic.Int64 // requests under way that said they are streams
	routes                                      cache[string, *route]
	recent                                      [64]atomic.Pointer[route] // by the address of the pattern's text
	shapes                                      shapes
	propagator                                  span.Propagator
	headers                                     []header
	hint                                        sync.Once
	watchers                                    atomic.Int32 // profiles that are taken now, whose samples are to carry the route
}

func newServer(t *Telemetry) *server {
	m := t.metrics
	duration, durations := m.histograms(serverDuration, latencies(t.config.SLOs)...)
	if len(t.config.SLOs) > 0 {
		t.slos = newSLOs(t.config.SLOs, durations)
		m.registry.MustRegister(t.slos)
	}
	s := &server{
		tel:          t,
		duration:     duration,
		requestBody:  m.histogram(serverRequestBody),
		responseBody: m.histogram(serverResponseBody),
		stream:       m.histogram(serverStream),
		firstByte:    m.histogram(serverFirstByte),
		panics:       m.counter(serverPanics),
		probes:       m.counter(serverProbes),
		propagator:   span.Propagator{Baggage: t.config.Tracing.Baggage},
	}
	if t.config.QueueHeader != "" {
		s.queue = newQueue(m, t.config.QueueHeader)
	}
	s.setProbes(t.config.Probes)
	for _, name := range t.config.Headers {
		s.headers = append(s.headers, header{http.CanonicalHeaderKey(name), attribute.Key("http.request.header." + strings.ToLower(name))})
	}
	active := &levels{desc: desc(serverActive)}
	for i, method := range methods {
		for j, scheme := range schemes {
			active.add(&s.active[i][j], method, scheme)
		}
	}
	m.register(serverActive, active)
	return s
}

// watch makes requests and jobs that begin from now on label their goroutines,
// until stop.
func (s *server) watch() (stop func()) {
	s.watchers.Add(1)
	return func() { s.watchers.Add(-1) }
}

// watched tells whether somebody will read the labels of goroutines.
func (s *server) watched() bool { return s.watchers.Load() > 0 }

// running returns how many requests are being handled.
func (s *server) running() (n int64) {
	for i := range s.active {
		for j := range s.active[i] {
			n += s.active[i][j].value()
		}
	}
	return n
}

// route is one pattern with its series.
type route struct {
	pattern string
	name    string // the pattern without its method: the http_route label
	panics  prometheus.Counter
	known   atomic.Pointer[[]*serverSeries]

	labelled sync.Once
	labels   pprof.LabelSet  // for CPU profiles
	alone    context.Context // with these labels and nothing else

	mu sync.Mutex
}

// seriesKey tells the series of a route apart. It is compared at every request,
// so it is one word.
type seriesKey struct {
	status      int32
	method, tls uint8
	class       errorClass
}

// errorClass is what stands in error_type. There are few.
type errorClass uint16

const (
	classNone     errorClass = iota
	classStatus              // the status code
	classPanic               // "panic"
	classCanceled            // "canceled"
	classAborted             // "aborted"
)

func (k seriesKey) errorType() string {
	switch k.class {
	case classStatus:
		return statusText(int(k.status))
	case classPanic:
		return "panic"
	case classCanceled:
		return "canceled"
	case classAborted:
		return "aborted"
	}
	return ""
}

type serverSeries struct {
	key                    seriesKey
	route                  string
	spanName               string
	pace                   *span.Pace
	duration, responseBody *timing
	requestBody            atomic.Pointer[timing] // made for the first body: most routes never get one
}

// requestSize returns the series of the sizes of request bodies.
func (k *serverSeries) requestSize(s *server) *timing {
	if t := k.requestBody.Load(); t != nil {
		return t
	}
	t, _ := s.requestBody.with(methods[k.key.method], k.route, schemes[k.key.tls])
	k.requestBody.Store(t)
	return t
}

// streamed records a stream: how long it lived, and when its first bytes went
// out. Streams are too rare to keep their series at hand.
func (k *serverSeries) streamed(s *server, took, first time.Duration, on processor) {
	method, scheme := methods[k.key.method], schemes[k.key.tls]
	t, _ := s.stream.with(method, k.route, scheme)
	t.own.observe(took.Seconds(), on)
	if first == 0 { // never flushed: they went out at the end at the latest
		first = took
	}
	t, _ = s.firstByte.with(method, k.route, scheme)
	t.own.observe(first.Seconds(), on)
}

// route finds a route by its pattern. A mux hands out the same string each
// time, so its address is looked at first: a map's hash of the text costs ten
// times as much.
func (s *server) route(pattern string) *route {
	slot := &s.recent[uintptr(unsafe.Pointer(unsafe.StringData(pattern)))>>4%uintptr(len(s.recent))]
	if r := slot.Load(); r != nil && len(r.pattern) == len(pattern) && unsafe.StringData(r.pattern) == unsafe.StringData(pattern) {
		return r
	}
	r, exact := s.findRoute(pattern)
	if exact && unsafe.StringData(r.pattern) == unsafe.StringData(pattern) {
		slot.Store(r)
	}
	return r
}

func (s *server) findRoute(pattern string) (r *route, exact bool) {
	if r, ok := s.routes.get(pattern); ok {
		return r, true
	}
	r = &route{pattern: pattern, name: unmatched}
	if pattern != "" {
		r.name = pattern
		if _, path, ok := strings.Cut(pattern, " "); ok {
			r.name = strings.TrimLeft(path, " \t")
		}
		r.name = strings.ToValidUTF8(r.name, "\uFFFD")
	}
	r.panics, exact = s.panics.with(r.name)
	if exact {
		s.routes.add(pattern, r)
	}
	return r, exact
}

func (r *route) series(s *server, key seriesKey) *serverSeries {
	if known := r.known.Load(); known != nil {
		for _, k := range *known {
			if k.key == key {
				return k
			}
		}
	}
	method, scheme := methods[key.method], schemes[key.tls]
	k := &serverSeries{key: key, route: r.name, spanName: spanNameOf(method, r.name)}
	k.pace = s.tel.provider.Pace(k.spanName)
	var exact bool
	k.duration, exact = s.duration.with(method, r.name, statusText(int(key.status)), key.errorType(), scheme)
	k.responseBody, _ = s.responseBody.with(method, r.name, scheme)
	if exact {
		r.mu.Lock()
		defer r.mu.Unlock()
		var next []*serverSeries
		if known := r.known.Load(); known != nil {
			next = append(next, *known...)
		}
		next = append(next, k)
		r.known.Store(&next)
	}
	return k
}

// hintNoRoute says once what hides routes: nobody finds it by looking at "unmatched".
func (s *server) hintNoRoute() {
	s.hint.Do(func() {
		s.tel.config.Logger.Warn(`observe: a request was answered but its route is not known, so it counts as "unmatched": ` +
			"a middleware passed on a copy of the request (wrap the mux too: tel.Handler(middleware(tel.Handler(mux)))) or the router is not a http.ServeMux (call observe.SetRoute)")
	})
}

// spanNameOf is the name of the spans of a route, under which its account is kept.
func spanNameOf(method, route string) string {
	if route == unmatched {
		return method
	}
	return method + " " + route
}

func statusText(status int) string {
	switch status {
	case 200:
		return "200"
	case 404:
		return "404"
	case 500:
		return "500"
	}
	return strconv.Itoa(status)
}

// header is one that Config.Headers allows.
type header struct {
	name string
	key  attribute.Key
}

const maxHeaderValues = 8

// hostPort splits "host:port" and "[host]:port"; the port is 0 where there is
// none. net.SplitHostPort allocates an error for every address without one.
func hostPort(s string) (host string, port int) {
	i, scale := len(s)-1, 1
	for ; i >= 0 && s[i] >= '0' && s[i] <= '9' && scale <= 10_000; i-- {
		port += int(s[i]-'0') * scale
		scale *= 10
	}
	if i < 1 || s[i] != ':' || i == len(s)-1 || port > 65535 {
		return strings.Trim(s, "[]"), 0
	}
	host = s[:i]
	if host[len(host)-1] == ']' && host[0] == '[' {
		return host[1 : len(host)-1], port
	}
	if strings.IndexByte(host, ':') >= 0 {
		return s, 0 // an IPv6 address without a port
	}
	return host, port
}

// maxAttribute bounds what a client can put on a span.
const maxAttribute = 1024
