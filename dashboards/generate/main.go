// The command generate writes Grafana's dashboards, Prometheus' rules, their
// tests and the runbooks from the plan in dashboards/internal/plan.
//
//	go run ./dashboards/generate                                     the checked-in files, again
//	go run ./dashboards/generate -out ops -team shop -route-p99 300ms  a team's own
//	go run ./dashboards/generate -out ops -table http://localhost:9464/debug/metrics/table
//	                                                                   with a page of the program's own metrics
//	go run ./dashboards/generate -out ops -table http://localhost:9464/debug/metrics/table -sloth -pyrra
//	                                                                   and its objectives for Sloth and Pyrra
//
// Run it in the root of the repository.
package main

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/loadline-go/loadline/dashboards/internal/plan"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if err == flag.ErrHelp {
			return
		}
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout, stderr io.Writer) error {
	c := plan.Default()
	flags := flag.NewFlagSet("generate", flag.ContinueOnError)
	flags.SetOutput(stderr)
	out := flags.String("out", "dashboards", "folder to write to")
	from := flags.String("table", "", "URL of a program's /debug/metrics/table, or a `file` of that: adds a page for its own metrics")
	flags.Float64Var(&c.BusinessDrop, "business-drop", c.BusinessDrop, "with -table: ticket when a metric's events fall below this share of what is usual; 0: no alert")
	flags.DurationVar(&c.RouteP99, "route-p99", c.RouteP99, "ticket when the p99 of a route is above this")
	flags.Float64Var(&c.RouteErrors, "route-errors", c.RouteErrors, "ticket when this share of a route's requests fails")
	flags.Float64Var(&c.RouteErrorsPage, "route-errors-page", c.RouteErrorsPage, "page when this share of a route's requests fails")
	flags.DurationVar(&c.SchedWait, "sched-wait", c.SchedWait, "ticket when the p99 of waiting for a processor is above this")
	flags.DurationVar(&c.SchedWaitPage, "sched-wait-page", c.SchedWaitPage, "page when the p99 of waiting for a processor is above this")
	flags.Float64Var(&c.GCShare, "gc-share", c.GCShare, "ticket when the collector takes this share of the used CPU")
	flags.Float64Var(&c.GCSharePage, "gc-share-page", c.GCSharePage, "page when it takes this share at the memory limit")
	flags.Float64Var(&c.MemoryShare, "memory-share", c.MemoryShare, "ticket when memory is at this share of its limit")
	flags.Float64Var(&c.CPUShare, "cpu-share", c.CPUShare, "ticket when this share of GOMAXPROCS is used")
	flags.Float64Var(&c.RetryShare, "retry-share", c.RetryShare, "ticket when this share of the outgoing requests are retries")
	flags.Float64Var(&c.JobErrors, "job-errors", c.JobErrors, "ticket when this share of a job's runs fails")
	flags.Float64Var(&c.QueueBacklog, "queue-backlog", c.QueueBacklog, "ticket when a queue grows that is longer than this")
	flags.Float64Var(&c.QueueFill, "queue-fill", c.QueueFill, "ticket when a queue is full to this share of its capacity")
	flags.Float64Var(&c.DependencyErrors, "dependency-errors", c.DependencyErrors, "ticket when this share of the calls to a dependency fails")
	flags.DurationVar(&c.DependencyP95, "dependency-p95", c.DependencyP95, "ticket when the p95 of calls to a dependency is above this")
	flags.DurationVar(&c.DatabaseP95, "database-p95", c.DatabaseP95, "ticket when the p95 of a database's operations is above this")
	flags.Float64Var(&c.DescriptorShare, "descriptor-share", c.DescriptorShare, "ticket when this share of the file descriptors is open")
	flags.Float64Var(&c.DescriptorSharePage, "descriptor-share-page", c.DescriptorSharePage, "page when this share of the file descriptors is open")
	flags.Float64Var(&c.Objective, "objective", c.Objective, "share of requests that must not fail")
	flags.Float64Var(&c.LatencyObjective, "latency-objective", c.LatencyObjective, "share of requests that must be answered within -latency")
	flags.DurationVar(&c.Latency, "latency", c.Latency, "latency of the latency objective: a bucket bound of request durations")
	flags.IntVar(&c.SLODays, "slo-days", c.SLODays, "days over which an objective is kept; Prometheus must keep as many")
	flags.StringVar(&c.Team, "team", c.Team, "label team of every alert; empty leaves it out")
	flags.StringVar(&c.Runbooks, "runbooks", c.Runbooks, "URL of the folder with the runbooks")
	flags.StringVar(&c.Grafana, "grafana", c.Grafana, "URL of Grafana")
	flags.DurationVar(&c.Interval, "interval", c.Interval, "how often rules are evaluated")
	flags.StringVar(&c.Namespace, "namespace", c.Namespace, "namespace of the Kubernetes objects")
	flags.StringVar(&c.Prefix, "prefix", c.Prefix, "what the uids and the tag of pages, groups of rules and Kubernetes objects begin with")
	flags.StringVar(&c.Job, "job", c.Job, "with -sloth and -pyrra: the service's label job; default: the name that -table tells")
	forSloth := flags.Bool("sloth", false, "with -table: write the program's objectives as slo/sloth.yaml, too")
	forPyrra := flags.Bool("pyrra", false, "with -table: write the program's objectives as slo/pyrra.yaml, too")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if *from != "" {
		if *out == "dashboards" {
			return fmt.Errorf("-table: -out is missing: the files of dashboards/ are for every program")
		}
		told, err := readTable(*from)
		if err != nil {
			return err
		}
		c.Business, c.SLOs = told.Program, told.SLOs
		if c.Job == "" {
			c.Job = told.Service
		}
	}
	if (*forSloth || *forPyrra) && len(c.SLOs) == 0 {
		return fmt.Errorf("-sloth, -pyrra: they want -table of a program with objectives (Config.SLOs)")
	}
	if err := c.Validate(); err != nil {
		return err
	}
	files, err := generate(c)
	if err != nil {
		return err
	}
	if *forSloth {
		files["slo/sloth.yaml"] = sloth(c)
	}
	if *forPyrra {
		files["slo/pyrra.yaml"] = pyrra(c)
	}
	if err := write(*out, files); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "wrote %d files to %s\n", len(files), *out)
	return err
}

