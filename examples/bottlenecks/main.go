// Bottlenecks is a small service with one illness at a time: the programs that
// the doctor of package observe has to tell apart, and some that only look ill.
//
//	go run ./examples/bottlenecks -list
//	go run ./examples/bottlenecks -run lock-convoy
//	go run ./examples/bottlenecks -score
//
// Each runs in a process of its own, wired as any service is: Start, Handler,
// Transport, OpenDB, Run. Its clients, its dependencies and its database are in
// another. After some healthy intervals the illness begins; later it ends.
//
// A program is a row in a table (programs), with the words that a person would
// use for it; a file holds a family of them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// options are the flags.
type options struct {
	list, score, pairs    bool
	metrics               bool
	evidence              string
	run                   string
	only                  *regexp.Regexp
	interval              time.Duration
	before, during, after int // intervals
	runs                  int
	rate                  float64
	progress              io.Writer // gets each row as soon as it is known
}

func main() {
	if ok, status := role(); ok {
		os.Exit(status)
	}
	// The signal comes to the services, too, so all end together.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	remote()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// role runs what this process was started for by another of this program.
func role() (ok bool, status int) {
	if text := os.Getenv(wiringVariable); text != "" {
		signal.Ignore(os.Interrupt) // whoever started this ends it
		if err := serve(text, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "bottlenecks:", err)
			return true, 1
		}
		return true, 0
	}
	if n, err := strconv.Atoi(os.Getenv(neighbourVariable)); err == nil {
		neighbour(n, os.Stdin)
		return true, 0
	}
	return false, 0
}

func parse(args []string) (options, string, error) {
	var o options
	only := ""
	f := flag.NewFlagSet("bottlenecks", flag.ContinueOnError)
	var usage strings.Builder
	f.SetOutput(&usage)
	f.BoolVar(&o.list, "list", false, "list the programs")
	f.StringVar(&o.run, "run", "", "run the program of this `name`, and print what the doctor says each interval")
	f.BoolVar(&o.score, "score", false, "run all, and count how often the doctor is right; exit status 1 where it is too seldom")
	f.BoolVar(&o.pairs, "pairs", false, "run each two of six at once, and count how often both are named")
	f.StringVar(&only, "only", "", "with -score and -pairs, those whose name has a match of this `regexp`")
	f.DurationVar(&o.interval, "interval", 0, "the doctor's interval, 500ms to 1h (default 10s with -run, 2s with -score and -pairs)")
	f.IntVar(&o.before, "before", 3, "`intervals` of health before the illness")
	f.IntVar(&o.during, "during", 6, "`intervals` of illness; leaks take their own time")
	f.IntVar(&o.after, "after", 4, "`intervals` after it")
	f.IntVar(&o.runs, "runs", 1, "how often -score and -pairs run each")
	f.StringVar(&o.evidence, "evidence", "", "with -score and -pairs, a `folder` for what the doctor knew whenever it was wrong")
	f.BoolVar(&o.metrics, "metrics", false, "with -run, print /metrics at the end of the illness")
	err := f.Parse(args)
	if err != nil {
		return o, usage.String(), err
	}
	chosen := number(o.list) + number(o.score) + number(o.pairs) + number(o.run != "")
	if o.interval == 0 {
		o.interval = 2 * time.Second
		if o.run != "" {
			o.interval = 10 * time.Second
		}
	}
	o.rate = usualRate
	switch o.only, err = regexp.Compile(only); {
	case err != nil:
		err = fmt.Errorf("-only: %w", err)
	case f.NArg() > 0:
		err = fmt.Errorf("%q is no flag", f.Arg(0))
	case chosen != 1:
		err = errors.New("one of -list, -run, -score and -pairs is needed; -h tells more")
	case o.interval < 500*time.Millisecond || o.interval > time.Hour:
		err = fmt.Errorf("-interval %v is not between 500ms and 1h", o.interval)
	case min(o.before, o.during, o.after) < 0 || o.during == 0 || max(o.before, o.during, o.after) > 1000:
		err = errors.New("-before, -during and -after are numbers of intervals, -during at least 1")
	case o.runs < 1 || o.runs > 100:
		err = fmt.Errorf("-runs %d is not between 1 and 100", o.runs)
	}
	return o, "", err
}

// run is main without the process: it returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, usage, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "bottlenecks:", err)
		return 2
	}
	o.progress = stderr
	good := true
	if o.evidence != "" {
		if err := os.MkdirAll(o.evidence, 0o755); err != nil {
			fmt.Fprintln(stderr, "bottlenecks: -evidence:", err)
			return 2
		}
	}
	switch {
	case o.list:
		list(stdout)
	case o.score:
		good, err = score(ctx, o, stdout)
	case o.pairs:
		good, err = pairs(ctx, o, stdout)
	default:
		err = show(ctx, o, stdout)
	}
	switch {
	case err != nil:
		fmt.Fprintln(stderr, "bottlenecks:", err)
		return 2
	case !good:
		return 1
	}
	return 0
}

func list(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i := range programs {
		p := &programs[i]
		fmt.Fprintf(w, "%s\t%s\n\tthe doctor is to say: %s\n\ta person sees: %s\n", p.name, p.what, p.expected(), p.seen)
		if p.cannot != nil {
			if why := p.cannot(); why != "" {
				fmt.Fprintf(w, "\tCANNOT RUN HERE: %s\n", why)
			}
		}
	}
	w.Flush()
}

// show runs one program, and prints what the doctor and the clients say.
func show(ctx context.Context, o options, out io.Writer) error {
	p, err := lookup(o.run)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: %s\nthe doctor is to say: %s\na person sees: %s\n", p.name, p.what, p.expected(), p.seen)
	told := false
	c, err := runCourse(ctx, o, watcher{
		phase: func(c *course, phase int) {
			fmt.Fprintf(out, "\n== %s  %s, GOMAXPROCS %d\n", phaseNames[phase], time.Now().Format(time.TimeOnly), runtime.GOMAXPROCS(0))
		},
		reading: func(c *course, w *world, r *reading) {
			if !told {
				fmt.Fprintf(out, "\nadmin %s/\n", w.child.admin)
				told = true
			}
			s := w.load.take()
			c.clients[c.phaseAt(time.Now())].join(s)
			fmt.Fprintf(out, "\n-- %s  the clients see: %d requests, %s\n", time.Now().Format(time.TimeOnly), s.count, s.harm())
			if r == nil {
				fmt.Fprintln(out, errNoDoctor)
			} else if text, err := page(ctx, w.child.admin+"/debug/doctor"); err == nil {
				out.Write(text)
			}
			if o.metrics && c.end.IsZero() && time.Since(c.begun) > time.Duration(o.during-1)*c.interval {
				if text, err := page(ctx, w.child.admin+"/metrics"); err == nil {
					out.Write(text)
				}
			}
		},
	}, p)
	if c != nil {
		fmt.Fprintln(out)
		for phase, s := range c.clients {
			fmt.Fprintf(out, "%-7s %5d requests, %s\n", phaseNames[phase], s.count, s.harm())
		}
		if len(c.readings) > 0 {
			j := judge(c, p)
			fmt.Fprintf(out, "\nit was to say: %s\nit said mostly: %s\nfirst right after %s intervals, healthy again after %s\n",
				p.expected(), j.first, times(j.detected), times(j.cleared))
		}
	}
	return err
}
