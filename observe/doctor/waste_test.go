package doctor

import (
	"strings"
	"testing"
	"time"
)

// What wastes a tenth of a route's or a dependency's time is good to know, and no
// reason to wake anybody.
func TestLittleWasteIsGoodToKnow(t *testing.T) {
	service := func() (w Window) {
		return Window{Interval: 10 * time.Second,
			Routes: []Route{{Route: "GET /list", Requests: 100, Seconds: 2, Waited: 1.5, Parts: []Part{
				{Name: "shop", Calls: 100, Seconds: .3}, {Name: "rates:443", Calls: 100, Seconds: 1.2},
			}}},
			Dependencies: []Dependency{{Name: "shop", Kind: "db", Calls: 100, Seconds: .3}, {Name: "rates:443", Kind: "http", Calls: 100, Seconds: 1.2}},
		}
	}
	for _, c := range []struct {
		name, want string
		change     func(*Window)
	}{
		{"as ever", "", func(*Window) {}},
		{"queries in a loop", "n-plus-one GET /list: a request of GET /list makes 40 queries (SELECT items) of shop", func(w *Window) {
			w.Routes[0].Repeated, w.Routes[0].Query, w.Routes[0].Parts[0].Calls = 100, "SELECT items", 4000
		}},
		{"too quick to matter", "", func(w *Window) {
			w.Routes[0].Repeated, w.Routes[0].Query, w.Routes[0].Parts[0].Calls, w.Routes[0].Parts[0].Seconds = 100, "SELECT items", 4000, .1
		}},
		{"connections used once", "connection-churn rates:443: 99 % of the calls of rates:443 open a connection", func(w *Window) {
			w.Dependencies[1].Connections, w.Dependencies[1].Connecting = 99, .2
		}},
	} {
		w := service()
		c.change(&w)
		r := Diagnose(Evidence{Now: w, Usual: w, Running: time.Hour})
		got := ""
		for _, f := range r.Findings {
			got += string(f.Cause) + " " + f.Subject + ": " + f.Summary
			if f.Level != Info {
				t.Errorf("%s: %s", c.name, f.Level)
			}
		}
		if got != c.want || r.Verdict != Healthy || c.want != "" && !strings.Contains(r.String(), "good to know") {
			t.Errorf("%s: %q, want %q\n%s", c.name, got, c.want, r)
		}
	}
}
