package plan

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A Config holds what a team may want otherwise. Default fills it.
type Config struct {
	// What counts as slow, failing, full.
	RouteP99            time.Duration // ticket: p99 of a route
	RouteErrors         float64       // ticket: share of a route's requests that fail
	RouteErrorsPage     float64       // page: the same
	SchedWait           time.Duration // ticket: p99 of the wait for a processor
	SchedWaitPage       time.Duration // page: the same
	GCShare             float64       // ticket: share of the used CPU that goes to the collector
	GCSharePage         float64       // page, together with a full memory
	MemoryShare         float64       // ticket: memory of its limit
	CPUShare            float64       // ticket: used CPU of GOMAXPROCS
	DependencyErrors    float64       // ticket: share of calls to a dependency that fail
	DependencyP95       time.Duration // ticket: p95 of calls to a dependency that is no database
	RetryShare          float64       // ticket: share of outgoing requests that are retries
	DatabaseP95         time.Duration // ticket: p95 of a database's operations
	JobErrors           float64       // ticket: share of a job's runs that fail
	QueueBacklog        float64       // ticket: least length of a queue that grows
	QueueFill           float64       // ticket: items in a queue of its capacity
	DescriptorShare     float64       // ticket: open file descriptors of their limit
	DescriptorSharePage float64       // page: the same

	// What users are promised.
	Objective        float64       // share of requests that do not fail
	LatencyObjective float64       // share of requests that are answered within Latency
	Latency          time.Duration // one of the bucket bounds of request durations
	SLODays          int           // over which the promise is kept; Prometheus must keep as many

	// Whose it is and where it lives.
	Team      string        // label team on every alert; empty leaves it out
	Runbooks  string        // URL before "/<alert>.md"
	Grafana   string        // URL before "/d/<uid>"
	Interval  time.Duration // how often the rules are evaluated
	Namespace string        // of the Kubernetes objects
	Prefix    string        // of what is named: pages' uids and tag, groups of rules, Kubernetes objects

	// Whose objectives are written for other generators of rules, and which.
	Job  string
	SLOs []SLO

	// What the program counts for itself; none of it, no page for it.
	Business     []Metric
	BusinessDrop float64 // ticket: events of a metric, as a share of what is usual; 0 is no alert
}

// Default returns the values that the checked-in files are made with.
//
// The scheduler's bounds: a quiet service waits about 1 ms at p99, one with a
// saturated or throttled CPU 20 ms to 1 s, so 10 ms is outside of normal and at
// 100 ms every request feels it. The collector: below a quarter of the CPU it
// is a cost, above it, with the runtime's own cap at half, it is the
// bottleneck. Retries: a tenth is where Google's clients stop, see "Handling
// Overload" in the SRE book. The rest are starting points to be set by each team.
func Default() Config {
	return Config{
		RouteP99:            time.Second,
		RouteErrors:         0.05,
		RouteErrorsPage:     0.25,
		SchedWait:           10 * time.Millisecond,
		SchedWaitPage:       100 * time.Millisecond,
		GCShare:             0.25,
		GCSharePage:         0.4,
		MemoryShare:         0.9,
		CPUShare:            0.9,
		DependencyErrors:    0.1,
		DependencyP95:       time.Second,
		RetryShare:          0.1,
		DatabaseP95:         500 * time.Millisecond,
		JobErrors:           0.1,
		QueueBacklog:        100,
		QueueFill:           0.9,
		DescriptorShare:     0.8,
		DescriptorSharePage: 0.95,
		Objective:           0.999,
		LatencyObjective:    0.99,
		Latency:             500 * time.Millisecond,
		SLODays:             30,
		Runbooks:            "https://github.com/loadline-go/loadline/blob/main/dashboards/runbooks",
		Grafana:             "http://localhost:3000",
		Interval:            30 * time.Second,
		Namespace:           "monitoring",
		Prefix:              "loadline",
		BusinessDrop:        0.3,
	}
}

