package leakcheck

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// recordings are printed by one program under Go 1.26 and 1.27: stacks and
// profile with labels that need quoting, generics, closures, inlined and
// elided frames, a cgo call, a coroutine; and a crash with GOTRACEBACK=system
// and tracebackancestors=3, which has everything that the runtime can print.
func recordings(tb testing.TB, pattern string) map[string]string {
	tb.Helper()
	paths, err := filepath.Glob("testdata/" + pattern)
	if err != nil || len(paths) < 2 {
		tb.Fatalf("recordings %s: %v, %v", pattern, paths, err)
	}
	all := map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		all[path] = string(text)
	}
	return all
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (-update rewrites it); got:\n%s", path, got)
	}
}

func printLabels(labels map[string]string) string {
	var parts []string
	for k, v := range labels {
		parts = append(parts, fmt.Sprintf(" %q=%q", k, v))
	}
	slices.Sort(parts)
	return strings.Join(parts, "")
}

func printStack(frames []frame) string {
	if len(frames) == 0 {
		return "  no frames\n"
	}
	return fmt.Sprintf("  %d frames\n  in   %s %s\n  from %s %s\n", len(frames),
		blockedIn(frames).fn, blockedIn(frames).position(),
		frames[len(frames)-1].fn, frames[len(frames)-1].position())
}

func TestTracebacksOfBothGoVersionsAreRead(t *testing.T) {
	for _, kind := range []string{"stack", "crash"} {
		for path, text := range recordings(t, kind+"-*.txt") {
			gs, err := parseTraceback(text)
			if err != nil {
				t.Errorf("%s: %v", path, err)
			}
			var b strings.Builder
			for _, g := range gs {
				fmt.Fprintf(&b, "goroutine %d %q", g.id, g.state)
				if g.leaked {
					b.WriteString(" leaked")
				}
				if g.locked {
					b.WriteString(" locked")
				}
				fmt.Fprintf(&b, "%s\n%s", printLabels(g.labels), printStack(g.frames))
				if g.creator.fn != "" {
					fmt.Fprintf(&b, "  by   %s %s in %d %v\n", g.creator.fn, g.creator.position(), g.parent, g.ancestors)
				}
			}
			golden(t, strings.TrimSuffix(path, ".txt")+".golden", b.String())
		}
	}
}

func TestProfilesOfBothGoVersionsAreRead(t *testing.T) {
	for path, text := range recordings(t, "profile-*.txt") {
		rs, err := parseProfile(text)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		var b strings.Builder
		for _, r := range rs {
			fmt.Fprintf(&b, "%d goroutines%s\n%s", r.count, printLabels(r.labels), printStack(r.frames))
		}
		golden(t, strings.TrimSuffix(path, ".txt")+".golden", b.String())
	}
}

// What was cut off must not pass for what has ended.
func TestTruncatedSourcesAreErrors(t *testing.T) {
	for path, text := range recordings(t, "stack-*.txt") {
		whole, _ := parseTraceback(text)
		for cut := 0; cut < len(text); cut += 1 + cut%19 {
			gs, err := parseTraceback(text[:cut])
			// Cut between two lines of a stack, or after a goroutine, the
			// rest is a valid traceback of fewer goroutines: readTraceback
			// knows by the size of the buffer that it was cut.
			if err == nil && !strings.HasSuffix(text[:cut], "\n") {
				t.Fatalf("%s cut at %d: %d of %d goroutines and no error", path, cut, len(gs), len(whole))
			}
		}
	}
	for path, text := range recordings(t, "profile-*.txt") {
		last := strings.LastIndex(text, " @ ")
		for cut := range text[:last] {
			if rs, err := parseProfile(text[:cut]); err == nil {
				t.Fatalf("%s cut at %d: %d records and no error", path, cut, len(rs))
			}
		}
	}
}

func TestUnreadableSourcesAreErrors(t *testing.T) {
	const frames = "main.f()\n\t/src/a.go:1 +0x1\n"
	for _, tt := range []struct{ text, err string }{
		{"", "no goroutine"},
		{"\n\n", "no goroutine"},
		{"panic: out of stock\n", "no goroutine"},
		{"goroutine 99999999999999999999 [running]:\n" + frames, "no number"},
		{"goroutine 1 running:\n" + frames, "no state"},
		{"goroutine 1 [running:\n" + frames, "no end of the state"},
		{"goroutine 1 [running]\n" + frames, "no end"},
		{"goroutine 1 [running] {a: b:\n" + frames, "unreadable labels"},
		{"goroutine 1 [running labels:{\"a: \"b\"}]:\n" + frames, "unreadable labels"},
		{"goroutine 1 [running]:\n\ngoroutine 2 [select]:\n" + frames, "goroutine 1 has no stack"},
	} {
		if _, err := parseTraceback(tt.text); err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: got error %v, want %q", tt.text, err, tt.err)
		}
	}
	for _, tt := range []struct{ text, err string }{
		{"", "empty"},
		{"heap profile: 1: 2\n", "not a goroutine profile"},
		{"goroutine profile: total 2\n1 @ 0x1\n", "counts 2 goroutines and describes 1"},
		{"goroutine profile: total 1\n-1 @ 0x1\n", "not a record"},
		{"goroutine profile: total 1\n1 @ 0x1\n# labels: {\"a\n", "unreadable labels"},
		{"goroutine profile: total 1\n# labels: {}\n1 @ 0x1\n", "labels of no record"},
	} {
		if _, err := parseProfile(tt.text); err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: got error %v, want %q", tt.text, err, tt.err)
		}
	}
}

