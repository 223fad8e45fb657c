package timeline

import (
	"bufio"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/loadline-go/loadline/internal/span"
)

// printedRoutes bounds the table.
const printedRoutes = 30

// Print writes a Report for people.
func (r *Report) Print(to io.Writer) error {
	w := bufio.NewWriter(to)
	fmt.Fprintf(w, "Where the time of %s went, in %s of trace.out", plural(r.Requests, "request"), span.Short(r.Length))
	if r.Open > 0 {
		fmt.Fprintf(w, "; %d more had not ended", r.Open)
	}
	fmt.Fprint(w, "\n\n")
	if len(r.Routes) > 0 {
		width := len("route")
		shown := r.Routes[:min(len(r.Routes), printedRoutes)]
		for _, route := range shown {
			width = max(width, len(clean(route.Name)))
		}
		fmt.Fprintf(w, "%-*s  %8s  %8s  %8s", width, "route", "requests", "mean", "slowest")
		for _, name := range stateNames {
			fmt.Fprintf(w, "  %7s", name)
		}
		fmt.Fprintln(w)
		for _, route := range shown {
			fmt.Fprintf(w, "%-*s  %8d  %8s  %8s", width, clean(route.Name), route.Requests, span.Short(route.Times.Wall()/time.Duration(route.Requests)), span.Short(route.Slowest))
			for s := range states {
				fmt.Fprintf(w, "  %6.1f%%", 100*route.Times.Share(s))
			}
			fmt.Fprintln(w)
			for _, p := range route.Places {
				if p.Time >= route.Times.Wall()/20 { // what is less explains nothing
					fmt.Fprintf(w, "  %5.1f%% %s, %s in %s\n", 100*float64(p.Time)/float64(route.Times.Wall()), describe(p.State), times(p.Count), p.At.short())
				}
			}
		}
		if n := len(r.Routes) - len(shown); n > 0 {
			fmt.Fprintf(w, "and %s more\n", plural(n, "route"))
		}
		fmt.Fprintln(w)
	}
	switch {
	case r.Asked != nil:
		r.Asked.print(w, "The request of this capture: ")
		if len(r.Slowest) > 0 && r.Slowest[0].TraceID != r.Asked.TraceID {
			fmt.Fprintln(w)
			r.Slowest[0].print(w, "The slowest: ")
		}
	case len(r.Slowest) > 0:
		r.Slowest[0].print(w, "The slowest: ")
	}
	return w.Flush()
}

func (q *Request) print(w io.Writer, what string) {
	fmt.Fprintf(w, "%s%s, %s%s", what, clean(q.Route), span.Short(q.Times.Wall()), clean(traceSuffix(q.TraceID)))
	if q.Open {
		fmt.Fprint(w, ", had not ended")
	}
	fmt.Fprint(w, "\n ")
	for s := range states {
		if q.Times[s] > 0 {
			fmt.Fprintf(w, " %s %s", s, span.Short(q.Times[s]))
		}
	}
	fmt.Fprintln(w)
	if q.Longest.Took == 0 {
		return
	}
	fmt.Fprintf(w, "  %s %s at\n", span.Short(q.Longest.Took), describe(q.Longest.State))
	printStack(w, q.Longest.Stack)
	if len(q.Longest.By) > 0 {
		fmt.Fprintf(w, "  until this let it go on%s\n", clean(of(q.Longest.Of)))
		printStack(w, q.Longest.By)
	}
}

func of(request string) string {
	if request == "" {
		return ""
	}
	return ", in the request " + request
}

// describe is a State inside a sentence.
func describe(s State) string {
	switch s {
	case Ready:
		return "ready, waiting for a processor"
	case Lock:
		return "blocked on a lock"
	case Channel:
		return "blocked on a channel or other goroutines"
	case Network:
		return "blocked on the network"
	case Syscall:
		return "in a system call"
	case GC:
		return "helping or waiting for the garbage collector"
	case Sleep:
		return "asleep"
	}
	return "waiting for what the recording does not tell"
}

func printStack(w io.Writer, stack []Frame) {
	if len(stack) == 0 {
		fmt.Fprintln(w, "    (its stack is not in the recording)")
	}
	for _, f := range stack {
		fmt.Fprintf(w, "    %s\n    \t%s:%d\n", clean(f.Func), clean(f.File), f.Line)
	}
}

func (f Frame) short() string {
	if f.Func == "" {
		return "a place that is not in the recording"
	}
	return clean(f.Func) + " (" + clean(filepath.Base(f.File)) + ":" + strconv.Itoa(f.Line) + ")"
}

// clean keeps a text of a recording within its line.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return strconv.Itoa(n) + " times"
}
