package span

import (
	"fmt"
	"strings"
	"time"
)

// waterfallWidth is how many characters stand for the root's duration.
const waterfallWidth = 32

// String draws the trace as a waterfall: one line a span, when it ran within its root, how long, and below whom.
func (t Trace) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s  %s", t.Route, round(t.Duration), t.Start.UTC().Format("2006-01-02 15:04:05.000"))
	if t.Failed {
		b.WriteString("  failed")
	}
	switch {
	case t.Reason != "":
		fmt.Fprintf(&b, "  kept late: %s", t.Reason)
	case !t.Exported:
		b.WriteString("  not exported")
	}
	fmt.Fprintf(&b, "  trace %s\n", t.ID)
	depth := make(map[string]int, len(t.Spans))
	for i, s := range t.Spans {
		d := 0
		if i > 0 { // a parent that is not here counts as the root
			d = depth[s.Parent] + 1
		}
		depth[s.ID] = d
		from := min(t.column(s.Offset), waterfallWidth-1)
		to := max(t.column(s.Offset+s.Duration), from+1)
		bar := strings.Repeat(" ", from) + strings.Repeat("=", to-from)
		fmt.Fprintf(&b, "%9s %9s |%-*s| %s%s", "+"+round(s.Offset), round(s.Duration), waterfallWidth, bar, strings.Repeat("  ", d), s.Name)
		if s.Kind != "internal" {
			fmt.Fprintf(&b, " (%s)", s.Kind)
		}
		if s.Open {
			b.WriteString(" still running")
		}
		if s.Error {
			b.WriteString(" error")
			if s.Message != "" {
				fmt.Fprintf(&b, ": %q", s.Message)
			}
		}
		b.WriteByte('\n')
	}
	if t.Lost > 0 {
		fmt.Fprintf(&b, "and %d spans more\n", t.Lost)
	}
	return b.String()
}

// column returns where a moment is drawn, within the bar.
func (t Trace) column(at time.Duration) int {
	if t.Duration <= 0 {
		return 0
	}
	return int(min(max(float64(at)/float64(t.Duration)*waterfallWidth, 0), waterfallWidth))
}

// round keeps three digits.
func round(d time.Duration) string {
	unit := time.Duration(1)
	for limit := 1000 * unit; d >= limit || -d >= limit; limit *= 10 {
		unit *= 10
	}
	return d.Round(unit).String()
}
