package observe

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/codes"

	"github.com/loadline-go/loadline/internal/span"
)

// procedures turns the server spans of remote procedure calls into rate,
// errors, duration and the calls in flight. Whoever serves with otelgrpc, or
// any other library that follows the semantic conventions, has them without
// another dependency.
type procedures struct {
	duration *vec[*timing]
	active   *vec[prometheus.Gauge]
	found    cache[procedureKey, *timing]
	known    cache[knownProcedure, prometheus.Gauge]
}

type procedureKey struct{ system, method, status, errorType string }

// knownProcedure is one that has answered. Only those are counted while they
// run: grpc-go begins a call of what it does not have and never ends it, so a
// scanner's calls would stay in flight for ever.
type knownProcedure struct{ system, method string }

func newProcedures(m *metrics) *procedures {
	return &procedures{duration: m.histogram(rpcServerDuration), active: m.gauge(rpcServerActive)}
}

func systemOfRPC(s *span.Span) string { return attributeOf(s, "rpc.system.name", "rpc.system") }

// began is called for every server span that begins, and returns whether it
// counts as a call in flight.
func (p *procedures) began(s *span.Span) bool {
	system := systemOfRPC(s)
	if system == "" {
		return false
	}
	active, ok := p.known.get(knownProcedure{system, methodOfRPC(s)})
	if ok {
		active.Inc()
	}
	return ok
}

// ended is called for every server span that ends.
func (p *procedures) ended(s *span.Span) {
	k := procedureKey{system: systemOfRPC(s)}
	if k.system == "" {
		return
	}
	if s.Noted() {
		active, _ := p.active.with(k.system)
		active.Dec()
	}
	k.method, k.status = methodOfRPC(s), statusOfRPC(s)
	if k.errorType = attributeOf(s, "error.type"); k.errorType == "" && s.Status().Code == codes.Error {
		k.errorType = or(k.status, "_OTHER")
	}
	procedure := knownProcedure{k.system, k.method}
	if k.status == unimplemented {
		// Anybody can call what does not exist. A name of his must not take a series.
		k.method = "_OTHER"
	}
	t, ok := p.found.get(k)
	if !ok {
		var exact bool
		if t, exact = p.duration.with(k.system, k.method, k.status, k.errorType); exact {
			p.found.add(k, t)
			if _, known := p.known.get(procedure); !known && k.status != unimplemented {
				active, _ := p.active.with(k.system)
				p.known.add(procedure, active)
			}
		}
	}
	t.observeFor(s.Duration(), s.EndTime(), exemplar(s))
}

// methodOfRPC returns the full name of the procedure.
func methodOfRPC(s *span.Span) string {
	method := attributeOf(s, "rpc.method")
	if service := attributeOf(s, "rpc.service"); service != "" {
		method = service + "/" + method
	}
	return or(method, s.Name())
}

const unimplemented = "UNIMPLEMENTED"

// The names of gRPC's status codes, which older libraries give as numbers:
// https://grpc.io/docs/guides/status-codes/
var statusNames = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", unimplemented, "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// statusOfRPC returns the name of the status that a call was answered with, or "".
func statusOfRPC(s *span.Span) string {
	status := attributeOf(s, "rpc.response.status_code", "rpc.status_code", "rpc.grpc.status_code")
	if n, err := strconv.Atoi(status); err == nil && n >= 0 && n < len(statusNames) {
		return statusNames[n]
	}
	return status
}
