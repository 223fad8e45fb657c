package span

import (
	"encoding/binary"
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
// none, when it is malformed or when there are two; then a new trace begins. A malformed tracestate is discarded alone,
// and so is one whose keys trace.TraceState cannot hold: Options.Header carries those too.
func ParseTraceparent(h http.Header) trace.SpanContext {
	c, ok := traceparentOf(h)
	if !ok {
		return trace.SpanContext{}
	}
	if states := h[tracestateKey]; len(states) > 0 {
		c.TraceState, _ = trace.ParseTraceState(readTracestate(states))
	}
	return trace.NewSpanContext(c)
}

func traceparentOf(h http.Header) (c trace.SpanContextConfig, ok bool) {
	v := h[traceparentKey]
	if len(v) != 1 {
		return c, false
	}
	return parseTraceparent(v[0])
}

func parseTraceparent(v string) (c trace.SpanContextConfig, ok bool) {
	c.TraceFlags, ok = readTraceparent(v, &c.TraceID, &c.SpanID)
	if !ok {
		return trace.SpanContextConfig{}, false
	}
	c.Remote = true
	return c, true
}

// readTraceparent decodes a traceparent. Unless ok it has written nothing.
func readTraceparent(v string, traceID *trace.TraceID, id *trace.SpanID) (flags trace.TraceFlags, ok bool) {
	if len(v) != traceparentLen {
		if v = strings.Trim(v, " \t"); len(v) < traceparentLen {
			return 0, false
		}
	}
	b := (*[traceparentLen]byte)(unsafe.Pointer(unsafe.StringData(v))) // read only
	if b[2] != '-' || b[35] != '-' || b[52] != '-' {
		return 0, false
	}
	version := nibbles[b[0]]<<4 | nibbles[b[1]]
	switch {
	case b[0] == '0' && b[1] == '0':
		if len(v) != traceparentLen {
			return 0, false
		}
	case (nibbles[b[0]]|nibbles[b[1]]) > 15 || version == 0xff:
		return 0, false
	case len(v) > traceparentLen && v[traceparentLen] != '-': // a later version may go on, after a dash
		return 0, false
	}
	high, low := nibbles[b[53]], nibbles[b[54]]
	if high|low > 15 {
		return 0, false
	}
	t0, x0, y0 := unhex8(binary.LittleEndian.Uint64(b[3:]))
	t1, x1, y1 := unhex8(binary.LittleEndian.Uint64(b[11:]))
	t2, x2, y2 := unhex8(binary.LittleEndian.Uint64(b[19:]))
	t3, x3, y3 := unhex8(binary.LittleEndian.Uint64(b[27:]))
	s0, x4, y4 := unhex8(binary.LittleEndian.Uint64(b[36:]))
	s1, x5, y5 := unhex8(binary.LittleEndian.Uint64(b[44:]))
	if !allHex(x0|x1|x2|x3|x4|x5, y0|y1|y2|y3|y4|y5) || t0|t1|t2|t3 == 0 || s0|s1 == 0 {
		return 0, false
	}
	binary.LittleEndian.PutUint64(traceID[:8], uint64(t0)|uint64(t1)<<32)
	binary.LittleEndian.PutUint64(traceID[8:], uint64(t2)|uint64(t3)<<32)
	binary.LittleEndian.PutUint64(id[:], uint64(s0)|uint64(s1)<<32)
	return trace.TraceFlags(high<<4|low) & (trace.FlagsSampled | trace.FlagsRandom), true // the rest means nothing yet
}

// unhex8 decodes eight digits at once, in a word of eight bytes, the first one lowest; so lies the result. It holds when
// allHex of the other two, or of the unions of many, is true. Every request has six such words, so this counts.
func unhex8(x uint64) (n uint32, halves, tens uint64) {
	const ones = 0x0101010101010101
	letter := x & (0x40 * ones)                 // of @ to DEL, of which only a to f pass
	halves = x ^ 0x30*ones ^ letter ^ letter>>2 // 0 to 9 and a to f lose their upper halves, 3 and 6, and nothing else does
	v := halves + letter>>6*9                   // the value of each digit, if it is one
	tens = (v + 6*ones) ^ letter>>2 | v         // in bit 4: is a value above 9 without being a letter's or the reverse, or above 15
	v = v * 0x1001 >> 8 & 0x00ff00ff00ff00ff
	v = (v | v>>8) & 0x0000ffff0000ffff
	return uint32(v | v>>16), halves, tens
}

// allHex reports whether all that unhex8 saw was lower-case hex; the specification allows no other.
func allHex(halves, tens uint64) bool {
	const ones = 0x0101010101010101
	return halves&(0xf0*ones)|tens&(0x10*ones) == 0
}

// nibbles maps a digit to its value and anything else to 0xff.
var nibbles = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	for i, c := range []byte("0123456789abcdef") {
		t[c] = byte(i)
	}
	return t
}()

