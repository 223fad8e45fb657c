package observe

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"

	"github.com/loadline-go/loadline/internal/span"
)

// The facts of a server span: what its attributes are made of, in span.Facts.
const (
	factPath = iota
	factQuery
	factHost
	factPeer
	factAgent
	factMethod // one that is not known

	// Bits: the method's index, then
	factTLS      = 1 << 8
	factSafe     = 1 << 9 // the query is redacted already
	factProtocol = 16     // shift of the protocol's index
)

// maxFacts is how many bytes of text are kept uncut.
const maxFacts = 4 * maxAttribute

// protocols are the versions that a span names.
var protocols = [...]string{"", "1.0", "1.1", "2", "3"}

func protocolIndex(r *http.Request) uint64 {
	switch {
	case r.ProtoMajor == 1 && r.ProtoMinor == 1:
		return 2
	case r.ProtoMajor == 1 && r.ProtoMinor == 0:
		return 1
	case r.ProtoMajor == 2:
		return 3
	case r.ProtoMajor == 3:
		return 4
	}
	return 0
}

// noteRequest notes what a request says.
func noteRequest(f *span.Facts, r *http.Request) {
	method := methodIndex(r.Method)
	f.Bits = uint64(method) | protocolIndex(r)<<factProtocol
	if r.TLS != nil {
		f.Bits |= factTLS
	}
	if method == 0 {
		f.Texts[factMethod] = text(r.Method, 32)
	}
	f.Texts[factPath], f.Texts[factQuery] = r.URL.Path, r.URL.RawQuery
	f.Texts[factHost], f.Texts[factPeer] = r.Host, r.RemoteAddr
	f.Texts[factAgent] = first(r.Header["User-Agent"])
}

// cutFacts cuts texts to what their attributes show of them, so that a queue of
// spans holds no more, and makes them whole strings, not parts of longer ones.
func cutFacts(f *span.Facts) {
	f.Texts[factPath] = strings.Clone(text(f.Texts[factPath], maxAttribute))
	f.Texts[factQuery] = strings.Clone(text(redactQuery(f.Texts[factQuery]), maxAttribute))
	f.Bits |= factSafe
	if host, port := hostPort(f.Texts[factHost]); len(host) > maxHost {
		f.Texts[factHost] = text(host, maxHost) + ":" + strconv.Itoa(port)
	}
	f.Texts[factAgent] = strings.Clone(text(f.Texts[factAgent], maxAgent))
}

const maxAgent = 256

// describeRequest makes the attributes that are known when a request begins.
func describeRequest(f *span.Facts, attrs []attribute.KeyValue) []attribute.KeyValue {
	add := func(key attribute.Key, value string) {
		if value != "" {
			attrs = append(attrs, key.String(value))
		}
	}
	add("http.request.method", methods[f.Bits&0xff])
	add("http.request.method_original", f.Texts[factMethod])
	scheme := schemes[0]
	if f.Bits&factTLS != 0 {
		scheme = schemes[1]
	}
	add("url.scheme", scheme)
	add("url.path", text(f.Texts[factPath], maxAttribute))
	if f.Bits&factSafe != 0 {
		add("url.query", f.Texts[factQuery])
	} else {
		add("url.query", text(redactQuery(f.Texts[factQuery]), maxAttribute))
	}
	host, port := hostPort(f.Texts[factHost])
	add("server.address", text(host, maxHost))
	if port > 0 {
		attrs = append(attrs, attribute.Int("server.port", port))
	}
	if peer, port := hostPort(f.Texts[factPeer]); port > 0 {
		add("network.peer.address", peer)
		attrs = append(attrs, attribute.Int("network.peer.port", port))
	}
	add("user_agent.original", text(f.Texts[factAgent], maxAgent))
	add("network.protocol.version", protocols[f.Bits>>factProtocol&0xff])
	return attrs
}

// describe makes the attributes that are known when a request has ended.
func (k *serverSeries) describe(attrs []attribute.KeyValue) []attribute.KeyValue {
	if k.route != unmatched {
		attrs = append(attrs, attribute.String("http.route", k.route))
	}
	attrs = append(attrs, attribute.Int("http.response.status_code", int(k.key.status)))
	if k.key.class != classNone {
		attrs = append(attrs, attribute.String("error.type", k.key.errorType()))
	}
	return attrs
}

// Describe gives the attributes of the server span when somebody will read them.
func (q *request) Describe(attrs []attribute.KeyValue, ended bool) []attribute.KeyValue {
	if ended {
		return q.series.describe(attrs)
	}
	var f span.Facts
	noteRequest(&f, q.r)
	attrs = describeRequest(&f, attrs)
	for _, h := range q.server.headers {
		if values := q.r.Header[h.name]; len(values) > 0 {
			values = slices.Clone(values[:min(len(values), maxHeaderValues)])
			for i := range values {
				values[i] = text(values[i], maxAttribute)
			}
			attrs = append(attrs, h.key.StringSlice(values))
		}
	}
	return attrs
}

// Detach leaves what the exporter will make the attributes of. Headers that are
// allowed are described at once: they are not among the facts.
func (q *request) Detach(f *span.Facts) bool {
	if len(q.server.headers) > 0 {
		return false
	}
	r := q.r
	noteRequest(f, r)
	if len(r.RequestURI)+len(r.URL.Path)+len(r.URL.RawQuery)+len(r.Host)+len(f.Texts[factAgent]) > maxFacts {
		cutFacts(f)
	}
	f.By = q.series
	return true
}

// DescribeFacts implements span.FactsDescriber.
func (k *serverSeries) DescribeFacts(f *span.Facts, attrs []attribute.KeyValue) []attribute.KeyValue {
	return k.describe(describeRequest(f, attrs))
}
