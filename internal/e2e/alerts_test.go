package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loadline-go/loadline/internal/e2e/server"
)

var (
	duration     = regexp.MustCompile(`\b(\d+)(s|m|h|d)\b`)
	hoursInExpr  = regexp.MustCompile(`\b(\d+) \* 3600\b`)
	ruleInterval = regexp.MustCompile(`(?m)^(\s*)interval: .*$`)
)

// compressed returns a copy of the rules for a time in which an hour is a
// minute: every duration in an expression, a "for" or a "keep_firing_for" is a
// sixtieth, so that a scrape a second is what one a minute is to the rules as
// they are. What is compared is left alone: shares, latencies, requests a
// second. Only what counts seconds by hand is divided too: ages in "4 * 3600",
// and the seconds that a recorded rate stands for. Other pairs of texts are replaced too.
func compressed(t *testing.T, file string, pairs ...string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out := duration.ReplaceAllStringFunc(string(text), func(s string) string {
		d, err := time.ParseDuration(strings.Replace(s, "d", "h", 1))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(s, "d") {
			d *= 24
		}
		return fmt.Sprintf("%dms", (d / 60).Milliseconds())
	})
	out = hoursInExpr.ReplaceAllString(out, "$1 * 60")
	out = strings.NewReplacer(pairs...).Replace(out)
	out = strings.ReplaceAll(out, "30 * sum_over_time", "1 * sum_over_time")
	out = strings.ReplaceAll(out, "1800 * max by", "30 * max by")
	out = ruleInterval.ReplaceAllStringFunc(out, func(line string) string {
		if strings.Contains(line, `"30s"`) {
			return strings.Replace(line, `"30s"`, "1s", 1) // Prometheus' own is a second here
		}
		return strings.Replace(line, `"5m0s"`, "5s", 1)
	})
	if out == string(text) || !strings.Contains(out, "[5000ms]") {
		t.Fatalf("%s is not compressed", file)
	}
	path := filepath.Join(t.TempDir(), filepath.Base(file))
	if err := os.WriteFile(path, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

var bottleneckAdmin = regexp.MustCompile(`(?m)^admin (http://[^/]+)/$`)

// startBottlenecks runs programs of examples/bottlenecks, ill after two
// seconds, and returns the host and port of the admin
// pages of each, or nothing where they cannot run.
func startBottlenecks(t *testing.T, programs []string) (targets map[string]string, running []*server.Process) {
	t.Helper()
	path := build(t, "examples/bottlenecks")
	targets = map[string]string{}
	for _, name := range programs {
		running = append(running, server.Start(t, server.Command{
			Name: name, Path: path, Grace: 30 * time.Second,
			Args:  []string{"-run", name, "-interval", "2s", "-before", "1", "-during", "300", "-after", "0"},
			Ready: func(*server.Process) error { return nil }, // they get ready side by side
		}))
	}
	for i, p := range running {
		server.Eventually(t, time.Minute, func() error {
			log := p.Log()
			if url := bottleneckAdmin.FindStringSubmatch(log); url != nil {
				targets[programs[i]] = strings.TrimPrefix(url[1], "http://")
			} else if !strings.Contains(log, "cannot run here") {
				return fmt.Errorf("%s does not say where its admin pages are: %s", programs[i], log)
			}
			return nil
		})
	}
	if len(targets) == 0 {
		t.Logf("%v cannot run here", programs) // no cgroup can be made
		return nil, nil
	}
	return targets, running
}

// An illness is a program of examples/bottlenecks and an alert that it raises.
type illness struct {
	program, alert string
	labels         map[string]string
	doctor         string // how the alert tells what the doctor has found; empty where it may have found nothing yet
}

func (i illness) raised(a server.WebhookAlert) bool {
	ok := a.Status == "firing" && a.Labels["alertname"] == i.alert && a.Labels["job"] == i.program && strings.HasPrefix(a.Annotations["doctor"], i.doctor)
	for k, v := range i.labels {
		ok = ok && a.Labels[k] == v
	}
	return ok
}

// Each illness raises its alert, from the service over Prometheus and
// Alertmanager to the webhook, with the labels that say where. Those that want
// the processors for themselves come one by one.
func TestIllnessesRaiseTheirAlerts(t *testing.T) {
	lanes(t, func(t *testing.T, lane server.Lane) {
		raise(t, lane, "",
			illness{program: "dependency-failing", alert: "DependencyErrorsHigh", labels: map[string]string{"kind": "http", "severity": "warning"}},
			illness{program: "dependency-failing", alert: "DoctorFindsHarm", labels: map[string]string{"cause": "dependency-failing"}, doctor: "The doctor: calls of stock.internal"},
			illness{program: "dependency-hanging", alert: "HTTPRouteLatencyP99High", labels: map[string]string{"severity": "warning"}},
			illness{program: "dependency-hanging", alert: "DependencyErrorsHigh", labels: map[string]string{"kind": "http", "severity": "warning"}},
			illness{program: "pool-exhausted", alert: "DBPoolSaturated", labels: map[string]string{"db_client_connection_pool_name": "orders"}},
			illness{program: "panic-loop", alert: "PanicsRecovered"},
			illness{program: "panic-loop", alert: "HTTPRouteErrorsCritical", labels: map[string]string{"severity": "critical"}},
			illness{program: "panic-loop", alert: "SLOBudgetBurnFast", labels: map[string]string{"slo": "http-availability", "severity": "critical"}},
			illness{program: "slow-route", alert: "HTTPRouteLatencyP99High", labels: map[string]string{"http_request_method": "GET", "http_route": "/report", "severity": "warning"}},
			illness{program: "lock-io", alert: "GoMutexContentionHigh", labels: map[string]string{"severity": "info"}},
			illness{program: "telemetry-loss", alert: "TelemetryLost", labels: map[string]string{"signal": "traces"}},
			illness{program: "queue-stalled", alert: "QueueStalled"},
		)
		// Threads that could run wait for the kernel, half a one all the time and more.
		raise(t, lane, "rate(observe_run_delay_seconds_total[20s]) > 0.5", illness{program: "gc-allocation", alert: "GoGCCPUHigh"})
		// It does not get as far as its quota.
		raise(t, lane, "rate(observe_container_cpu_throttled_periods_total[20s]) / rate(observe_container_cpu_periods_total[20s]) < 0.3",
			illness{program: "cpu-throttled", alert: "CPUThrottledHurting"})
	}, server.Full)
}

// raise waits for the alerts of illnesses that run side by side. One that needs
// the CPU is none while something else on the machine keeps it from it, which
// the query starved shows: that is told and left.
func raise(t *testing.T, lane server.Lane, starved string, illnesses ...illness) {
	t.Helper()
	hook := server.StartWebhook(t)
	alertmanager := server.StartAlertmanager(t, lane, hook)
	var programs, rules []string
	for _, i := range illnesses {
		if !slices.Contains(programs, i.program) {
			programs = append(programs, i.program)
		}
	}
	for _, file := range allRules(t) {
		// A route that sleeps for 300 ms is slow to these rules, as to whoever asks it.
		rules = append(rules, compressed(t, file, "p99_5m > 1\n", "p99_5m > 0.25\n"))
	}
	targets, running := startBottlenecks(t, programs)
	if targets == nil {
		return
	}
	prom := server.StartPrometheus(t, lane, server.PrometheusConfig{Targets: targets, Native: true, Rules: rules, Alertmanager: alertmanager.Addr})
	began := time.Now()
	server.Eventually(t, 2*time.Minute, func() error {
		var missing []string
		for _, i := range illnesses {
			if !slices.ContainsFunc(hook.Alerts(), i.raised) {
				missing = append(missing, i.program+": "+i.alert+" "+i.labels["cause"])
			}
		}
		if starved != "" && len(missing) > 0 && time.Since(began) > 30*time.Second {
			if shown := prom.Query(t, starved); len(shown) > 0 {
				t.Logf("%v did not come: the machine is busy with something else, %v", missing, shown)
				return nil
			}
		}
		if len(missing) > 0 {
			return fmt.Errorf("not at the webhook: %s, but %v", strings.Join(missing, ", "), hook.Alerts())
		}
		return nil
	})
	// What two of them have that the shop has not, once the others have left them the machine.
	if sick := []string{"pool-exhausted", "queue-stalled"}; slices.Contains(programs, sick[0]) {
		var asked []*server.Process
		for i, p := range running {
			if slices.Contains(sick, programs[i]) {
				asked = append(asked, p)
			} else {
				p.Stop()
			}
		}
		running = asked
		if n := panelsShow(t, prom, sick...); n < 200 {
			t.Errorf("%d queries have answered: the test asks nothing", n)
		}
	}
	for _, a := range hook.Alerts() {
		for key, text := range a.Annotations {
			if text == "" || strings.Contains(text, "<no value>") || strings.Contains(text, "error expanding") {
				t.Errorf("%s: annotation %s: %q", a.Labels["alertname"], key, text)
			}
		}
	}
	for _, r := range prom.Rules(t) {
		if r.Health != "ok" {
			t.Errorf("rule %s is %s: %s", r.Name, r.Health, r.LastError)
		}
	}
	for _, p := range running {
		p.Stop() // the next ones want the machine
	}
}

// raisedByTheMachine are alerts that are true of a healthy service when
// something else takes the processors, as beside other tests.
var raisedByTheMachine = []string{"GoSchedulerLatencyHigh", "GoSchedulerLatencyCritical", "GoCPUSaturated", "GoMutexContentionHigh", "CPUThrottled", "CPUThrottledHurting",
	"HTTPRouteLatencyP99High", "HTTPRouteLatencyRegressed", "DependencyLatencyHigh", "DBPoolSaturated", "QueueBacklogGrowing",
	// The length of a queue is looked at every 5 s, which are 5 minutes here: three looks that find an order are no quarter of an hour.
	"QueueStalled", "TargetDown", "ServiceDown", "ScrapeNearlyTooSlow", "DoctorFindsHarm", "DoctorFindsRisk"}

// An hour of a healthy shop, compressed to a minute, raises nothing, and every
// panel shows what the shop gives cause to show.
func TestHealthyShopIsShownAndRaisesNothing(t *testing.T) {
	t.Parallel()
	lanes(t, func(t *testing.T, lane server.Lane) {
		// The shop's own pretended providers fail now and then, which is no health.
		providers := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				w.WriteHeader(http.StatusCreated) // a charge
				return
			}
			w.WriteHeader(http.StatusAccepted) // a mail
		}))
		t.Cleanup(providers.Close)
		s := startShop(t, "-rate", "30", "-providers", providers.URL)
		bare := startSubject(t, nil) // without a database, a queue, a job
		var rules []string
		for _, file := range allRules(t) {
			rules = append(rules, compressed(t, file))
		}
		began := time.Now()
		prom := server.StartPrometheus(t, lane, server.PrometheusConfig{Rules: rules, Native: true,
			Targets: map[string]string{"shop": strings.TrimPrefix(s.admin, "http://"), "bare": strings.TrimPrefix(bare.admin, "http://")}})
		prom.WaitScrape(t, "bare")
		prom.WaitScrape(t, "shop")
		load(t.Context(), bare.url+"/tasks/%d", 200, 2, 20)

		if n := panelsShow(t, prom, "shop", "bare"); n < 250 {
			t.Errorf("%d queries have answered: the test asks nothing", n)
		}

		fired := map[string]string{}
		for {
			for _, a := range prom.Alerts(t) {
				name := a.Labels["alertname"]
				if a.State == "firing" && name != "Watchdog" && !slices.Contains(raisedByTheMachine, name) && a.Labels["slo"] != "http-latency" {
					fired[name] = fmt.Sprint(a.Labels, a.Annotations["summary"])
				}
			}
			if time.Since(began) > time.Minute+5*time.Second {
				break
			}
			time.Sleep(time.Second)
		}
		for _, what := range fired {
			t.Errorf("fires, without a reason: %s", what)
		}
		for _, r := range prom.Rules(t) {
			if r.Health != "ok" {
				t.Errorf("rule %s is %s: %s", r.Name, r.Health, r.LastError)
			}
		}
	}, server.Full)
}

