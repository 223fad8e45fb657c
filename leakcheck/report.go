package leakcheck

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A group is goroutines that were created at one place and are blocked, or
// busy, at one place.
type group struct {
	members []*goroutine
}

// grouped returns the groups, the largest first.
func grouped(gs []*goroutine) []group {
	var all []group
	index := map[string]int{}
	for _, g := range gs {
		key := fmt.Sprintf("%s\x00%s\x00%s\x00%s\x00%v", g.startedBy(), g.creator.fn, g.creator.position(), stackKey(g.frames), g.leaked)
		i, ok := index[key]
		if !ok {
			i = len(all)
			index[key] = i
			all = append(all, group{})
		}
		all[i].members = append(all[i].members, g)
	}
	slices.SortStableFunc(all, func(a, b group) int { return len(b.members) - len(a.members) })
	return all
}

// startedBy returns the test that g belongs to, or else whose function is its
// creator or outermost; "" when neither is known.
func (g *goroutine) startedBy() string {
	if g.test != "" {
		return g.test
	}
	if test := testFunc(g.creator.fn); test != "" {
		return test
	}
	return testFunc(g.outermost())
}

// inTest reports whether the top-level test function created g or is its
// outermost.
func (g *goroutine) inTest(test string) bool {
	return test != "" && (testFunc(g.creator.fn) == test || testFunc(g.outermost()) == test)
}

// outermost returns the function that the goroutine began with.
func (g *goroutine) outermost() string {
	for _, f := range slices.Backward(g.frames) {
		if !inRuntime(f.fn) {
			return f.fn
		}
	}
	return ""
}

// testFunc returns "TestNew" for "example.com/shop.TestNew.func1", and "" for
// a function that is no test's.
func testFunc(fn string) string {
	_, fn, _ = strings.Cut(fn[strings.LastIndexByte(fn, '/')+1:], ".")
	fn, _, _ = strings.Cut(fn, ".")
	for _, prefix := range []string{"Test", "Fuzz", "Benchmark", "Example"} {
		if rest, ok := strings.CutPrefix(fn, prefix); ok {
			if r, _ := utf8.DecodeRuneInString(rest); !unicode.IsLower(r) {
				return fn
			}
		}
	}
	return ""
}

// describe says what was left, for a reader who owns the code. An empty test
// is one that is not known.
func (p group) describe(test string) string {
	var b strings.Builder
	g := p.members[0]
	what := "a goroutine"
	if n := len(p.members); n > 1 {
		what = fmt.Sprintf("%d goroutines", n)
	}
	if test == "" {
		test = "a test"
	}
	fmt.Fprintf(&b, "%s left %s behind [%s]", test, what, p.states())
	if bodyOpen(g) {
		b.WriteString(": the body of an HTTP response was neither read to its end nor closed")
	} else if hint := hints(g); hint != "" {
		b.WriteString(": " + hint)
	}
	at := blockedIn(g.frames)
	fmt.Fprintf(&b, "\n\tblocked in  %s\n\t            %s", plainName(at.fn), at.position())
	if g.creator.fn != "" {
		fmt.Fprintf(&b, "\n\tcreated by  %s\n\t            %s", plainName(g.creator.fn), g.creator.position())
	}
	if g.leaked {
		b.WriteString("\n\tproof       the runtime found nothing reachable that could wake it")
	}
	b.WriteString("\n\tstack")
	b.WriteString(stackLines(g.frames))
	return b.String()
}

func stackLines(frames []frame) string {
	var b strings.Builder
	for i, f := range frames {
		if i == 30 {
			fmt.Fprintf(&b, "\n\t  ... %d more", len(frames)-i)
			break
		}
		fmt.Fprintf(&b, "\n\t  %s\n\t      %s", plainName(f.fn), f.position())
	}
	return b.String()
}

func (p group) states() string {
	var all []string
	for _, g := range p.members {
		s := g.state
		if s == "" {
			s = "unknown"
		}
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

const http2Open = "the body of an HTTP/2 response was neither read to its end nor closed, or the request still runs"

// hints names what the caller of a library forgot, where the library's
// goroutine tells.
func hints(g *goroutine) string {
	for _, h := range []struct{ fn, text string }{
		{"database/sql.(*Rows).awaitDone", "a sql.Rows was not closed"},
		{"database/sql.(*Tx).awaitDone", "a sql.Tx was neither committed nor rolled back"},
		{"net/http.(*http2clientStream).doRequest", http2Open},           // Go 1.26
		{"net/http/internal/http2.(*clientStream).doRequest", http2Open}, // Go 1.27
		{"golang.org/x/net/http2.(*clientStream).doRequest", http2Open},
		{"os/exec.(*Cmd).watchCtx", "a command was started and not waited for"},
		{"os/signal.NotifyContext", "the stop function of signal.NotifyContext was not called"},
		{"net/http/httptest.(*Server).goServe", "an httptest.Server was not closed"},
	} {
		if g.calls(h.fn) {
			return h.text
		}
	}
	return ""
}
