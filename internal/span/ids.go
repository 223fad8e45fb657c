package span

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"unsafe"

	"go.opentelemetry.io/otel/trace"
)

// newIDs gives s its IDs; a valid trace ID it already has is its parent's.
func (p *Provider) newIDs(s *Span, ctx context.Context) {
	if p.ids != nil {
		if s.traceID.IsValid() {
			s.id = p.ids.NewSpanID(ctx, s.traceID)
		} else {
			s.traceID, s.id = p.ids.NewIDs(ctx)
		}
		return
	}
	if !s.traceID.IsValid() {
		s.traceID = NewTraceID()
	}
	s.id = newSpanID()
}

// NewTraceID returns a random trace ID. The source is the runtime's ChaCha8, which takes no lock.
func NewTraceID() (id trace.TraceID) {
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:8], rand.Uint64())
		binary.NativeEndian.PutUint64(id[8:], rand.Uint64())
	}
	return id
}

func newSpanID() (id trace.SpanID) {
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:], rand.Uint64())
	}
	return id
}

// ids returns both IDs in hex, as parts of one array made once. Two goroutines that ask first at once may both make it;
// either result is right.
func (s *Span) ids() (traceID, spanID string) {
	h := s.hex.Load()
	if h == nil {
		h = new([48]byte)
		hex.Encode(h[:32], s.traceID[:])
		hex.Encode(h[32:], s.id[:])
		s.hex.Store(h)
	}
	all := unsafe.String(&h[0], len(h)) // h is never written again
	return all[:32], all[32:]
}
