package leakcheck

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
)

// maxTraceback bounds the memory that one reading may take: some 100,000
// goroutines of ordinary depth.
const maxTraceback = 128 << 20

var errTruncated = errors.New("the traceback is truncated")

// readTraceback returns all goroutines but the runtime's own, the calling one
// first. An error says that some may be missing.
func readTraceback() ([]goroutine, error) {
	text, truncated := tracebackText()
	gs, err := parseTraceback(text)
	if truncated {
		err = errors.Join(errTruncated, err)
	}
	return gs, err
}

func tracebackText() (text string, truncated bool) {
	// Each attempt stops the world, so begin with what will do as a rule.
	for size := 64<<10 + runtime.NumGoroutine()<<10; ; size *= 2 {
		buf := make([]byte, size)
		n := runtime.Stack(buf, true)
		if n < size {
			return string(buf[:n]), false
		}
		if size >= maxTraceback {
			return string(buf), true
		}
	}
}

// currentGoroutine returns the calling goroutine, without its stack.
func currentGoroutine() goroutine {
	var buf [4 << 10]byte // the first line, with its labels
	line, _, _ := strings.Cut(string(buf[:runtime.Stack(buf[:], false)]), "\n")
	g, _ := parseHeader(line) // the number comes first and is always there
	return g
}

// parseTraceback reads what runtime.Stack, a crash or a goroutine profile
// with debug=2 prints, of Go 1.26 and 1.27. It never gives up: it returns
// every goroutine that it could read, and an error if one may be missing or
// without its stack. Text before the first goroutine is skipped.
func parseTraceback(text string) ([]goroutine, error) {
	p := tracebackParser{}
	for n := 1; text != ""; n++ {
		line, rest, ended := strings.Cut(text, "\n")
		p.number, text = n, rest
		p.line(strings.TrimSuffix(line, "\r"))
		if !ended {
			p.fail("the traceback ends within a line")
		}
	}
	p.finish()
	if len(p.all) == 0 {
		p.fail("the traceback has no goroutine")
	}
	return p.all, p.err
}

type tracebackParser struct {
	all    []goroutine
	number int
	err    error // the first
	// The goroutine being read is the last of all while open. After its
	// creator nothing more is its own: tracebackancestors may follow.
	open, created bool
	// fn is a function line whose file line has not come yet.
	fn        string
	isCreator bool
	noStack   bool // the runtime said that there is none to print
}

func (p *tracebackParser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("line %d: %s", p.number, fmt.Sprintf(format, args...))
	}
}

func (p *tracebackParser) line(s string) {
	switch {
	case s == "":
		p.finish()
	case isHeader(s):
		p.finish()
		g, err := parseHeader(s)
		if err != nil {
			// Counted with what is known: a goroutine that cannot be read
			// must not look like one that has ended.
			p.fail("%v", err)
		}
		p.all = append(p.all, g)
		p.open, p.created, p.noStack = true, false, false
	case !p.open:
		// A panic's message, a signal's registers.
	case p.created:
		p.ancestor(s)
	case strings.HasPrefix(s, "\t"):
		p.position(s[1:])
	default:
		p.call(s)
	}
}

// call reads a function line.
func (p *tracebackParser) call(s string) {
	p.flush()
	g := &p.all[len(p.all)-1]
	if rest, ok := strings.CutPrefix(s, "created by "); ok {
		p.isCreator = true
		if i := strings.LastIndex(rest, " in goroutine "); i >= 0 {
			if id, err := strconv.ParseInt(rest[i+len(" in goroutine "):], 10, 64); err == nil {
				g.parent = id
			}
			rest = rest[:i]
		}
		p.fn = rest
		return
	}
	switch {
	case strings.HasPrefix(s, "...") && strings.HasSuffix(s, "..."):
		return // "...23 frames elided..."
	}
	p.fn = s
	if strings.HasSuffix(s, ")") {
		// The arguments hold no parenthesis, a receiver in the name may.
		if i := strings.LastIndexByte(s, '('); i > 0 {
			p.fn = s[:i]
		}
	}
}

// ancestor reads "[originating from goroutine 7]:", which GODEBUG's
// tracebackancestors adds for each generation before the parent.
func (p *tracebackParser) ancestor(s string) {
	if rest, ok := strings.CutPrefix(s, "[originating from goroutine "); ok {
		rest, _, _ = strings.Cut(rest, "]")
		if id, err := strconv.ParseInt(rest, 10, 64); err == nil {
			g := &p.all[len(p.all)-1]
			g.ancestors = append(g.ancestors, id)
		}
	}
}

// position reads a file line: "/src/a.go:12 +0x1d", and after it perhaps
// "fp=0xc000 sp=0xc000 pc=0x47".
func (p *tracebackParser) position(s string) {
	if strings.Contains(s, "stack unavailable") {
		p.noStack = true // "goroutine running on other thread; stack unavailable"
		return
	}
	if p.fn == "" {
		return
	}
	f := frame{fn: p.fn}
	for _, mark := range []string{" pc=0x", " sp=0x", " fp=0x", " +0x"} {
		if i := strings.LastIndex(s, mark); i >= 0 {
			s = s[:i]
		}
	}
	if i := strings.LastIndexByte(s, ':'); i > 0 {
		if n, err := strconv.Atoi(s[i+1:]); err == nil && n >= 0 {
			f.file, f.line = s[:i], n
		}
	}
	p.add(f)
}