// panelsShow waits until every query of every page answers for the jobs that
// give cause for it, as long as they do, and returns how many have answered. The
// first row of a page answers whatever the service has.
func panelsShow(t *testing.T, prom *server.Prometheus, jobs ...string) int {
	t.Helper()
	type question struct {
		panelQuery
		job, expr string
		always    bool // whatever the service has
	}
	var left []question
	began, known := time.Now(), map[string]bool{} // series that panels share
	for _, q := range panelQueries(t) {
		for _, job := range jobs {
			expr := filled(q.expr, job)
			if strings.Contains(expr, "ALERTS{") {
				continue // none is good
			}
			if always := q.firstRow && !strings.Contains(expr, "offset"); always || hasCause(t, prom, expr, known) {
				left = append(left, question{q, job, expr, always})
			}
		}
	}
	t.Logf("%d queries of %v have cause to show something, which took %v to see", len(left), jobs, time.Since(began).Round(time.Millisecond))
	answered := 0
	server.Eventually(t, 30*time.Second, func() error {
		left = slices.DeleteFunc(left, func(q question) bool {
			// Of what did not happen in the last seconds there is no ratio.
			if len(prom.Query(t, strings.ReplaceAll(q.expr, "> 0", ">= 0"))) > 0 {
				answered++
				return true
			}
			return !q.always && !hasCause(t, prom, q.expr, map[string]bool{}) // memory that grows no more has no time to its limit
		})
		if len(left) == 0 {
			return nil
		}
		var empty []string
		for _, q := range left {
			empty = append(empty, fmt.Sprintf("%s, %q of %s: %s", q.page, q.panel, q.job, q.expr))
		}
		return fmt.Errorf("panels are empty for no reason:\n%s", strings.Join(empty, "\n"))
	})
	t.Logf("they answered after %v", time.Since(began).Round(time.Millisecond))
	return answered
}