// generate returns the content of every file by its path below the folder.
func generate(c plan.Config) (map[string]string, error) {
	files := map[string]string{
		"prometheus/recording.yaml":      rulesFile(c, func(g plan.Group) bool { return !g.SLO && len(g.Alerts) == 0 }),
		"prometheus/alerts.yaml":         rulesFile(c, func(g plan.Group) bool { return !g.SLO && len(g.Alerts) > 0 }),
		"prometheus/slo/slo.yaml":        rulesFile(c, func(g plan.Group) bool { return g.SLO }),
		"testdata/alerts_test.yaml":      ruleTests(c, "1m", func(s plan.Scenario) bool { return !s.Native && !s.Days }),
		"testdata/days_test.yaml":        ruleTests(c, "15m", func(s plan.Scenario) bool { return s.Days }),
		"testdata/native_test.yaml":      ruleTests(c, "1m", func(s plan.Scenario) bool { return s.Native }),
		"testdata/queries.yaml":          queriesFile(c),
		"alertmanager/alertmanager.yaml": alertmanager(),
		"runbooks/README.md":             runbookIndex(c),
	}
	for _, a := range c.Alerts() {
		files["runbooks/"+a.Name+".md"] = runbook(c, a)
	}
	pages := map[string]string{}
	for _, d := range c.Dashboards() {
		json, err := grafana(d)
		if err != nil {
			return nil, fmt.Errorf("dashboard %s: %w", d.UID, err)
		}
		files["grafana/"+d.UID+".json"] = json
		pages[d.UID] = json
	}
	for name, content := range kubernetes(c, pages) {
		files["kubernetes/"+name] = content
	}
	return renamed(c, files), nil
}

// renamed puts the prefix in the place of the usual one, in names and nowhere else.
func renamed(c plan.Config, files map[string]string) map[string]string {
	usual := plan.Default().Prefix
	if c.Prefix == usual {
		return files
	}
	var names []string
	for _, d := range c.Dashboards() {
		names = append(names, d.UID)
	}
	for _, g := range c.Groups() {
		names = append(names, g.Name)
	}
	slices.SortFunc(names, func(a, b string) int { return len(b) - len(a) }) // the longest first, whose beginning another may be
	var pairs []string
	for _, name := range names {
		pairs = append(pairs, name, c.Prefix+strings.TrimPrefix(name, usual))
	}
	pairs = append(pairs, `"`+usual+`"`, `"`+c.Prefix+`"`, "\n  name: "+usual+"\n", "\n  name: "+c.Prefix+"\n")
	replace := strings.NewReplacer(pairs...)
	out := map[string]string{}
	for name, content := range files {
		out[replace.Replace(name)] = replace.Replace(content)
	}
	return out
}

func write(out string, files map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(out, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(files[name]), 0o644); err != nil {
			return err
		}
	}
	return nil
}
