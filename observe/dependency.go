package observe

import (
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/internal/span"
)

// dependencies turns the client, producer and consumer spans of other
// libraries into durations, sampled or not. Whatever is instrumented with
// OpenTelemetry (otelgrpc, redisotel, otelpgx, ...) is thus measured like what
// we wrap ourselves, without an adapter for each.
type dependencies struct {
	tel                      *Telemetry
	rpc, messaging, consumed *vec[*timing]
	found                    cache[dependencyKey, foundDependency]
	served                   *procedures
}

// dependencyKey has the label values in the order of the metric that kind names.
type dependencyKey struct {
	kind   dependencyKind
	values [6]string
}

type dependencyKind uint8

const (
	toDatabase dependencyKind = iota
	toHTTP
	toRPC
	toQueue
	fromQueue
	toOther
)

func newDependencies(t *Telemetry) *dependencies {
	return &dependencies{
		tel:       t,
		rpc:       t.metrics.histogram(rpcDuration),
		messaging: t.metrics.histogram(messagingDuration),
		consumed:  t.metrics.histogram(messagingProcess),
		served:    newProcedures(t.metrics),
	}
}

// foundDependency is what spans with one dependencyKey have in common.
type foundDependency struct {
	timing *timing
	party  *span.Party
	failed bool // it is the dependency that failed
}

// ended is called for every span of others that ends.
func (d *dependencies) ended(s *span.Span) span.Wait {
	if s.Describer() != nil { // one of ours, measured where it ends
		return span.Wait{}
	}
	switch s.SpanKind() {
	case trace.SpanKindServer:
		d.served.ended(s)
		return span.Wait{}
	case trace.SpanKindClient, trace.SpanKindProducer, trace.SpanKindConsumer:
	default:
		return span.Wait{}
	}
	key, ok := describeDependency(s)
	if !ok {
		return span.Wait{}
	}
	is, found := d.found.get(key)
	if !found {
		t, exact := d.timing(key)
		is = foundDependency{t, d.tel.parties.named(key.party(exact)), faultOf(key.errorType())}
		if exact {
			d.found.add(key, is)
		}
	}
	is.timing.observeFor(s.Duration(), s.EndTime(), exemplar(s))
	return span.Wait{Party: is.party, Failed: is.failed}
}

func (d *dependencies) timing(k dependencyKey) (*timing, bool) {
	v := k.values
	switch k.kind {
	case toDatabase:
		return d.tel.databases.operations.with(v[0], v[1], v[2], v[3], v[4], v[5])
	case toHTTP:
		return d.tel.client.duration.with(v[0], v[1], v[2], v[3], v[4], v[5])
	case toRPC:
		return d.rpc.with(v[0], v[1], v[2], v[3])
	case toQueue:
		return d.messaging.with(v[0], v[1], v[2], v[3])
	case fromQueue:
		return d.consumed.with(v[0], v[1], v[2], v[3])
	}
	return d.tel.calls.duration.with(v[0], v[1], v[2])
}

// describeDependency reads the attributes of the semantic conventions, the
// stable names first and then those that libraries still use. A span without
// any says too little to be a dependency.
func describeDependency(s *span.Span) (k dependencyKey, ok bool) {
	get := func(keys ...attribute.Key) string { return attributeOf(s, keys...) }
	failed := get("error.type")
	if failed == "" && s.Status().Code == codes.Error {
		failed = or(or(get("db.response.status_code"), statusOfRPC(s)), "_OTHER")
	}
	host := func() string { return get("server.address", "net.peer.name", "network.peer.address") }

	if system := get("db.system.name", "db.system"); system != "" {
		return dependencyKey{toDatabase, [6]string{system, get("db.namespace", "db.name"), or(get("db.operation.name", "db.operation"), s.Name()), get("db.collection.name", "db.sql.table"), get("db.query.summary"), failed}}, true
	}
	if system := get("messaging.system"); system != "" {
		k := dependencyKey{toQueue, [6]string{system, or(get("messaging.operation.name", "messaging.operation.type", "messaging.operation"), s.Name()), get("messaging.destination.template", "messaging.destination.name", "messaging.destination"), failed}}
		if s.SpanKind() == trace.SpanKindConsumer {
			k.kind = fromQueue
		}
		return k, true
	}
	if s.SpanKind() == trace.SpanKindConsumer {
		return k, false
	}
	if system := get("rpc.system.name", "rpc.system"); system != "" {
		return dependencyKey{toRPC, [6]string{system, methodOfRPC(s), host(), failed}}, true
	}
	if method := get("http.request.method", "http.method"); method != "" {
		status := get("http.response.status_code", "http.status_code")
		if failed == "_OTHER" && status >= "400" {
			failed = status
		}
		return dependencyKey{toHTTP, [6]string{methods[methodIndex(method)], host(), get("server.port", "net.peer.port"), status, failed, get("url.template")}}, true
	}
	if name := or(get("peer.service"), host()); name != "" {
		return dependencyKey{toOther, [6]string{name, s.Name(), failed}}, true
	}
	return k, false
}

// attributeOf returns the first of some attributes that s has, as text.
func attributeOf(s *span.Span, keys ...attribute.Key) string {
	for _, key := range keys {
		if v, ok := s.Lookup(key); ok {
			if v.Type() == attribute.INT64 {
				return strconv.FormatInt(v.AsInt64(), 10)
			}
			return clip(v.AsString(), 255)
		}
	}
	return ""
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return clip(b, 255)
}