func TestUnusualTracebackLinesAreRead(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		frames     []frame
		creator    frame
		parent     int64
	}{
		{"a path with spaces and colons", "main.f(0x1)\n\tC:/my code/a:b.go:12 +0x1d\n",
			[]frame{{"main.f", "C:/my code/a:b.go", 12}}, frame{}, 0},
		{"a C function", "non-Go function\n\tpc=0x47\nC.block\n\t/src/a.c:3 pc=0x48\nmain.f()\n\t/src/a.go:1\n",
			[]frame{{"non-Go function", "", 0}, {"C.block", "/src/a.c", 3}, {"main.f", "/src/a.go", 1}}, frame{}, 0},
		{"a function without a position", "main.g(0x1, {0x2, 0x3}, ...)\nmain.f()\n\t/src/a.go:1\n",
			[]frame{{"main.g", "", 0}, {"main.f", "/src/a.go", 1}}, frame{}, 0},
		{"a creator without a number", "main.f()\n\t/src/a.go:1\ncreated by main.(*T[...]).Run\n\t/src/b.go:2 +0x1\n",
			[]frame{{"main.f", "/src/a.go", 1}}, frame{"main.(*T[...]).Run", "/src/b.go", 2}, 0},
		{"a carriage return", "main.f()\r\n\t/src/a.go:1 +0x1\r\ncreated by main.g in goroutine 7\r\n\t/src/b.go:2\r\n",
			[]frame{{"main.f", "/src/a.go", 1}}, frame{"main.g", "/src/b.go", 2}, 7},
		{"no stack to print", "\tgoroutine running on other thread; stack unavailable\ncreated by main.g in goroutine 7\n\t/src/b.go:2\n",
			nil, frame{"main.g", "/src/b.go", 2}, 7},
	} {
		gs, err := parseTraceback("goroutine 5 [select, 3 minutes, locked to thread, synctest bubble 9]:\n" + tt.text)
		if err != nil || len(gs) != 1 {
			t.Errorf("%s: %d goroutines, error %v", tt.name, len(gs), err)
			continue
		}
		g := gs[0]
		if g.minutes != 3 || !g.locked || g.bubble != 9 || g.state != "select" {
			t.Errorf("%s: header read as %+v", tt.name, g)
		}
		if !slices.Equal(g.frames, tt.frames) || g.creator != tt.creator || g.parent != tt.parent {
			t.Errorf("%s: got %v, %v, %d", tt.name, g.frames, g.creator, g.parent)
		}
	}
}

func FuzzParseTraceback(f *testing.F) {
	for _, kind := range []string{"stack", "crash"} {
		for _, text := range recordings(f, kind+"-*.txt") {
			for _, stanza := range strings.SplitAfter(text, "\n\n") {
				if len(stanza) < 2000 {
					f.Add(stanza)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		gs, err := parseTraceback(text)
		headers := 0
		for line := range strings.Lines(text) {
			if isHeader(line) {
				headers++
			}
		}
		if len(gs) != headers {
			t.Errorf("%d goroutines of %d headers", len(gs), headers)
		}
		if len(gs) == 0 && err == nil {
			t.Error("no goroutine and no error")
		}
		for i := range gs {
			if len(gs[i].frames) == 0 && err == nil && !strings.Contains(text, "stack unavailable") {
				t.Error("no stack and no error")
			}
			known(&gs[i])
			_ = group{[]*goroutine{&gs[i]}}.describe("TestX")
		}
		var all []*goroutine
		for i := range gs {
			all = append(all, &gs[i])
		}
		members := 0.0
		for _, g := range goroutineGroups(all) {
			if !g.wide {
				members += g.size
			}
			s := g.about(0)
			_, _ = s.String(), next(s)
		}
		if members != float64(len(gs)) {
			t.Errorf("%v of %d goroutines are in a group", members, len(gs))
		}
	})
}

func FuzzParseProfile(f *testing.F) {
	for _, text := range recordings(f, "profile-*.txt") {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rs, err := parseProfile(text)
		sum := 0
		for _, r := range rs {
			sum += r.count
			stackKey(r.frames)
			siteKey(r.frames)
			siteOf(r.frames)
			stateOf(r.frames)
		}
		if err == nil && sum == 0 && !strings.Contains(text, "total 0") && !strings.Contains(text, "total +0") && !strings.Contains(text, "total -0") {
			t.Error("no goroutine and no error")
		}
	})
}
