package observe

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/loadline-go/loadline/internal/span"
)

// traces serves the slowest and the last failed traces of each route and the
// spans that have not ended: as text, or as JSON for ?format=json or a client
// that accepts only that. ?route= and ?trace= choose.
func (t *Telemetry) traces(w http.ResponseWriter, r *http.Request) {
	route, id := r.FormValue("route"), r.FormValue("trace")
	found := []span.Trace{}
	for _, trace := range t.provider.Recent() {
		if (route == "" || trace.Route == route) && (id == "" || trace.ID == id) {
			found = append(found, trace)
		}
	}
	// What went wrong first, then what took longest.
	slices.SortStableFunc(found, func(a, b span.Trace) int {
		switch {
		case a.Failed != b.Failed && a.Failed:
			return -1
		case a.Failed != b.Failed:
			return 1
		case a.Failed:
			return 0 // the newest first, as they came
		}
		return cmp.Compare(b.Duration, a.Duration)
	})
	open := t.provider.Open(openAge)
	w.Header().Set("Cache-Control", "no-store")
	if r.FormValue("format") == "json" || r.Header.Get("Accept") == "application/json" {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(struct {
			Traces []span.Trace    `json:"traces"`
			Open   []span.OpenSpan `json:"open"`
		}{found, open})
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if len(found) == 0 {
		fmt.Fprintln(w, "no traces yet: the slowest and the last failed requests of each route appear here")
	}
	for _, trace := range found {
		writeTrace(w, trace, time.Now())
	}
	if len(open) > 0 && route == "" && id == "" {
		fmt.Fprintf(w, "spans that began more than %v ago and have not ended:\n", openAge)
		for _, s := range open {
			fmt.Fprintf(w, "  %10s  %s  in %s  trace %s\n", s.Age.Round(time.Second), oneLine(s.Name), oneLine(s.Root), s.TraceID)
		}
	}
}

// openAge is the age from which a span that has not ended is worth a line:
// longer than requests take, shorter than people wait.
const openAge = 10 * time.Second

const waterfall = 32 // characters

// writeTrace prints one trace as a waterfall.
func writeTrace(w io.Writer, t span.Trace, now time.Time) {
	state := ""
	if t.Failed {
		state = "  failed"
	}
	switch {
	case !t.Exported:
		state += "  not exported"
	case t.Reason != "":
		state += "  exported late: " + t.Reason
	}
	fmt.Fprintf(w, "%s  %s%s\ntrace %s  %s ago\n", oneLine(t.Route), short(t.Duration), state, t.ID, now.Sub(t.Start).Round(time.Second))
	depth := map[string]int{}
	for _, s := range t.Spans {
		d, ok := depth[s.Parent]
		if ok {
			d++
		}
		depth[s.ID] = d
		end := ""
		if s.Open {
			end = "  (still running)"
		}
		if s.Error {
			end += "  ERROR"
			if s.Message != "" {
				end += " " + oneLine(s.Message)
			}
		}
		for _, e := range s.Events {
			if m := e.Attributes["exception.message"]; m != "" {
				end += "  " + oneLine(m)
			}
		}
		fmt.Fprintf(w, "  %8s %8s  %s  %s%s%s\n", short(s.Offset), short(s.Duration), bar(s, t.Duration), strings.Repeat("  ", min(d, 16)), oneLine(s.Name)+what(s), end)
	}
	if t.Lost > 0 {
		fmt.Fprintf(w, "  and %d spans more than are remembered\n", t.Lost)
	}
	fmt.Fprintln(w)
}

// what is the attribute that tells most about a span whose name tells little.
func what(s span.TraceSpan) string {
	for _, key := range []string{"db.query.text", "url.full", "url.path", "peer.service"} {
		if v := s.Attributes[key]; v != "" {
			return "  " + oneLine(v)
		}
	}
	return ""
}

func bar(s span.TraceSpan, whole time.Duration) string {
	if whole <= 0 {
		whole = 1
	}
	at := func(d time.Duration) int { return int(float64(min(max(d, 0), whole)) / float64(whole) * waterfall) }
	from := min(at(s.Offset), waterfall-1)
	to := max(at(min(s.Offset, whole)+min(s.Duration, whole)), from+1)
	return strings.Repeat("·", from) + strings.Repeat("█", to-from) + strings.Repeat("·", waterfall-to)
}

// short prints three digits: a waterfall is looked at, not computed with.
func short(d time.Duration) string {
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
