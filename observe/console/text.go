package console

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

// WriteRequests writes the table of routes as text, those that take most of
// the time first. In flight is how many requests of a route were under way on
// average, by the time that those which have ended took; cpu is its share of
// what the process used, by the last CPU profiles.
func (c *Console) WriteRequests(w io.Writer, over time.Duration) {
	c.mu.Lock()
	n := slotsOf(over, c.config.Keep)
	from, to := c.from(n), c.sampled
	type line struct {
		name          string
		requests      float64
		errors        float64
		seconds       float64
		cpu           float64
		p50, p95, p99 float64
		split         [splitParts]float64
		parts         *split
	}
	var lines []line
	var sum summary
	c.total.over(n, &sum)
	all, cpu := 0.0, sum.cpu
	for _, r := range c.routes {
		r.over(n, &sum)
		if sum.requests == 0 {
			continue
		}
		l := line{r.name, float64(sum.requests), float64(sum.errors), sum.seconds, sum.cpu, quantile(&sum.cells, .5), quantile(&sum.cells, .95), quantile(&sum.cells, .99), [splitParts]float64{}, nil}
		if r.split != nil {
			names := *r.split
			l.split, l.parts = r.split.mean(c.diagnosed, &c.whens, from.UnixMilli()), &names
		}
		all += sum.seconds
		lines = append(lines, l)
	}
	c.mu.Unlock()
	if len(lines) == 0 {
		fmt.Fprintln(w, "no requests yet")
		return
	}
	slices.SortFunc(lines, func(a, b line) int {
		return cmp.Or(cmp.Compare(b.seconds, a.seconds), strings.Compare(a.name, b.name))
	})
	seconds := to.Sub(from).Seconds()
	fmt.Fprintf(w, "%s to %s\n\n%10s %8s %9s %9s %9s %9s %7s %7s  %s\n", from.Format(time.TimeOnly), to.Format(time.TimeOnly), "rate", "errors", "p50", "p95", "p99", "in flight", "cpu", "time", "route")
	for _, l := range lines {
		share := "-" // no profile has told yet
		if cpu > 0 {
			share = fmt.Sprintf("%.1f %%", 100*l.cpu/cpu)
		}
		fmt.Fprintf(w, "%8.2f/s %6.1f %% %9s %9s %9s %9.2f %7s %5.1f %%  %s\n", l.requests/seconds, 100*l.errors/l.requests,
			short(l.p50), short(l.p95), short(l.p99), l.seconds/seconds, share, 100*l.seconds/math.Max(all, 1e-9), plain(l.name))
		if why := l.parts.text(l.split); why != "" {
			fmt.Fprintf(w, "%78s%s\n", "", why)
		}
	}
}

// text lists the parts that are worth a word, the largest first.
func (s *split) text(parts [splitParts]float64) string {
	if s == nil {
		return ""
	}
	total := 0.0
	for _, v := range parts {
		total += v
	}
	order := make([]int, splitParts)
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(parts[b], parts[a]) })
	var words []string
	for _, i := range order {
		if parts[i] < .02*total || parts[i] == 0 {
			continue
		}
		name := ""
		if i < fixedParts {
			name = partNames[i]
		} else {
			name = plain(s.names[i-fixedParts])
		}
		words = append(words, fmt.Sprintf("%s %.0f %%", name, 100*parts[i]/total))
	}
	return strings.Join(words, ", ")
}

func short(s float64) string {
	switch d := time.Duration(s * float64(time.Second)); {
	case math.IsNaN(s):
		return "-"
	case d < time.Millisecond:
		return fmt.Sprintf("%dus", d.Microseconds())
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%.1fms", float64(d)/1e6)
	case d < time.Second:
		return fmt.Sprintf("%.0fms", float64(d)/1e6)
	default:
		return fmt.Sprintf("%.2fs", s)
	}
}

// plain keeps what came from elsewhere from steering a terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u202e' || r == '\u2066' || r == '\u2067' || r == '\u2068' {
			return ' '
		}
		return r
	}, s)
}
