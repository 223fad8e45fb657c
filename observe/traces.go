package observe

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/loadline-go/loadline/internal/span"
)

// traces serves the slowest and the last failed traces of each route, with what
// was logged in them, and the spans that have not ended: as text, or as JSON for ?format=json or a client
// that accepts only that. ?route= and ?trace= choose.
func (t *Telemetry) traces(w http.ResponseWriter, r *http.Request) {
	route, id := r.FormValue("route"), r.FormValue("trace")
	found := t.recentTraces(route, id)
	open := t.provider.Open(openAge)
	if route != "" || id != "" {
		open = []span.OpenSpan{}
	}
	var logs []span.TraceLog // of a trace of which nothing else is left
	if id != "" && len(found) == 0 && t.traceLogs != nil {
		logs = t.traceLogs.alone(id)
	}
	w.Header().Set("Cache-Control", "no-store")
	if wantsJSON(r) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(struct {
			Traces []span.Trace    `json:"traces"`
			Open   []span.OpenSpan `json:"open"`
			Logs   []span.TraceLog `json:"logs,omitempty"` // of the one that was asked for, when its spans are not kept
		}{found, open, logs})
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if len(logs) > 0 {
		fmt.Fprintln(w, "the spans of this trace are not kept; what was logged in it last:")
		for _, l := range logs {
			fmt.Fprintln(w, " ", l)
		}
		return
	}
	printTraces(w, found, open)
}

// recentTraces returns what went wrong first, then what took longest, of one
// route or trace if they are not empty.
func (t *Telemetry) recentTraces(route, id string) []span.Trace {
	found := []span.Trace{}
	for _, trace := range t.provider.Recent() {
		if (route == "" || trace.Route == route) && (id == "" || trace.ID == id) {
			if t.traceLogs != nil {
				t.traceLogs.later(&trace)
			}
			found = append(found, trace)
		}
	}
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
	return found
}

func printTraces(w io.Writer, found []span.Trace, open []span.OpenSpan) {
	if len(found) == 0 {
		fmt.Fprintln(w, "no traces yet: the slowest and the last failed requests of each route appear here")
	}
	for _, trace := range found {
		fmt.Fprintln(w, trace)
	}
	if len(open) > 0 {
		fmt.Fprintf(w, "spans that began more than %v ago and have not ended:\n", openAge)
		for _, s := range open {
			fmt.Fprintf(w, "  %10s  %s  in %s  trace %s\n", s.Age.Round(time.Second), oneLine(s.Name), oneLine(s.Root), s.TraceID)
		}
	}
}

// openAge is the age from which a span that has not ended is worth a line:
// longer than requests take, shorter than people wait.
const openAge = 10 * time.Second
