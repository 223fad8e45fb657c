package doctor

import (
	"fmt"
	"strings"
	"time"
)

// String is the report as a page of text: the sentence first, then each finding
// with its proof, the command to type next and the remedy.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s   (%s to %s)\n", r.Headline(), shortTime(r.Interval), r.Time.Format(time.TimeOnly))
	for i, f := range r.Findings {
		fmt.Fprintf(&b, "\n%d  %s", i+1, f.Cause)
		if f.Subject != "" {
			fmt.Fprintf(&b, "  %s", line(f.Subject))
		}
		fmt.Fprintf(&b, "  [%s]\n   %s\n", f.Level, line(f.Summary))
		fact := func(name, text string) {
			if text != "" {
				fmt.Fprintf(&b, "   %-9s%s\n", name, line(text))
			}
		}
		if f.Share > 0 {
			fact("share", fmt.Sprintf("%s of the users' time; confidence %.1f", pct(f.Share), f.Confidence))
		} else {
			fact("share", fmt.Sprintf("none of the users' time yet; confidence %.1f", f.Confidence))
		}
		if f.After > 0 {
			fact("in", about(f.After)+" at the present growth")
		}
		for k, p := range f.Proof {
			name := ""
			if k == 0 {
				name = "proof"
			}
			fmt.Fprintf(&b, "   %-9s%s\n", name, line(p.Text))
			fmt.Fprintf(&b, "   %-9s  %s\n", "", line(p.Metric))
		}
		fact("explains", strings.Join(f.Symptoms, ", "))
		fact("next", f.Next)
		fact("remedy", f.Remedy)
	}
	if len(r.Split) > 0 {
		b.WriteString("\nwhere the time goes (goroutine-seconds per second)\n")
		for _, s := range r.Split[:min(len(r.Split), 10)] {
			fmt.Fprintf(&b, "   %-24s %6s  %s\n", line(s.Route), num(s.Total), s.text())
		}
		if n := len(r.Split) - 10; n > 0 {
			fmt.Fprintf(&b, "   and %d more routes\n", n)
		}
	}
	return b.String()
}

// Headline is the verdict in one sentence.
func (r Report) Headline() string {
	switch {
	case r.Verdict == Unknown:
		return "unknown: " + line(r.Reason)
	case r.Verdict == Sick && len(r.Findings) > 0:
		return "sick: " + line(r.Findings[0].Summary)
	case r.Verdict == Healthy && len(r.Findings) > 0:
		return "healthy: nothing harms users; good to know: " + line(r.Findings[0].Summary)
	}
	return string(r.Verdict) + ": nothing harms users, as far as can be seen"
}

// text lists the parts of a split from the largest, those that are worth a word.
func (s Split) text() string {
	type part struct {
		name string
		v    float64
	}
	parts := []part{{"running", s.Running}, {"ready", s.Ready}, {"gc assist", s.GCAssist}, {"lock", s.Lock}, {"pool", s.Pool}, {"other", s.Other}}
	for _, p := range s.Parts {
		parts = append(parts, part{line(p.Name), p.Seconds})
	}
	for i := 1; i < len(parts); i++ {
		for k := i; k > 0 && parts[k].v > parts[k-1].v; k-- {
			parts[k], parts[k-1] = parts[k-1], parts[k]
		}
	}
	var words []string
	for _, p := range parts {
		if p.v >= 0.02*s.Total && p.v > 0 {
			words = append(words, fmt.Sprintf("%s %s", p.name, pct(share(p.v, s.Total))))
		}
	}
	text := strings.Join(words, ", ")
	if s.Estimated {
		text += " (estimated)"
	}
	return text
}

func shortTime(d time.Duration) string { return d.Round(100 * time.Millisecond).String() }

// line makes a text of the program's or of a client's fit for one line of a terminal.
func line(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029' || r == '\u202e' || r == '\u2066' || r == '\u2067' || r == '\u2068' {
			return ' '
		}
		return r
	}, s)
}