// Validate returns one error for each field that cannot work, joined.
func (c Config) Validate() error {
	var errs []error
	share := func(field string, v float64) {
		if !(v > 0 && v <= 1) {
			errs = append(errs, fmt.Errorf("Config.%s: %v is not a share between 0 and 1", field, v))
		}
	}
	positive := func(field string, d time.Duration) {
		if d <= 0 {
			errs = append(errs, fmt.Errorf("Config.%s: %v is not positive", field, d))
		}
	}
	below := func(low, high string, ok bool) {
		if !ok {
			errs = append(errs, fmt.Errorf("Config.%s: above Config.%s, so the page would come before the ticket", low, high))
		}
	}
	positive("RouteP99", c.RouteP99)
	share("RouteErrors", c.RouteErrors)
	share("RouteErrorsPage", c.RouteErrorsPage)
	below("RouteErrors", "RouteErrorsPage", c.RouteErrors <= c.RouteErrorsPage)
	positive("SchedWait", c.SchedWait)
	positive("SchedWaitPage", c.SchedWaitPage)
	below("SchedWait", "SchedWaitPage", c.SchedWait <= c.SchedWaitPage)
	share("GCShare", c.GCShare)
	share("GCSharePage", c.GCSharePage)
	below("GCShare", "GCSharePage", c.GCShare <= c.GCSharePage)
	share("MemoryShare", c.MemoryShare)
	share("CPUShare", c.CPUShare)
	share("DependencyErrors", c.DependencyErrors)
	positive("DependencyP95", c.DependencyP95)
	share("RetryShare", c.RetryShare)
	positive("DatabaseP95", c.DatabaseP95)
	share("JobErrors", c.JobErrors)
	share("QueueFill", c.QueueFill)
	if !(c.QueueBacklog >= 0) {
		errs = append(errs, fmt.Errorf("Config.QueueBacklog: %v is negative", c.QueueBacklog))
	}
	share("DescriptorShare", c.DescriptorShare)
	share("DescriptorSharePage", c.DescriptorSharePage)
	below("DescriptorShare", "DescriptorSharePage", c.DescriptorShare <= c.DescriptorSharePage)
	share("Objective", c.Objective)
	share("LatencyObjective", c.LatencyObjective)
	if c.Objective == 1 || c.LatencyObjective == 1 {
		errs = append(errs, errors.New("Config.Objective: 1 leaves no budget to spend"))
	}
	if !slices.Contains(sloBounds, c.Latency) {
		errs = append(errs, fmt.Errorf("Config.Latency: %v is no bucket bound of request durations: %v", c.Latency, sloBounds))
	}
	if c.SLODays < 7 || c.SLODays > 90 {
		errs = append(errs, fmt.Errorf("Config.SLODays: %d is not between 7 and 90", c.SLODays))
	}
	// The rules look at the last 5 minutes, and promise to look more often.
	if c.Interval < time.Second || c.Interval > 2*time.Minute || c.Interval%time.Second != 0 {
		errs = append(errs, fmt.Errorf("Config.Interval: %v is not a number of seconds between 1s and 2m", c.Interval))
	}
	for field, url := range map[string]string{"Runbooks": c.Runbooks, "Grafana": c.Grafana} {
		if !strings.HasPrefix(url, "http://") && !strings.HasPrefix(url, "https://") {
			errs = append(errs, fmt.Errorf("Config.%s: %q is not an http URL", field, url))
		}
	}
	if c.Namespace == "" {
		errs = append(errs, errors.New("Config.Namespace: empty"))
	}
	if !prefix.MatchString(c.Prefix) {
		errs = append(errs, fmt.Errorf("Config.Prefix: %q: want up to 20 lower-case letters, digits and hyphens that begin with a letter", c.Prefix))
	}
	if !(c.BusinessDrop >= 0 && c.BusinessDrop < 1) {
		errs = append(errs, fmt.Errorf("Config.BusinessDrop: %v is not a share from 0 to below 1", c.BusinessDrop))
	}
	for _, m := range c.Business {
		errs = append(errs, m.validate())
	}
	for _, o := range c.SLOs {
		errs = append(errs, o.validate())
	}
	return errors.Join(errs...)
}

// Short enough for a uid of Grafana, which ends at 40 characters.
var prefix = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$`)

// number writes a float as PromQL reads it.
func number(v float64) string { return fmt.Sprintf("%g", v) }

func seconds(d time.Duration) string { return number(d.Seconds()) }

// percent writes a share for people.
func percent(share float64) string { return number(share*100) + " %" }
