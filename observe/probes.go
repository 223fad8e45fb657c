package observe

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net/http"
	"slices"

	"go.opentelemetry.io/otel/trace"
)

// usualProbes are the paths that machines ask to know how a process is:
// Kubernetes and Prometheus, by default or convention.
var usualProbes = []string{"/livez", "/readyz", "/healthz", "/metrics"}

// setProbes makes these paths probes, too. A Handler looks at the length of a
// path first, modulo a power of two: most paths are of another.
func (s *server) setProbes(own []string) {
	s.isProbe = map[string]bool{}
	for _, path := range slices.Concat(usualProbes, own) {
		s.isProbe[path] = true
		s.probeLengths[len(path)%len(s.probeLengths)] = true
	}
}

type probeKey struct{}

// servedProbe serves a probe, and tells whether the request is one. It counts
// the probe and nothing else: that is no request of a user, and its trace would
// tell nothing, every few seconds.
func (s *server) servedProbe(next http.Handler, w http.ResponseWriter, r *http.Request) bool {
	path := r.URL.Path
	if !s.isProbe[path] {
		return false
	}
	if r.Context().Value(probeKey{}) != nil { // an outer Handler counts it
		next.ServeHTTP(w, r)
		return true
	}
	q := &request{server: s, w: w, r: r.WithContext(context.WithValue(untraced(r.Context()), probeKey{}, true))}
	returned := false
	defer func() {
		var p any
		status := int(q.status)
		switch {
		case !returned:
			if p = recover(); p != http.ErrAbortHandler {
				panics, _ := s.panics.with(path)
				panics.Inc()
			}
			status = http.StatusInternalServerError
		case status == 0 && r.Context().Err() != nil:
			status = statusClientGone
		case status == 0:
			status = http.StatusOK
		}
		n, _ := s.probes.with(path, statusText(status))
		n.Inc()
		if p != nil {
			panic(p)
		}
	}()
	next.ServeHTTP(q.writer(), q.r)
	returned = true
	return true
}

// untraced returns a context in which spans belong to a trace that somebody
// else has decided not to sample. What is slow or fails is kept late as ever.
func untraced(ctx context.Context) context.Context {
	if trace.SpanContextFromContext(ctx).IsValid() {
		return ctx
	}
	var traceID trace.TraceID
	var id trace.SpanID
	binary.NativeEndian.PutUint64(traceID[:8], rand.Uint64())
	binary.NativeEndian.PutUint64(traceID[8:], rand.Uint64()|1)
	binary.NativeEndian.PutUint64(id[:], rand.Uint64()|1)
	return trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceID, SpanID: id, Remote: true}))
}
