package flame

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

// made returns a profile of these stacks, "main;a;b" from the outside in, by
// samples and nanoseconds.
func made(stacks map[string]int64, label func(stack string) map[string][]string) *profile.Profile {
	p := &profile.Profile{
		SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}},
		PeriodType: &profile.ValueType{Type: "cpu", Unit: "nanoseconds"}, Period: 1e7, DurationNanos: 10e9,
	}
	known := map[string]*profile.Location{}
	for _, stack := range slices.Sorted(maps.Keys(stacks)) {
		s := &profile.Sample{Value: []int64{stacks[stack], stacks[stack] * 1e7}}
		if label != nil {
			s.Label = label(stack)
		}
		for name := range strings.SplitSeq(stack, ";") {
			l := known[name]
			if l == nil {
				f := &profile.Function{ID: uint64(len(known) + 1), Name: name, Filename: name + ".go", StartLine: 7}
				l = &profile.Location{ID: f.ID, Line: []profile.Line{{Function: f, Line: 8}}}
				known[name] = l
				p.Function, p.Location = append(p.Function, f), append(p.Location, l)
			}
			s.Location = slices.Insert(s.Location, 0, l)
		}
		p.Sample = append(p.Sample, s)
	}
	return p
}

// text tells a graph as one line a frame.
func text(g *Graph) string {
	var b strings.Builder
	var walk func(f *Frame, depth int)
	walk = func(f *Frame, depth int) {
		fmt.Fprintf(&b, "%s%s %d", strings.Repeat(" ", depth), g.Names[f.Name], f.Value)
		if g.Diff {
			fmt.Fprintf(&b, " was %d", f.Base)
		}
		b.WriteByte('\n')
		for _, u := range f.Under {
			walk(u, depth+1)
		}
	}
	walk(g.Root, 0)
	return b.String()
}

func TestGraph(t *testing.T) {
	p := made(map[string]int64{"main;a;b": 3, "main;a": 1, "main;c": 2}, func(stack string) map[string][]string {
		if strings.Contains(stack, "a") && !strings.Contains(stack, "c") {
			return map[string][]string{"route": {"/a"}, "span_id": {stack}}
		}
		return nil
	})
	base := made(map[string]int64{"main;a": 5, "main;d": 1}, nil)
	inlined := made(map[string]int64{"main;x": 1}, nil)
	inlined.Location[0].Line = append([]profile.Line{{Function: &profile.Function{ID: 9, Name: "in"}}}, inlined.Location[0].Line...)
	for _, test := range []struct {
		name    string
		p, base *profile.Profile
		o       Options
		want    string
	}{
		{"the last type", p, nil, Options{}, "all 60000000\n main 60000000\n  a 40000000\n   b 30000000\n  c 20000000\n"},
		{"a type", p, nil, Options{Type: "samples"}, "all 6\n main 6\n  a 4\n   b 3\n  c 2\n"},
		{"a label", p, nil, Options{Type: "samples", Label: "route", Value: "/a"}, "all 4\n main 4\n  a 4\n   b 3\n"},
		{"no such label", p, nil, Options{Type: "samples", Label: "route", Value: "/b"}, "all 0\n"},
		{"compared", p, base, Options{Type: "samples"}, "all 6 was 6\n main 6 was 6\n  a 4 was 5\n   b 3 was 0\n  c 2 was 0\n  d 0 was 1\n"},
		{"inlined", inlined, nil, Options{Type: "samples"}, "all 1\n main 1\n  in 1\n   x 1\n"},
	} {
		g, err := New(test.p, test.base, test.o)
		if err != nil {
			t.Fatal(err)
		}
		if got := text(g); got != test.want {
			t.Errorf("%s:\n%swant\n%s", test.name, got, test.want)
		}
	}
	g, _ := New(p, nil, Options{})
	if fmt.Sprint(g.Labels) != "[{route [{/a 40000000}]}]" {
		t.Errorf("labels %v", g.Labels)
	}
	data, err := json.Marshal(g)
	if err != nil || !bytes.Contains(data, []byte(`"root":[0,60000000,0,[[1,60000000,0,[[2,40000000,0,[[3,30000000,0,[]]]],[4,20000000,0,[]]]]]]`)) {
		t.Errorf("%s %v", data, err)
	}
	for _, bad := range []func() (*Graph, error){
		func() (*Graph, error) { return New(p, nil, Options{Type: "heap"}) },
		func() (*Graph, error) { return New(&profile.Profile{}, nil, Options{}) },
		func() (*Graph, error) { return New(p, &profile.Profile{}, Options{}) },
	} {
		if g, err := bad(); err == nil {
			t.Errorf("no error, but %v", g)
		}
	}
}

// Whatever the profile is, a browser gets no more frames than it can draw, and the largest.
func TestLargeGraphsAreCut(t *testing.T) {
	stacks := map[string]int64{"main;" + strings.Repeat("deep;", 1000) + "end": 1 << 30}
	for i := range 3 * maxFrames {
		stacks[fmt.Sprintf("main;f%d", i)] = int64(1 + i%7)
	}
	g, err := New(made(stacks, nil), nil, Options{Type: "samples"})
	if err != nil {
		t.Fatal(err)
	}
	frames, depth := 0, 0
	var walk func(f *Frame, at int)
	walk = func(f *Frame, at int) {
		frames, depth = frames+1, max(depth, at)
		for _, u := range f.Under {
			walk(u, at+1)
		}
	}
	walk(g.Root, 0)
	if frames > maxFrames+1 || g.Cut == 0 || frames < maxFrames/10 || depth > maxDepth {
		t.Errorf("%d frames, %d deep, %d cut", frames, depth, g.Cut)
	}
	if data, err := json.Marshal(g); err != nil || len(data) > 8<<20 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	if _, err := New(made(map[string]int64{"a": math.MaxInt64 / 10_000_000}, nil), nil, Options{}); err != nil {
		t.Error(err)
	}
}

// The page refers to nothing but itself, and to no inline script or style.
func TestPageNeedsNothingFromElsewhere(t *testing.T) {
	for _, name := range []string{"", "flame.js", "flame.css"} {
		w := httptest.NewRecorder()
		ServePage(w, httptest.NewRequest("GET", "/", nil), name)
		body := w.Body.String()
		if w.Code != http.StatusOK || w.Header().Get("Content-Security-Policy") != Policy || body == "" {
			t.Errorf("%q: %d", name, w.Code)
		}
		for _, bad := range []string{`https?://`, `@import`, `url\(`, `<style`, `style="`, ` on[a-z]+="`, `<script(?:[^>]*)>[^<]`, `innerHTML`, `eval\(`} {
			if found := regexp.MustCompile(bad).FindString(body); found != "" {
				t.Errorf("%q has %q", name, found)
			}
		}
	}
	for _, name := range []string{"page.html", "flame.go", "../flame.js", "x"} {
		w := httptest.NewRecorder()
		if ServePage(w, httptest.NewRequest("GET", "/", nil), name); w.Code != http.StatusNotFound {
			t.Errorf("%q: %d", name, w.Code)
		}
	}
}
