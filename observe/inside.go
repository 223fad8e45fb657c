package observe

import (
	"cmp"
	"slices"
	"time"

	"github.com/loadline-go/loadline/internal/span"
	"github.com/loadline-go/loadline/observe/console"
)

// unknownHost stands for that of a call of which it is not known.
const unknownHost = "\xff"

// inside tells of each route in which spans the time of its slowest and its
// failed traces was spent, without that of the spans below them: the three
// largest. Where no wrapper measures, the program's own steps say why a route is
// slow.
func inside(traces []span.Trace) map[string][]console.Inside {
	type name struct{ text, host, port string }
	type route struct {
		own   map[name]time.Duration
		total time.Duration
	}
	type part struct{ own, edge time.Duration }
	routes := map[string]*route{}
	at := map[string]int{} // of the spans of one trace, by ID
	var parts []part
	for i := range traces {
		t := &traces[i]
		r := routes[t.Route]
		if r == nil {
			r = &route{own: map[name]time.Duration{}}
			routes[t.Route] = r
		}
		clear(at)
		parts = parts[:0]
		for k := range t.Spans {
			s := &t.Spans[k]
			at[s.ID] = k
			parts = append(parts, part{s.Duration, s.Offset})
		}
		for k := range t.Spans { // in the order they began
			s := &t.Spans[k]
			if up, ok := at[s.Parent]; ok {
				p, above := &parts[up], &t.Spans[up]
				from, to := max(s.Offset, p.edge), min(s.Offset+s.Duration, above.Offset+above.Duration)
				if to > from { // calls that are made at the same time count once
					p.own -= to - from
					p.edge = to
				}
			}
		}
		for k := range t.Spans {
			s, own := &t.Spans[k], parts[k].own
			n := name{text: s.Name}
			if s.Kind == "client" || s.Kind == "producer" {
				n.host, n.port = cmp.Or(s.Attributes["server.address"], unknownHost), s.Attributes["server.port"]
			}
			r.own[n] += own
			r.total += own
		}
	}
	all := make(map[string][]console.Inside, len(routes))
	for path, r := range routes {
		var spans []console.Inside
		for n, own := range r.own {
			share := float64(own) / float64(max(r.total, 1))
			if share < .02 {
				continue
			}
			text := n.text
			if n.host != "" && n.host != unknownHost {
				text += " " + n.host
			}
			if n.port != "" {
				text += ":" + n.port
			}
			spans = append(spans, console.Inside{Name: clip(text, 80), Share: share, Call: n.host != ""})
		}
		slices.SortFunc(spans, func(a, b console.Inside) int {
			return cmp.Or(cmp.Compare(b.Share, a.Share), cmp.Compare(a.Name, b.Name))
		})
		all[path] = spans[:min(len(spans), 3)]
	}
	return all
}
