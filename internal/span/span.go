package span

import (
	"context"
	rt "runtime/trace"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Span is one span: a context.Context in which it is the current span, a trace.Span, and an sdktrace.ReadWriteSpan.
// The zero Span is not usable; Provider.Begin, Provider.Start and a Tracer's Start begin one. Embed it by value to
// make it part of a larger allocation. A Span must not be copied after it began.
type Span struct {
	// The dynamic value is the *Scope that began the span: it answers what later versions of the SDK may add to the
	// interface, and it costs no field of its own.
	sdktrace.ReadWriteSpan

	ctx   context.Context // the parent
	name  string          // under mu once begun
	start time.Time
	took  time.Duration // under mu; the end is start.Add(took)

	traceID  trace.TraceID
	id       trace.SpanID
	parentID trace.SpanID

	family atomic.Pointer[family] // spans of this process under the same local root; nil for a root without children
	next   *Span                  // under family.mu: the span that began before this one in the family

	mu    sync.Mutex
	more  *more // under mu
	descr Describer

	hex atomic.Pointer[[48]byte] // trace and span ID in hex, made when first asked for

	kids        atomic.Int32
	marks       atomic.Uint32
	kind        uint8
	flags       trace.TraceFlags
	parentFlags trace.TraceFlags
	mode        mode  // set at begin, constant afterwards
	status      uint8 // under mu: a codes.Code
	ended       bool  // under mu
	described   bool  // under mu: the describer's first attributes are in more.attrs
}

// mode says what was decided when the span began.
type mode uint8

const (
	modeRoot         mode = 1 << iota // no parent of this provider: a local root
	modeSampled                       // recorded and sampled
	modeSeen                          // processors see it: recorded, sampled or not
	modeRemoteParent                  // the parent is in another process
	modeOff                           // the provider is off: IDs of the parent, nothing recorded
	modeShell                         // an SDK span does the work (Config.SDKSpans)
	modeHasState                      // more holds the trace state
	modeWaits                         // its local root waits for somebody while it runs, see waits.go; set by join
)

// marks of a span, set while it runs.
const (
	markKeep     uint32 = 1 << iota // tracing.Keep
	markPanicked                    // End recovered a panic
	markEnded                       // ended, readable without the lock
	markDone                        // the family was told of the end; under family.mu
	markJudged                      // a local root whose fate is settled
	markKept                        // and it is exported though it was refused
	markLoose                       // not linked in the family, because of the bounds
	markCrowded                     // a local root with more spans below than Provider.Crowd allows
	markTallied                     // counted in the tally of its trace
	markNoted                       // Provider.OnStart's function took note of it
	markAnswered                    // Answered was called before the local root ended; under family.mu
)

// more holds what most spans of the hot path never have.
type more struct {
	attrs         []attribute.KeyValue
	droppedAttrs  int
	dirty         bool // attrs may hold a key twice
	shared        bool // the backing array was handed out
	events        []sdktrace.Event
	droppedEvents int
	links         []sdktrace.Link
	droppedLinks  int
	description   string // of the status

	state       trace.TraceState   // own
	parentState trace.TraceState   // the parent's
	rawState    string             // the caller's, when trace.TraceState cannot hold it; passed on as it is
	parent      *trace.SpanContext // when the parent is not told by parentID, parentFlags and the own trace ID
	end         time.Time          // when an end time was given
	task        *rt.Task           // of the execution trace
	shell       trace.Span
}

var (
	_ context.Context        = (*Span)(nil)
	_ sdktrace.ReadWriteSpan = (*Span)(nil)
)

// currentSpanKey is the key under which the OpenTelemetry API keeps the current span in a context. The API does not
// export it, but asks any context for it.
var currentSpanKey = func() (key any) {
	trace.SpanFromContext(probe{context.Background(), &key})
	return key
}()

type probe struct {
	context.Context
	key *any
}

func (p probe) Value(key any) any { *p.key = key; return nil }

// ownKey finds the nearest span of ours, also beneath a foreign one.
type ownKey struct{}

// FromContext returns the nearest span of ours in ctx: the current span, or else the closest ancestor. It returns nil
// when there is none or ctx is nil.
func FromContext(ctx context.Context) *Span {
	if ctx == nil {
		return nil
	}
	if s, ok := ctx.(*Span); ok {
		return s
	}
	if s, ok := ctx.Value(currentSpanKey).(*Span); ok {
		return s
	}
	s, _ := ctx.Value(ownKey{}).(*Span)
	return s
}

// Deadline, Done and Err are the parent context's.
func (s *Span) Deadline() (time.Time, bool) { return s.ctx.Deadline() }

// Done is the parent context's: ending a span cancels nothing.
func (s *Span) Done() <-chan struct{} { return s.ctx.Done() }

// Err is the parent context's.
func (s *Span) Err() error { return s.ctx.Err() }

// Value answers the current span, and else asks the parent context.
func (s *Span) Value(key any) any {
	if key == currentSpanKey && s.mode&modeShell == 0 {
		return s
	}
	if _, ok := key.(ownKey); ok {
		return s
	}
	return s.ctx.Value(key)
}

// String names the span, so that printing a context does not print its memory.
func (s *Span) String() string {
	return "span " + s.Name() + " " + s.traceID.String() + "-" + s.id.String()
}

func (s *Span) scope() *Scope { return s.ReadWriteSpan.(*Scope) }

// SpanContext returns the identity of the span. It stays valid after the end.
func (s *Span) SpanContext() trace.SpanContext {
	if s == nil {
		return trace.SpanContext{}
	}
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: s.traceID, SpanID: s.id, TraceFlags: s.flags, TraceState: s.traceState(),
	})
}

