package observe

import (
	"fmt"
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/loadline-go/loadline/internal/span"
)

func TestInsideTellsWhereTracesSpendTheirTime(t *testing.T) {
	const ms = time.Millisecond
	trace := func(route string, spans ...span.TraceSpan) span.Trace { return span.Trace{Route: route, Spans: spans} }
	one := func(id, parent, name string, from, took time.Duration) span.TraceSpan {
		return span.TraceSpan{ID: id, Parent: parent, Name: name, Offset: from, Duration: took}
	}
	call := func(id, parent string, from, took time.Duration) span.TraceSpan {
		s := one(id, parent, "POST", from, took)
		s.Kind, s.Attributes = "client", map[string]string{"server.address": "pay", "server.port": "443"}
		return s
	}
	got := inside([]span.Trace{
		// 10 ms of its own, 90 in a step of which 40 wait for two calls that overlap,
		// of which one goes on behind the step's end.
		trace("GET /a", one("1", "elsewhere", "GET /a", 0, 100*ms), one("2", "1", "draw", 10*ms, 90*ms), call("3", "2", 60*ms, 20*ms), call("4", "2", 70*ms, 40*ms)),
		trace("GET /a", one("1", "", "GET /a", 0, 100*ms), one("2", "1", "draw", 0, 100*ms)),
		trace("GET /b", one("1", "", "GET /b", 0, 10*ms), one("2", "1", "late", 5*ms, 100*ms)),
		trace("GET /c"),
		trace("GET /d", one("1", "", "GET /d", 0, 0)),
	})
	want := map[string]string{
		"GET /a": "[{draw 0.68 false} {POST pay:443 0.27 true} {GET /a 0.05 false}]",
		"GET /b": "[{late 0.95 false} {GET /b 0.05 false}]",
		"GET /c": "[]",
		"GET /d": "[]",
	}
	for route, spans := range got {
		for i := range spans {
			spans[i].Share = math.Round(100*spans[i].Share) / 100
		}
		if fmt.Sprint(spans) != want[route] {
			t.Errorf("%s: %v, want %s", route, spans, want[route])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d routes", len(got))
	}
}

func TestConsoleTellsWhatIsInside(t *testing.T) {
	tel := start(t, Config{Interval: time.Hour})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{id}", func(http.ResponseWriter, *http.Request) {})
	do(tel.Handler(mux), "GET", "/1")
	feedConsole(tel, time.Now())
	if in := readConsole(t, tel).State.Inside["GET /{id}"]; len(in) != 1 || in[0].Name != "GET /{id}" || in[0].Share != 1 {
		t.Errorf("%+v", in)
	}
}

// The most that there can be: 128 routes with six traces of 64 spans.
func BenchmarkInside(b *testing.B) {
	var traces []span.Trace
	for i := range 128 * 6 {
		t := span.Trace{Route: fmt.Sprint("GET /", i/6)}
		for k := range 64 {
			t.Spans = append(t.Spans, span.TraceSpan{ID: fmt.Sprint(k), Parent: fmt.Sprint(k / 4), Name: fmt.Sprint("step ", k%10), Offset: time.Duration(k), Duration: 1000})
		}
		traces = append(traces, t)
	}
	b.ReportAllocs()
	for b.Loop() {
		inside(traces)
	}
}