// readTracestate joins the headers and drops a member that repeats a key further left, which is the newer one. It
// returns an empty state when a member is malformed or there are too many. The usual state, one header without spaces
// and repetition, is returned as it is.
func readTracestate(headers []string) string {
	all := headers[0]
	if len(headers) > 1 {
		all = strings.Join(headers, ",")
	}
	var list [maxMembers]string
	members, kept, size := 0, 0, 0
	for rest := all; rest != ""; {
		var m string
		m, rest, _ = strings.Cut(rest, ",")
		m = strings.Trim(m, " \t")
		if m == "" {
			continue
		}
		key, value, ok := strings.Cut(m, "=")
		if members++; members > maxMembers || !ok || !validKey(key) || !validValue(value) {
			return ""
		}
		if !repeatsKey(list[:kept], key) {
			list[kept] = m
			kept++
			size += len(m) + 1
		}
	}
	if size-1 == len(all) {
		return all
	}
	return strings.Join(list[:kept], ",")
}

func repeatsKey(list []string, key string) bool {
	for _, m := range list {
		if len(m) > len(key) && m[len(key)] == '=' && m[:len(key)] == key {
			return true
		}
	}
	return false
}

// validKey checks a key by Level 2 of the specification, which made one kind of the two that Level 1 had:
//
//	key     = ( lcalpha / DIGIT ) 0*255 ( keychar )
//	keychar = lcalpha / DIGIT / "_" / "-" / "*" / "/" / "@"
func validKey(key string) bool {
	if key == "" || len(key) > 256 || !lowerOrDigit(key[0]) {
		return false
	}
	for i := 1; i < len(key); i++ {
		switch c := key[i]; {
		case lowerOrDigit(c), c == '_', c == '-', c == '*', c == '/', c == '@':
		default:
			return false
		}
	}
	return true
}

func lowerOrDigit(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

// validValue: printable ASCII but for comma and equals sign, at most 256 of it, and no space at the end.
func validValue(v string) bool {
	if v == "" || len(v) > 256 {
		return false
	}
	for i := range len(v) {
		if c := v[i]; c < ' ' || c > '~' || c == ',' || c == '=' {
			return false
		}
	}
	return true // trimmed: it does not end in a space
}

// Inject writes the identity of s into h, for whoever is called next. The sampled flag says what the sampler said: a
// refused trace stays refused downstream, whatever late sampling keeps here. A nil span writes nothing.
func (s *Span) Inject(h http.Header) {
	if s == nil || !s.traceID.IsValid() {
		return
	}
	injectHeader(h, s.traceID, s.id, s.flags, s.stateText())
}

// stateText returns the trace state for the next one, also when trace.TraceState cannot hold it.
func (s *Span) stateText() string {
	if s.mode&modeHasState == 0 {
		return ""
	}
	if s.more.state.Len() == 0 {
		return s.more.rawState
	}
	return s.more.state.String()
}

// HeaderRoom is memory for the header that InjectIn writes. It belongs to that header from then on.
type HeaderRoom struct {
	text [traceparentLen]byte
	list [1]string
}

// InjectIn is Inject without an allocation: the value of traceparent is in room, which is used once.
func (s *Span) InjectIn(room *HeaderRoom, h http.Header) {
	if s != nil && s.traceID.IsValid() {
		injectHeaderIn(room, h, s.traceID, s.id, s.flags, s.stateText())
	}
}

func injectHeader(h http.Header, traceID trace.TraceID, id trace.SpanID, flags trace.TraceFlags, state string) {
	injectHeaderIn(new(HeaderRoom), h, traceID, id, flags, state) // the text and its slice in one allocation
}

func injectHeaderIn(v *HeaderRoom, h http.Header, traceID trace.TraceID, id trace.SpanID, flags trace.TraceFlags, state string) {
	formatTraceparent(&v.text, traceID, id, flags)
	v.list[0] = unsafe.String(&v.text[0], len(v.text)) // never written again
	h[traceparentKey] = v.list[:]
	if state != "" {
		h[tracestateKey] = []string{state}
	}
}

func formatTraceparent(b *[traceparentLen]byte, traceID trace.TraceID, id trace.SpanID, flags trace.TraceFlags) {
	b[0], b[1], b[2], b[35], b[52] = '0', '0', '-', '-', '-'
	hex4(b[3:11], traceID[0:4])
	hex4(b[11:19], traceID[4:8])
	hex4(b[19:27], traceID[8:12])
	hex4(b[27:35], traceID[12:16])
	hex4(b[36:44], id[0:4])
	hex4(b[44:52], id[4:8])
	b[53], b[54] = '0', '0'+byte(flags&(trace.FlagsSampled|trace.FlagsRandom)) // up to 3
}

// hex4 encodes four bytes as eight digits at once, in a word: what unhex8 does, the other way.
func hex4(dst, src []byte) {
	const ones = 0x0101010101010101
	n := uint64(binary.BigEndian.Uint32(src))
	n = (n | n<<16) & 0x0000ffff0000ffff
	n = (n | n<<8) & 0x00ff00ff00ff00ff
	n = (n | n<<4) & (0x0f * ones)
	letter := (n + 6*ones) >> 4 & ones // 1 for 10 to 15
	binary.BigEndian.PutUint64(dst, n+0x30*ones+letter*0x27)
}
