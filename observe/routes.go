package observe

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/loadline-go/loadline/internal/span"
)

// routeRow is what the index page tells of one route and method since the start.
type routeRow struct {
	Route         string
	Requests      uint64
	Errors        string
	P50, P95, P99 string
}

// table lists the routes, those that take most time first.
func (s *server) table() []routeRow {
	type total struct {
		native           []uint64
		requests, failed uint64
		seconds          float64
	}
	totals := map[string]*total{}
	known := s.routes.read.Load()
	if known == nil {
		return nil
	}
	for r := range maps.Values(*known) {
		all := r.known.Load()
		if all == nil {
			continue
		}
		for _, k := range *all {
			name := methods[k.key.method] + " " + k.route
			t := totals[name]
			if t == nil {
				t = &total{native: make([]uint64, 1+(secondsScale.high-secondsScale.low)*perOctave)}
				totals[name] = t
			}
			n, sum := k.duration.own.addTo(t.native, nil)
			t.requests += n
			t.seconds += sum
			if k.key.status >= 500 {
				t.failed += n
			}
		}
	}
	names := slices.SortedFunc(maps.Keys(totals), func(a, b string) int {
		return cmp.Or(cmp.Compare(totals[b].seconds, totals[a].seconds), strings.Compare(a, b))
	})
	var rows []routeRow
	for _, name := range names {
		t := totals[name]
		if t.requests == 0 {
			continue
		}
		q := func(q float64) string { return span.Short(secondsScale.quantile(t.native, q)) }
		rows = append(rows, routeRow{
			Route: name, Requests: t.requests, Errors: fmt.Sprintf("%.1f %%", 100*float64(t.failed)/float64(t.requests)),
			P50: q(.5), P95: q(.95), P99: q(.99),
		})
	}
	return rows
}

// quantile returns the middle of the bucket in which the share q of all is
// reached, at most 5 % off. The first of counts is the zero bucket.
func (s scale) quantile(counts []uint64, q float64) time.Duration {
	total := uint64(0)
	for _, n := range counts {
		total += n
	}
	rank := uint64(math.Ceil(q * float64(total)))
	for i, n := range counts {
		if rank > n {
			rank -= n
			continue
		}
		if i == 0 {
			return 0
		}
		// The bucket ends at 2^(low + i/8); its middle is a sixteenth of an octave below.
		return time.Duration(math.Exp2(float64(s.low)+(float64(i)-.5)/perOctave) * float64(time.Second))
	}
	return 0
}
