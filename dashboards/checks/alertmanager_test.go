package checks

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/dispatch"
	"github.com/prometheus/alertmanager/eventrecorder"
	"github.com/prometheus/alertmanager/featurecontrol"
	"github.com/prometheus/alertmanager/inhibit"
	"github.com/prometheus/alertmanager/provider/mem"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
)

func alertmanager(t *testing.T) *config.Config {
	t.Helper()
	c, err := config.LoadFile(files(t, "alertmanager/alertmanager.yaml")[0])
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// firing is an alert of the rules as Prometheus would send it.
func firing(t *testing.T, rules map[string]string, name string, labels ...string) model.LabelSet {
	t.Helper()
	severity, ok := rules[name]
	if !ok {
		t.Fatalf("no alert %s", name)
	}
	set := model.LabelSet{"alertname": model.LabelValue(name), "severity": model.LabelValue(severity), "category": model.LabelValue(rules[name+" category"])}
	for i := 0; i < len(labels); i += 2 {
		set[model.LabelName(labels[i])] = model.LabelValue(labels[i+1])
	}
	return set
}

// labelsOfRules are the severity of each alert by name, and its category by "name category".
func labelsOfRules(t *testing.T) map[string]string {
	all := map[string]string{}
	for name, r := range alertRules(t) {
		all[name], all[name+" category"] = r.Labels["severity"], r.Labels["category"]
	}
	return all
}

func TestAlertsGoWhereTheyShould(t *testing.T) {
	rules := labelsOfRules(t)
	route := dispatch.NewRoute(alertmanager(t).Route, nil)
	for _, test := range []struct{ alert, receiver string }{
		{"HTTPRouteErrorsCritical", "pager"},
		{"SLOBudgetBurnFast", "pager"},
		{"ServiceDown", "pager"},
		{"HTTPRouteErrorsHigh", "tickets"},
		{"GoGoroutineLeak", "tickets"},
		{"TelemetryLost", "observability-team"},
		{"VersionSkew", "nobody"},
		{"CPUThrottled", "nobody"},
		{"Watchdog", "dead-mans-switch"},
	} {
		got := route.Match(firing(t, rules, test.alert, "job", "shop"))
		if len(got) != 1 || got[0].RouteOpts.Receiver != test.receiver {
			t.Errorf("%s goes to %v, want %s", test.alert, got, test.receiver)
		}
	}
	// Nobody is asleep because of an alert that says nothing to do at night.
	for name, severity := range labelsOfRules(t) {
		if got, known := route.Match(model.LabelSet{"alertname": model.LabelValue(name), "severity": model.LabelValue(severity), "job": "shop"}), rules[name+" category"]; known != "" {
			if pages := got[0].RouteOpts.Receiver == "pager"; pages != (severity == "critical") {
				t.Errorf("%s with severity %s goes to %s", name, severity, got[0].RouteOpts.Receiver)
			}
		}
	}
	// One page for a sick service, not one for each of its routes.
	pager := route.Match(firing(t, rules, "HTTPRouteErrorsCritical", "job", "shop"))[0]
	for _, label := range []model.LabelName{"http_route", "instance", "alertname"} {
		if _, ok := pager.RouteOpts.GroupBy[label]; ok {
			t.Errorf("pages are grouped by %s", label)
		}
	}
}

// Alertmanager's own inhibitor, with the shipped rules.
func TestInhibition(t *testing.T) {
	rules := labelsOfRules(t)
	shop := []string{"job", "shop", "instance", "a"}
	for _, test := range []struct {
		name           string
		speaks, target model.LabelSet
		quiet          bool
	}{
		{"a page tells of the ticket for the same instance and category",
			firing(t, rules, "GoSchedulerLatencyCritical", shop...), firing(t, rules, "GoSchedulerLatencyHigh", shop...), true},
		{"a page of another instance does not",
			firing(t, rules, "GoSchedulerLatencyCritical", "job", "shop", "instance", "b"), firing(t, rules, "GoSchedulerLatencyHigh", shop...), false},
		{"a page of another category does not",
			firing(t, rules, "HTTPRouteErrorsCritical", "job", "shop"), firing(t, rules, "HTTPRouteLatencyP99High", "job", "shop"), false},
		{"a service that is down silences its requests",
			firing(t, rules, "ServiceDown", "job", "shop"), firing(t, rules, "HTTPTrafficDropped", "job", "shop"), true},
		{"and its pages", firing(t, rules, "ServiceDown", "job", "shop"), firing(t, rules, "HTTPRequestsStuck", shop...), true},
		{"but not those of another service", firing(t, rules, "ServiceDown", "job", "shop"), firing(t, rules, "HTTPRequestsStuck", "job", "mail", "instance", "a"), false},
		{"nor of the service of that name elsewhere",
			firing(t, rules, "ServiceDown", "job", "shop", "cluster", "north"), firing(t, rules, "HTTPTrafficDropped", "job", "shop", "cluster", "south"), false},
		{"nor the watchdog", firing(t, rules, "ServiceDown", "job", "shop"), firing(t, rules, "Watchdog"), false},
		{"an instance that is down silences itself", firing(t, rules, "TargetDown", shop...), firing(t, rules, "GoGoroutineLeak", shop...), true},
		{"but not its service", firing(t, rules, "TargetDown", shop...), firing(t, rules, "HTTPTrafficDropped", "job", "shop"), false},
		{"a fast burn tells of the slow one", firing(t, rules, "SLOBudgetBurnFast", "job", "shop", "slo", "pay"), firing(t, rules, "SLOBudgetBurnSlow", "job", "shop", "slo", "pay"), true},
		{"a fast burn tells of the very slow one", firing(t, rules, "SLOBudgetBurnFast", "job", "shop", "slo", "pay"), firing(t, rules, "SLOBudgetBurnVerySlow", "job", "shop", "slo", "pay"), true},
		{"a fast burn is not the burn of another objective", firing(t, rules, "SLOBudgetBurnFast", "job", "shop", "slo", "pay"), firing(t, rules, "SLOBudgetBurnMedium", "job", "shop", "slo", "read"), false},
		{"nor its ticket", firing(t, rules, "SLOBudgetBurnFast", "job", "shop", "slo", "pay"), firing(t, rules, "SLOBudgetBurnSlow", "job", "shop", "slo", "read"), false},
		{"a page for one route keeps no other's ticket quiet", firing(t, rules, "HTTPRouteErrorsCritical", "job", "shop", "http_route", "/pay"), firing(t, rules, "HTTPRouteErrorsHigh", "job", "shop", "http_route", "/list"), false},
		{"but its own", firing(t, rules, "HTTPRouteErrorsCritical", "job", "shop", "http_route", "/pay"), firing(t, rules, "HTTPRouteErrorsHigh", "job", "shop", "http_route", "/pay"), true},
		{"throttling that hurts is why goroutines wait", firing(t, rules, "CPUThrottledHurting", shop...), firing(t, rules, "GoSchedulerLatencyHigh", shop...), true},
		{"a cause keeps no page quiet", firing(t, rules, "CPUThrottledHurting", shop...), firing(t, rules, "GoSchedulerLatencyCritical", shop...), false},
		{"nor a dependency that fails the errors of its callers", firing(t, rules, "DependencyErrorsHigh", "job", "shop"), firing(t, rules, "HTTPRouteErrorsCritical", "job", "shop"), false},
		{"a leak that is found tells of its suspicion", firing(t, rules, "GoGoroutineLeak", shop...), firing(t, rules, "GoGoroutineLeakSuspected", shop...), true},
		{"memory that ends now tells of memory that ends later", firing(t, rules, "ContainerOOMImminent", shop...), firing(t, rules, "MemoryExhaustionPredicted", shop...), true},
		{"no alert silences itself", firing(t, rules, "ServiceDown", "job", "shop"), firing(t, rules, "ServiceDown", "job", "shop"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := mutes(t, test.speaks, test.target); got != test.quiet {
				t.Errorf("%v keeps %v quiet: %v, want %v", test.speaks, test.target, got, test.quiet)
			}
		})
	}
}

// A page of the users' is kept quiet by the service or instance being gone, and
// by nothing else, whichever alerts there will be.
func TestNoCauseKeepsAPageQuiet(t *testing.T) {
	rules := labelsOfRules(t)
	pairs := 0
	for speaks, severity := range rules {
		if rules[speaks+" category"] == "" || speaks == "ServiceDown" || speaks == "ServiceVanished" || speaks == "TargetDown" {
			continue
		}
		labels := []string{"job", "shop", "instance", "a", "slo", "pay"}
		inhibitor, stop := inhibitorWith(t, firing(t, rules, speaks, labels...))
		for target, pages := range rules {
			if rules[target+" category"] == "" || pages != "critical" || target == speaks {
				continue
			}
			pairs++
			if inhibitor.Mutes(t.Context(), firing(t, rules, target, labels...)) {
				t.Errorf("%s (%s) keeps the page %s quiet", speaks, severity, target)
			}
		}
		stop()
	}
	if pairs < 500 {
		t.Errorf("%d pairs: the test tries nothing", pairs)
	}
}

func mutes(t *testing.T, speaks, target model.LabelSet) bool {
	t.Helper()
	inhibitor, stop := inhibitorWith(t, speaks)
	defer stop()
	return inhibitor.Mutes(t.Context(), target)
}

// inhibitorWith returns an inhibitor that knows of one alert that fires.
func inhibitorWith(t *testing.T, speaks model.LabelSet) (*inhibit.Inhibitor, func()) {
	t.Helper()
	log, recorder := slog.New(slog.DiscardHandler), eventrecorder.NopRecorder()
	alerts, err := mem.NewAlerts(t.Context(), time.Hour, 0, nil, log, recorder, prometheus.NewRegistry(), featurecontrol.NoopFlags{})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if err := alerts.Put(t.Context(), &alert.Alert{Alert: model.Alert{Labels: speaks, StartsAt: now, EndsAt: now.Add(time.Hour)}, UpdatedAt: now}); err != nil {
		t.Fatal(fmt.Errorf("%v: %w", speaks, err))
	}
	i := inhibit.NewInhibitor(alerts, alertmanager(t).InhibitRules, log, recorder)
	done := make(chan struct{})
	go func() { defer close(done); i.Run() }()
	i.WaitForLoading() // the alerts that are there when it begins are known then
	return i, func() { i.Stop(); <-done; alerts.Close() }
}