func (p *tracebackParser) add(f frame) {
	g := &p.all[len(p.all)-1]
	if p.isCreator {
		g.creator = f
		p.created = true
	} else {
		g.frames = append(g.frames, f)
	}
	p.fn, p.isCreator = "", false
}

// flush keeps a function whose file line never came.
func (p *tracebackParser) flush() {
	if p.open && p.fn != "" {
		p.add(frame{fn: p.fn})
	}
}

func (p *tracebackParser) finish() {
	if !p.open {
		return
	}
	p.flush()
	if g := p.all[len(p.all)-1]; len(g.frames) == 0 && !p.noStack {
		p.fail("goroutine %d has no stack", g.id)
	}
	p.open = false
}

// isHeader reports whether s begins a goroutine: "goroutine 7 [". Lines such
// as "goroutine running on other thread" are not.
func isHeader(s string) bool {
	rest, ok := strings.CutPrefix(s, "goroutine ")
	return ok && rest != "" && '0' <= rest[0] && rest[0] <= '9'
}

// parseHeader reads, of Go 1.26 and Go 1.27 in turn,
//
//	goroutine 7 gp=0xc0 m=3 mp=0xc1 [chan receive (leaked), 2 minutes, synctest bubble 4 labels:{"k": "v"}]:
//	goroutine 7 [chan receive (leaked), 2 minutes, synctest bubble 4] {k: "a value"}:
//
// On an error the fields read so far are valid.
func parseHeader(s string) (g goroutine, err error) {
	bad := func(what string) (goroutine, error) {
		return g, fmt.Errorf("goroutine %d: %s: %.80q", g.id, what, s)
	}
	rest := strings.TrimPrefix(s, "goroutine ")
	end := 0
	for end < len(rest) && '0' <= rest[end] && rest[end] <= '9' {
		end++
	}
	id, perr := strconv.ParseInt(rest[:end], 10, 64)
	if perr != nil {
		return bad("no number")
	}
	g.id = id
	rest = rest[end:]
	open := strings.IndexByte(rest, '[')
	if open < 0 {
		return bad("no state")
	}
	rest = rest[open+1:]

	// A state has no bracket, so the first one that closes ends it, unless
	// labels come before.
	shut := strings.IndexByte(rest, ']')
	state, labels := "", ""
	if i := strings.Index(rest, " labels:{"); i >= 0 && i < shut {
		state, labels = rest[:i], rest[i+len(" labels:{"):]
	} else if shut >= 0 {
		state = rest[:shut]
		if rest = rest[shut+1:]; strings.HasPrefix(rest, " {") {
			labels = rest[len(" {"):]
		} else if rest != ":" {
			return bad("no end")
		}
	} else {
		return bad("no end of the state")
	}
	parseState(&g, state)
	if labels != "" {
		if rest, ok := parseLabels(&g.labels, labels); !ok || rest != "]:" && rest != ":" {
			return bad("unreadable labels")
		}
	}
	return g, nil
}

func parseState(g *goroutine, s string) {
	g.state, s, _ = strings.Cut(s, ", ")
	for s != "" {
		var part string
		part, s, _ = strings.Cut(s, ", ")
		switch {
		case strings.HasSuffix(part, " minutes"):
			g.minutes, _ = strconv.Atoi(strings.TrimSuffix(part, " minutes"))
		case part == "locked to thread":
			g.locked = true
		case strings.HasPrefix(part, "synctest bubble "):
			g.bubble, _ = strconv.Atoi(strings.TrimPrefix(part, "synctest bubble "))
		}
	}
	for more := true; more; {
		more = false
		for mark, field := range map[string]*bool{" (leaked)": &g.leaked, " (durable)": &g.durable, " (scan)": nil} {
			if rest, ok := strings.CutSuffix(g.state, mark); ok {
				g.state, more = rest, true
				if field != nil {
					*field = true
				}
			}
		}
	}
}

// parseLabels reads `"k": "v", k2: v2}`, the opening brace already taken, and
// returns what follows the closing one.
func parseLabels(into *map[string]string, s string) (rest string, ok bool) {
	*into = map[string]string{}
	for {
		if rest, ok := strings.CutPrefix(s, "}"); ok {
			return rest, true
		}
		k, s1, ok := parseLabelString(s, ":")
		if !ok || !strings.HasPrefix(s1, ":") {
			return s, false
		}
		s1 = strings.TrimPrefix(strings.TrimPrefix(s1, ":"), " ")
		v, s2, ok := parseLabelString(s1, ",}")
		if !ok {
			return s, false
		}
		(*into)[k] = v
		s = strings.TrimPrefix(s2, ", ")
		if len(s) == len(s2) && !strings.HasPrefix(s, "}") {
			return s, false
		}
	}
}

// parseLabelString reads a quoted string, or a plain one up to one of the
// bytes in ends.
func parseLabelString(s, ends string) (v, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		i := strings.IndexAny(s, ends)
		if i < 0 {
			return "", s, false
		}
		return s[:i], s[i:], true
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			q := s[:i+1]
			v, err := strconv.Unquote(q)
			if err != nil {
				v = q[1:i] // kept as printed: it still tells labels apart
			}
			return v, s[i+1:], true
		}
	}
	return "", s, false
}