// traceState needs no lock: a span that began with a state has its more from the beginning.
func (s *Span) traceState() trace.TraceState {
	if s.mode&modeHasState == 0 {
		return trace.TraceState{}
	}
	return s.more.state
}

// TraceID returns the span's trace ID.
func (s *Span) TraceID() trace.TraceID { return s.traceID }

// SpanID returns the span's ID.
func (s *Span) SpanID() trace.SpanID { return s.id }

// Sampled reports whether the sampler chose the span when it began.
func (s *Span) Sampled() bool { return s.mode&modeSampled != 0 }

// Root reports whether the span has no parent in this process.
func (s *Span) Root() bool { return s.mode&modeRoot != 0 }

// Ended reports whether the span has ended.
func (s *Span) Ended() bool { return s.marks.Load()&markEnded != 0 }

// Noted reports whether the function given to Provider.OnStart took note of the span.
func (s *Span) Noted() bool { return s.marks.Load()&markNoted != 0 }

// Describer returns the describer given at begin, or nil.
func (s *Span) Describer() Describer { return s.descr }

// Parent returns the identity of the parent, invalid when there is none.
func (s *Span) Parent() trace.SpanContext {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parentLocked()
}

func (s *Span) parentLocked() trace.SpanContext {
	if m := s.more; m != nil && m.parent != nil {
		return *m.parent
	}
	if !s.parentID.IsValid() {
		return trace.SpanContext{}
	}
	c := trace.SpanContextConfig{
		TraceID: s.traceID, SpanID: s.parentID, TraceFlags: s.parentFlags, Remote: s.mode&modeRemoteParent != 0,
	}
	if s.more != nil {
		c.TraceState = s.more.parentState
	}
	return trace.NewSpanContext(c)
}

// IsRecording reports whether the span has not ended. It is true for refused spans too: see the package comment.
func (s *Span) IsRecording() bool {
	return s != nil && s.mode&modeOff == 0 && s.marks.Load()&markEnded == 0
}

// IDs returns the trace ID and the span ID in hex, encoded once per span.
func (s *Span) IDs() (traceID, spanID string) {
	if s == nil {
		return "", ""
	}
	return s.ids()
}

// Keep asks for the trace to be exported whatever the sampler said; it counts when called before the local root ends.
func (s *Span) Keep() {
	if s == nil {
		return
	}
	s.rootSpan().marks.Or(markKeep)
}

// rootSpan returns the local root of the span's trace.
func (s *Span) rootSpan() *Span {
	if s.mode&modeRoot != 0 {
		return s
	}
	return s.family.Load().root
}

// LocalRoot returns the span's local root: the span itself when it has no parent in this process.
func (s *Span) LocalRoot() *Span { return s.rootSpan() }
