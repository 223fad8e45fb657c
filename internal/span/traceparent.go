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
	if len(v) != traceparentLen {
		v = strings.Trim(v, " \t")
	}
	if len(v) < traceparentLen || v[2] != '-' || v[35] != '-' || v[52] != '-' {
		return c, false
	}
	var version, flags [1]byte
	bad := unhex8(c.TraceID[0:4], v[3:11]) | unhex8(c.TraceID[4:8], v[11:19]) | unhex8(c.TraceID[8:12], v[19:27]) |
		unhex8(c.TraceID[12:16], v[27:35]) | unhex8(c.SpanID[0:4], v[36:44]) | unhex8(c.SpanID[4:8], v[44:52])
	if bad != 0 || !unhex(version[:], v[:2]) || !unhex(flags[:], v[53:55]) {
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
	bad := byte(0)
	for i := range dst {
		hi, lo := nibbles[src[2*i]], nibbles[src[2*i+1]]
		bad |= hi | lo
		dst[i] = hi<<4 | lo
	}
	return bad <= 15
}

// unhex8 decodes eight digits at once, in a word of eight bytes; it returns 0 when all of them are lower-case hex. It is a
// fifth of unhex's work, and every request has six of them.
func unhex8(dst []byte, src string) (bad uint64) {
	const ones = 0x0101010101010101
	x := binary.LittleEndian.Uint64(unsafe.Slice(unsafe.StringData(src), len(src))) // one load; read only
	letter := x >> 6 & ones                                                         // 1 for @ to DEL, of which only a to f pass below
	n := x&(0x0f*ones) + letter*9                                                   // the value of each digit, if it is one
	bad = n + 0x30*ones + letter*0x27 ^ x                                           // does the value give the digit back: 0 is 0x30, a is 0x61
	bad |= (n+6*ones)>>4&ones ^ letter                                              // are the letters, and they alone, above 9
	bad |= n & (0xf0 * ones)                                                        // and is none above 15
	n = (n<<4 | n>>8) & 0x00ff00ff00ff00ff
	n = (n | n>>8) & 0x0000ffff0000ffff
	binary.LittleEndian.PutUint32(dst, uint32(n|n>>16))
	return bad
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