// A panelQuery is one query of a page.
type panelQuery struct {
	page, panel, expr string
	firstRow          bool
}

func panelQueries(t *testing.T) (all []panelQuery) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(server.Root(t), "..", "..", "dashboards", "grafana", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	type panel struct {
		Type, Title string
		Targets     []struct{ Expr string }
		Panels      []panel
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var page struct{ Panels []panel }
		if err := json.Unmarshal(text, &page); err != nil {
			t.Fatal(err)
		}
		rows := 0
		var add func([]panel)
		add = func(panels []panel) {
			for _, p := range panels {
				if p.Type == "row" {
					rows++
				}
				for _, q := range p.Targets {
					// Objectives have an hour of history at least, and dependencies are what this service has none of.
					first := rows <= 1 && !strings.Contains(file, "slo") && !strings.Contains(file, "dependencies")
					all = append(all, panelQuery{filepath.Base(file), p.Title, q.Expr, first})
				}
				add(p.Panels)
			}
		}
		add(page.Panels)
	}
	return all
}

// filled puts values in the place of Grafana's variables.
func filled(expr, job string) string {
	return strings.NewReplacer("$__rate_interval", "10s", "$__range", "1m", "$cluster", ".*", "$namespace", ".*", "$job", job, "$instance", ".+", "$route", ".*").Replace(expr)
}

var selectorOf = regexp.MustCompile(`[a-z_:][a-zA-Z0-9_:]*\{[^{}]*\}`)

// hasCause tells whether Prometheus has every series that the query selects,
// for long enough to have a rate. What it asks it notes in known.
func hasCause(t *testing.T, p *server.Prometheus, expr string, known map[string]bool) bool {
	t.Helper()
	if strings.Contains(expr, "offset") {
		return false // yesterday is not there
	}
	for _, s := range selectorOf.FindAllString(expr, -1) {
		has, asked := known[s]
		if !asked {
			has = len(p.Query(t, "count_over_time("+s+"[10s]) > 4")) > 0
			known[s] = has
		}
		if !has {
			return false
		}
	}
	return true
}
