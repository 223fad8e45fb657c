package observe

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/loadline-go/loadline/leakcheck"
)

// leftOpen is rows, transactions or response bodies of one kind and place that
// nobody has touched for a minute and nobody has closed. Each is known by
// itself, so that no growth needs to be waited for.
type leftOpen struct {
	kind  string // rows, tx, body: the kind of the suspect
	group string // database and statement, or host
	site  leakcheck.Frame
	stack string
	count int
	age   time.Duration // of the oldest
	idle  time.Duration // of the one that was left alone longest, as far as is known
	route string        // of one of the requests that opened them
	trace string
}

const (
	// surelyLeft and manyLeft are from when on it is not a consumer that is slow:
	// one is left alone that long, or so many of one place for a minute.
	surelyLeft = 5 * time.Minute
	manyLeft   = 5
	// maxLeftOpen bounds the list.
	maxLeftOpen = 100
)

// leftOpen lists what was left open, most of a place first.
func (t *Telemetry) leftOpen() []leftOpen {
	type key struct{ kind, group, site string }
	places := map[key]*leftOpen{}
	for _, u := range t.unclosed() {
		kind := map[string]string{"transaction": "tx"}[u.Kind]
		kind = cmp.Or(kind, u.Kind)
		group := "of the database " + u.Database
		if u.Summary != "" {
			group += ", " + u.Summary
		}
		k := key{kind, group, u.Site}
		p := places[k]
		if p == nil {
			p = &leftOpen{kind: kind, group: group, site: frameOf(u.Site)}
			places[k] = p
		}
		p.add(&leftOpen{count: 1, age: u.Age, idle: u.Idle, route: u.Route, trace: u.TraceID})
	}
	// The first of a statement, and what came before it was found, have no site.
	// Where all that have one have the same, it is theirs too.
	sites := map[key][]*leftOpen{}
	for k, p := range places {
		if k.site != "" {
			sites[key{k.kind, k.group, ""}] = append(sites[key{k.kind, k.group, ""}], p)
		}
	}
	for k, p := range places {
		if known := sites[k]; k.site == "" && len(known) == 1 {
			known[0].add(p)
			delete(places, k)
		}
	}
	var all []leftOpen
	for _, p := range places {
		all = append(all, *p)
	}
	now := time.Now()
	for _, b := range t.client.bodies.unclosed(now) {
		if b.Open == 0 {
			continue
		}
		site, stack := placeOf(b.Stack)
		all = append(all, leftOpen{
			kind: "body", group: strings.TrimSpace("of " + b.Method + " " + net.JoinHostPort(b.Address, b.Port) + " " + b.Template), site: site, stack: stack,
			count: int(b.Open), age: now.Sub(b.First) + forgotten, idle: now.Sub(b.Last) + forgotten, route: b.Route,
		})
	}
	slices.SortFunc(all, func(a, b leftOpen) int {
		return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(b.age, a.age), cmp.Compare(a.group, b.group), cmp.Compare(a.site.String(), b.site.String()))
	})
	return all[:min(len(all), maxLeftOpen)]
}

// add adds what was opened in the same place.
func (p *leftOpen) add(o *leftOpen) {
	p.count += o.count
	p.age, p.idle = max(p.age, o.age), max(p.idle, o.idle)
	p.route, p.trace = cmp.Or(p.route, o.route), cmp.Or(p.trace, o.trace)
}

// frameOf reads "example.com/shop.list /src/list.go:41".
func frameOf(site string) (f leakcheck.Frame) {
	f.Function, f.File, _ = strings.Cut(site, " ")
	if i := strings.LastIndexByte(f.File, ':'); i >= 0 {
		f.Line, _ = strconv.Atoi(f.File[i+1:])
		f.File = f.File[:i]
	}
	return f
}

// placeOf returns the first frame outside of the client and of this package,
// and the whole stack as text.
func placeOf(pcs []uintptr) (site leakcheck.Frame, stack string) {
	if len(pcs) == 0 {
		return site, ""
	}
	var b strings.Builder
	for frames := runtime.CallersFrames(pcs); ; {
		f, more := frames.Next()
		if f.Function != "" {
			fmt.Fprintf(&b, "%s\n\t%s:%d\n", f.Function, f.File, f.Line)
			if site.Function == "" && !strings.HasPrefix(f.Function, "net/http.") && !strings.HasPrefix(f.Function, scopeName+".(*") {
				site = leakcheck.Frame{Function: f.Function, File: f.File, Line: f.Line}
			}
		}
		if !more {
			return site, b.String()
		}
	}
}

// suspect returns p as a suspect, false as long as it may be a consumer that is slow.
func (p leftOpen) suspect(now time.Time) (leakcheck.Suspect, bool) {
	if p.idle < surelyLeft && p.count < manyLeft {
		return leakcheck.Suspect{}, false
	}
	s := leakcheck.Suspect{
		Kind: p.kind, Group: p.group, Site: p.site, Stack: p.stack, Count: p.count, Since: now.Add(-p.age), Confidence: 0.9, Basis: p.basis(),
		Next: "curl -s http://localhost:9464/debug/leaks",
	}
	if p.trace != "" {
		s.Next = "curl -s 'http://localhost:9464/debug/traces?trace=" + p.trace + "'"
	}
	if hours := p.age.Hours(); hours > 0 {
		s.PerHour = float64(p.count) / hours
	}
	return s, true
}

func (p leftOpen) basis() string {
	text := fmt.Sprintf("each was left alone for a minute at least, one for %s, and the oldest is open for %s", roughly(p.idle), roughly(p.age))
	if p.route != "" {
		text += "; opened by " + oneLine(p.route)
	}
	return text
}

// String is a line of the list.
func (p leftOpen) String() string {
	text := fmt.Sprintf("%d of kind %s, %s", p.count, p.kind, oneLine(p.group))
	if p.site != (leakcheck.Frame{}) {
		text += ", opened at " + p.site.String()
	}
	return text + ": " + p.basis()
}

// leftSuspects are what was left open for so long that it is suspected. Those
// that are new, or have doubled, are reported, as Watch does with its own.
func (l *leaks) leftSuspects(now time.Time) (all []leakcheck.Suspect) {
	present := map[string]bool{}
	for _, p := range l.tel.leftOpen() {
		s, ok := p.suspect(now)
		if !ok {
			continue
		}
		all = append(all, s)
		key := p.kind + "\n" + p.group + "\n" + p.site.String()
		present[key] = true
		if last, ok := l.reported[key]; !ok || s.Count >= 2*last {
			l.reported[key] = s.Count
			l.report(s)
		}
	}
	for key := range l.reported {
		if !present[key] {
			delete(l.reported, key)
		}
	}
	return all
}

// here puts the process's own address and number into the command to type next,
// and the names of those who made them into what is told of sockets.
func (l *leaks) here(s leakcheck.Suspect) leakcheck.Suspect {
	if a := l.tel.address; a != "" {
		s.Next = strings.ReplaceAll(s.Next, "localhost:9464", a)
	}
	s.Next = strings.ReplaceAll(s.Next, "$(pidof NAME)", strconv.Itoa(os.Getpid()))
	if s.Kind == "socket" || s.Kind == "close_wait" {
		s.Group = l.tel.whose(s.Group)
	}
	return s
}
