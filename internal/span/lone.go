package span

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	rt "runtime/trace"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// Lone is a span that need not exist: one outside of any trace that the sampler refuses. It becomes a Span only when it
// turns out worth keeping, and until then costs neither memory nor random numbers that nobody reads.
type Lone struct {
	id trace.TraceID // what the sampler looked at; invalid when it looks at nothing
}

// Lone asks whether a span that begins now in ctx can be a Lone. Where ok is false the caller begins a Span, with the
// Lone as its Options.Lone, so that the sampler is not asked twice. What is called below a Lone finds no span in its
// context, and begins a trace of its own.
func (p *Provider) Lone(ctx context.Context) (l Lone, ok bool) {
	if p == nil || p.off || p.shell || p.ids != nil || !p.sampler.plain.known || p.sampler.plain.always {
		return l, false
	}
	if current(ctx) != nil || rt.IsEnabled() {
		return l, false
	}
	if p.sampler.plain.never {
		return l, true
	}
	for !l.id.IsValid() {
		binary.NativeEndian.PutUint64(l.id[8:], rand.Uint64())
	}
	if binary.BigEndian.Uint64(l.id[8:])>>1 < p.sampler.plain.bound {
		return l, false
	}
	return l, true
}

// Forget ends a Lone that took so long and did not fail; w is the pace of its name. It reports false when its trace is to
// be kept or shown: then the caller begins and finishes a Span in its place.
func (p *Provider) Forget(w *Pace, start time.Time, took time.Duration) bool {
	l := &p.late
	if l.Slow > 0 && took >= l.Slow || int64(took) > w.slowest.Load() || start.Unix() > w.stale.Load() {
		return false
	}
	if l.Factor > 0 {
		if bound := w.p99.Load(); bound > 0 && took >= relativeFloor && float64(took) > float64(bound)*l.Factor {
			return false
		}
		if took&7 == 0 || w.count.Load() < paceLearn { // nanoseconds: as random as a sample of one in eight needs
			w.observe(took)
		}
	}
	return true
}
