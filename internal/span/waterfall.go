package span

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

const (
	barWidth = 32 // characters that stand for the root's duration
	maxDepth = 16 // beyond it, spans are not indented further
	maxWords = 200
)

// String draws the trace as a waterfall: one line a span, when it began, how long it took, where that lies within the
// root, below whom, and what it did; then one line a log record. Text from elsewhere is on one line and clipped.
func (t Trace) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s", words(t.Route), Short(t.Duration))
	if t.Failed {
		b.WriteString("  failed")
	}
	switch {
	case !t.Exported:
		b.WriteString("  not exported")
	case t.Reason != "":
		fmt.Fprintf(&b, "  exported late: %s", t.Reason)
	}
	fmt.Fprintf(&b, "\ntrace %s  %s\n", t.ID, t.Start.UTC().Format("2006-01-02 15:04:05.000"))
	depth := make(map[string]int, len(t.Spans))
	for i, s := range t.Spans {
		d := 0
		if i > 0 { // a parent that is not here counts as the root
			d = min(depth[s.Parent]+1, maxDepth)
		}
		depth[s.ID] = d
		fmt.Fprintf(&b, "  %8s %8s  %s  %s%s%s\n", Short(s.Offset), Short(s.Duration), t.bar(s), strings.Repeat("  ", d), words(s.Name), s.about())
	}
	if t.Lost > 0 {
		fmt.Fprintf(&b, "  and %d spans more than are remembered\n", t.Lost)
	}
	if t.LostLogs > 0 {
		fmt.Fprintf(&b, "  %d log records before these\n", t.LostLogs)
	}
	for _, l := range t.Logs {
		b.WriteString("  " + l.String() + "\n")
	}
	return b.String()
}

// String is one line: when, how bad, what.
func (l TraceLog) String() string {
	s := fmt.Sprintf("%8s %-5s  %s", Short(l.Offset), words(l.Level), words(l.Message))
	if l.Attributes != "" {
		s += "  " + words(l.Attributes)
	}
	return s
}

func (t Trace) bar(s TraceSpan) string {
	from := min(t.column(s.Offset), barWidth-1)
	to := max(t.column(s.Offset+s.Duration), from+1)
	return strings.Repeat("·", from) + strings.Repeat("█", to-from) + strings.Repeat("·", barWidth-to)
}

// column returns where a moment is drawn, within the bar.
func (t Trace) column(at time.Duration) int {
	if t.Duration <= 0 {
		return 0
	}
	return int(min(max(float64(at)/float64(t.Duration)*barWidth, 0), barWidth))
}

// about is what the name does not tell: the attribute that tells most, what became of the span, and its errors.
func (s TraceSpan) about() string {
	var b strings.Builder
	for _, key := range []string{"db.query.text", "url.full", "url.path", "peer.service"} {
		if v := s.Attributes[key]; v != "" {
			b.WriteString("  " + words(v))
			break
		}
	}
	if s.Open {
		b.WriteString("  (still running)")
	}
	if s.Error {
		b.WriteString("  ERROR")
		if s.Message != "" {
			b.WriteString(" " + words(s.Message))
		}
	}
	for _, e := range s.Events {
		if m := e.Attributes[string(exceptionMessage)]; m != "" && m != s.Message {
			b.WriteString("  " + words(m))
		}
	}
	return b.String()
}

// words makes text from elsewhere safe to print on a line.
func words(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if len(s) > maxWords {
		s = strings.ToValidUTF8(s[:maxWords], "") + "…"
	}
	return s
}

// Short prints a duration with three digits: a waterfall is looked at, not computed with.
func Short(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Millisecond:
		return fmt.Sprintf("%dµs", d.Microseconds())
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.2fms", d.Seconds()*1e3)
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	}
	return fmt.Sprintf("%.2fs", d.Seconds())
}
