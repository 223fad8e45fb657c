package span

import (
	"net/http"
	"strings"
	"unsafe"

	"go.opentelemetry.io/otel/trace"
)

// The headers of W3C Trace Context, in the form of net/http and as carriers spell them.
const (
	traceparentKey  = "Traceparent"
	tracestateKey   = "Tracestate"
	traceparentName = "traceparent"
	tracestateName  = "tracestate"

	traceparentLen = 2 + 1 + 32 + 1 + 16 + 1 + 2
	maxMembers     = 32 // of a tracestate: more and it is discarded
)

// ParseTraceparent reads the caller's identity from h by the rules of W3C Trace Context. It is invalid when there is
// none, when it is malformed or when there are two; then a new trace begins. A malformed tracestate is discarded alone.
// The usual case, no tracestate, does not allocate.
func ParseTraceparent(h http.Header) trace.SpanContext {
	v := h[traceparentKey]
	if len(v) != 1 {
		return trace.SpanContext{}
	}
	c, ok := parseTraceparent(v[0])
	if !ok {
		return trace.SpanContext{}
	}
	if states := h[tracestateKey]; len(states) > 0 {
		c.TraceState = parseTracestate(states)
	}
	return trace.NewSpanContext(c)
}

func parseTraceparent(v string) (c trace.SpanContextConfig, ok bool) {
	v = strings.Trim(v, " \t")
	if len(v) < traceparentLen || v[2] != '-' || v[35] != '-' || v[52] != '-' {
		return c, false
	}
	var version, flags [1]byte
	if !unhex(version[:], v[:2]) || !unhex(c.TraceID[:], v[3:35]) || !unhex(c.SpanID[:], v[36:52]) || !unhex(flags[:], v[53:55]) {
		return c, false
	}
	switch {
	case version[0] == 0xff:
		return c, false
	case version[0] == 0 && len(v) != traceparentLen:
		return c, false
	case len(v) > traceparentLen && v[traceparentLen] != '-': // a later version may go on, after a dash
		return c, false
	case !c.TraceID.IsValid() || !c.SpanID.IsValid():
		return c, false
	}
	c.TraceFlags = trace.TraceFlags(flags[0]) & (trace.FlagsSampled | trace.FlagsRandom) // the rest means nothing yet
	c.Remote = true
	return c, true
}

// unhex decodes lower-case hex; the specification allows no other.
func unhex(dst []byte, src string) bool {
	for i := range dst {
		hi, lo := nibble(src[2*i]), nibble(src[2*i+1])
		if hi|lo > 15 {
			return false
		}
		dst[i] = hi<<4 | lo
	}
	return true
}

func nibble(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}

// parseTracestate joins the headers and drops what repeats a key further left, which is the newer one. A state that is
// malformed or has too many members is empty.
func parseTracestate(headers []string) trace.TraceState {
	all := headers[0]
	if len(headers) > 1 {
		all = strings.Join(headers, ",")
	}
	members := 0
	var list []string
	for rest := all; rest != ""; {
		var m string
		m, rest, _ = strings.Cut(rest, ",")
		m = strings.Trim(m, " \t")
		if m == "" {
			continue
		}
		if members++; members > maxMembers {
			return trace.TraceState{}
		}
		key, _, _ := strings.Cut(m, "=")
		if !repeatsKey(list, key) {
			list = append(list, m)
		}
	}
	if len(list) == 0 {
		return trace.TraceState{}
	}
	state, err := trace.ParseTraceState(strings.Join(list, ","))
	if err != nil {
		return trace.TraceState{}
	}
	return state
}

func repeatsKey(list []string, key string) bool {
	for _, m := range list {
		if len(m) > len(key) && m[len(key)] == '=' && m[:len(key)] == key {
			return true
		}
	}
	return false
}

// Inject writes the identity of s into h, for whoever is called next. The sampled flag says what the sampler said: a
// refused trace stays refused downstream, whatever late sampling keeps here. A nil span writes nothing.
func (s *Span) Inject(h http.Header) {
	if s == nil || !s.traceID.IsValid() {
		return
	}
	injectHeader(h, s.traceID, s.id, s.flags, s.traceState())
}

func injectHeader(h http.Header, traceID trace.TraceID, id trace.SpanID, flags trace.TraceFlags, state trace.TraceState) {
	// One allocation for the text and the slice that holds it.
	v := new(struct {
		text [traceparentLen]byte
		list [1]string
	})
	formatTraceparent(&v.text, traceID, id, flags)
	v.list[0] = unsafe.String(&v.text[0], len(v.text)) // never written again
	h[traceparentKey] = v.list[:]
	if state.Len() > 0 {
		h[tracestateKey] = []string{state.String()}
	}
}

func formatTraceparent(b *[traceparentLen]byte, traceID trace.TraceID, id trace.SpanID, flags trace.TraceFlags) {
	b[0], b[1], b[2], b[35], b[52] = '0', '0', '-', '-', '-'
	tohex(b[3:35], traceID[:])
	tohex(b[36:52], id[:])
	tohex(b[53:55], []byte{byte(flags & (trace.FlagsSampled | trace.FlagsRandom))})
}

func tohex(dst, src []byte) {
	const digits = "0123456789abcdef"
	for i, c := range src {
		dst[2*i], dst[2*i+1] = digits[c>>4], digits[c&15]
	}
}
