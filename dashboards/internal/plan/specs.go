package plan

import (
	"fmt"
	"regexp"
	"strings"
)

// An SLO is one that a service declares, as its /debug/metrics/table tells.
type SLO struct {
	Name      string  `json:"name"`
	Route     string  `json:"route"` // empty: all
	Objective float64 `json:"objective"`
	Latency   float64 `json:"latency_seconds"` // 0: any
}

var sloName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,63}$`)

func (o SLO) validate() error {
	if !sloName.MatchString(o.Name) {
		return fmt.Errorf("Config.SLOs: %q is no name of an objective", o.Name)
	}
	if !(o.Objective > 0 && o.Objective < 1) || !(o.Latency >= 0) {
		return fmt.Errorf("Config.SLOs: %s: objective %v or latency %v is out of range", o.Name, o.Objective, o.Latency)
	}
	return nil
}

// Percent is the objective as those write it who write percents: 99.9.
func (o SLO) Percent() string { return strings.TrimSuffix(fmt.Sprintf("%.6g", 100*o.Objective), ".") }

// Promise is the objective in a sentence.
func (o SLO) Promise() string {
	of := "requests"
	if o.Route != "" {
		of = "requests to " + o.Route
	}
	how := "without an error of the server"
	if o.Latency > 0 {
		how += fmt.Sprintf(", within %g s", o.Latency)
	}
	return fmt.Sprintf("%s %% of the %s are answered %s.", o.Percent(), of, how)
}

// Bad and All select the counters of the objective's bad requests and of all.
func (c Config) Bad(o SLO) string { return c.requestsOf(o, ", "+badResult) }

// All is as Bad says.
func (c Config) All(o SLO) string { return c.requestsOf(o, "") }

func (c Config) requestsOf(o SLO, more string) string {
	return fmt.Sprintf("%s{job=%q, objective=%q%s}", declaredRequests, c.Job, o.Name, more)
}

// Window is the window of the budget.
func (c Config) Window() string { return c.budgetWindow() }
