package observe

import (
	"log/slog"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/loadline-go/loadline/internal/span"
)

// The bounds of the log records that are kept for the traces at the admin
// address: 336 KiB of the last ones, and of each trace that is kept, of which
// there are at most 768 (128 routes with six each), 16 records of 2 KiB.
const (
	keptRecords     = 1024
	keptText        = 256 << 10
	maxRecord       = 512 // bytes of one: its message and attributes
	maxMessage      = 256
	maxTraceRecords = 16
	maxTraceText    = 2 << 10
)

// traceLogs are the last log records that belong to a trace. They are copied as
// text: a value that were kept would be a value that cannot be freed, and that
// the program may change. Nothing here allocates until somebody looks.
type traceLogs struct {
	mu      sync.Mutex
	records [keptRecords]traceRecord
	seq     uint64 // records so far
	text    [keptText]byte
	end     uint64 // bytes of text so far, with those that a record skipped to stay whole
}

type traceRecord struct {
	trace [32]byte // in hex
	span  [16]byte
	at    int64 // Unix nanoseconds
	start uint64
	level int32
	size  uint16
	words uint16 // of size, the message
}

// add keeps a record of a logger.
func (l *traceLogs) add(traceID, spanID string, r *slog.Record, h *logHandler) {
	var space [maxRecord + 64]byte // on the stack
	b := append(space[:0], clipped(r.Message, maxMessage)...)
	words := len(b)
	b = h.appendBound(b, 0)
	r.Attrs(func(a slog.Attr) bool {
		b = appendAttr(b, a, 0)
		return len(b) < maxRecord
	})
	b = b[:min(len(b), maxRecord)]
	at := r.Time
	if at.IsZero() {
		at = time.Now()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if left := keptText - l.end%keptText; left < uint64(len(b)) {
		l.end += left
	}
	k := &l.records[l.seq%keptRecords]
	*k = traceRecord{at: at.UnixNano(), start: l.end, level: int32(r.Level), size: uint16(len(b)), words: uint16(words)}
	copy(k.trace[:], traceID)
	copy(k.span[:], spanID)
	copy(l.text[l.end%keptText:], b)
	l.end += uint64(len(b))
	l.seq++
}

// of returns the last records of a trace, the oldest first, and how many there
// were before them; offsets are from began.
func (l *traceLogs) of(traceID string, began time.Time) (all []span.TraceLog, lost int) {
	if len(traceID) != len(traceRecord{}.trace) {
		return nil, 0
	}
	id := [32]byte([]byte(traceID))
	size := 0
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range min(l.seq, keptRecords) {
		seq := l.seq - 1 - i
		k := &l.records[seq%keptRecords]
		if l.end-k.start > keptText {
			break // its text is another's by now, and so is that of all before
		}
		if k.trace != id {
			continue
		}
		if size += int(k.size); len(all) == maxTraceRecords || size > maxTraceText {
			lost++
			continue
		}
		text := l.text[k.start%keptText:][:k.size]
		all = append(all, span.TraceLog{
			Seq: seq, Offset: time.Duration(k.at - began.UnixNano()), Level: slog.Level(k.level).String(),
			Span: strings.TrimRight(string(k.span[:]), "\x00"), Message: valid(text[:k.words]), Attributes: strings.TrimSpace(valid(text[k.words:])),
		})
	}
	slices.Reverse(all)
	return all, lost
}

// alone returns the last records of a trace of which nothing else is known, from
// the first of them on.
func (l *traceLogs) alone(traceID string) []span.TraceLog {
	all, _ := l.of(traceID, time.Unix(0, 0))
	for i := len(all) - 1; i >= 0; i-- {
		all[i].Offset -= all[0].Offset
	}
	return all
}

// valid is text of which a clip may have left a part of a character.
func valid(b []byte) string { return strings.ToValidUTF8(string(b), "") }

// later adds to what was kept with a trace what was logged since, in what goes
// on after its root has ended.
func (l *traceLogs) later(t *span.Trace) {
	now, lost := l.of(t.ID, t.Start)
	if len(now) == 0 {
		return
	}
	if n := len(t.Logs); n > 0 {
		newest := t.Logs[n-1].Seq
		if now[len(now)-1].Seq == newest {
			return
		}
		if at := slices.IndexFunc(now, func(r span.TraceLog) bool { return r.Seq > newest }); at > 0 || lost == 0 {
			t.Logs = append(slices.Clone(t.Logs), now[at:]...)
			return
		}
		lost = max(lost, n+t.LostLogs) // at least: those before may have left the ring
	}
	t.Logs, t.LostLogs = now, lost
}

// maxBound is how many With are looked at: a logger that a loop wraps again and
// again is somebody's mistake, and no reason to overflow the stack.
const maxBound = 32

// appendBound appends the attributes that a logger was given, the first ones first.
func (h *logHandler) appendBound(b []byte, depth int) []byte {
	if h == nil || depth == maxBound {
		return b
	}
	b = h.before.appendBound(b, depth+1)
	for _, a := range h.attrs {
		if len(b) >= maxRecord {
			break
		}
		b = appendAttr(b, a, 0)
	}
	return b
}

// appendAttr appends " key=value". What is no string, number, time or error
// stands there by its type: printing what may be large costs more than it tells.
func appendAttr(b []byte, a slog.Attr, depth int) []byte {
	if len(b) >= maxRecord || a.Key == "" && a.Value.Equal(slog.Value{}) {
		return b
	}
	v := a.Value
	if v.Kind() == slog.KindLogValuer {
		v = v.Resolve()
	}
	if a.Key == "trace_id" || a.Key == "span_id" {
		return b // the page says whose record it is
	}
	if v.Kind() == slog.KindGroup && a.Key == "" {
		return appendGroup(b, v.Group(), depth)
	}
	if len(b) == 0 || b[len(b)-1] != '{' {
		b = append(b, ' ')
	}
	b = append(b, clipped(a.Key, 64)...)
	b = append(b, '=')
	switch v.Kind() {
	case slog.KindString:
		return appendText(b, v.String())
	case slog.KindInt64:
		return strconv.AppendInt(b, v.Int64(), 10)
	case slog.KindUint64:
		return strconv.AppendUint(b, v.Uint64(), 10)
	case slog.KindFloat64:
		return strconv.AppendFloat(b, v.Float64(), 'g', -1, 64)
	case slog.KindBool:
		return strconv.AppendBool(b, v.Bool())
	case slog.KindDuration:
		return append(b, v.Duration().String()...)
	case slog.KindTime:
		return v.Time().AppendFormat(b, time.RFC3339Nano)
	case slog.KindGroup:
		b = append(b, '{')
		b = appendGroup(b, v.Group(), depth)
		return append(b, '}')
	}
	text, kind := textOf(v.Any())
	if kind != "" {
		b = append(b, '(')
		b = append(b, clipped(kind, 100)...)
		return append(b, ')')
	}
	return appendText(b, text)
}

// maxGroups is how deep groups are shown.
const maxGroups = 8

func appendGroup(b []byte, attrs []slog.Attr, depth int) []byte {
	if depth == maxGroups {
		return b
	}
	for _, a := range attrs {
		b = appendAttr(b, a, depth+1)
	}
	return b
}

// textOf is what stands for a value of any type, or else its type. An Error or
// String that panics, as on a nil pointer, is the program's affair and not the
// record's end.
func textOf(v any) (text, kind string) {
	defer func() {
		if recover() != nil {
			text, kind = "", "panicked"
		}
	}()
	switch v := v.(type) {
	case nil:
		return "", "nil"
	case error:
		return v.Error(), ""
	case interface{ String() string }:
		return v.String(), ""
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.String:
		return r.String(), ""
	case reflect.Bool:
		return strconv.FormatBool(r.Bool()), ""
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.FormatInt(r.Int(), 10), ""
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return strconv.FormatUint(r.Uint(), 10), ""
	default:
		return "", r.Type().String()
	}
}

// appendText appends a value, in quotes where it would not stand as one.
func appendText(b []byte, s string) []byte {
	s = clipped(s, max(maxRecord-len(b), 0))
	if s == "" || !unquoted(s) {
		return strconv.AppendQuote(b, s)
	}
	return append(b, s...)
}

// unquoted reports whether a value can be read without quotes.
func unquoted(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c <= ' ' || c == '"' || c == '=' || c == 0x7f:
			return false
		case c >= utf8.RuneSelf:
			return !strings.ContainsFunc(s, func(r rune) bool {
				return r <= ' ' || r == '"' || r == '=' || r == utf8.RuneError || !unicode.IsPrint(r)
			})
		}
	}
	return true
}

// clipped returns the beginning of s, of whole characters.
func clipped(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}
