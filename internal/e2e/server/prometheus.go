package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// PrometheusConfig says what a Prometheus scrapes and evaluates, each every second.
type PrometheusConfig struct {
	// Targets holds host:port of each job; /metrics is scraped there.
	Targets map[string]string
	// Native keeps native histograms. Debian's 2.42 then drops the classic
	// buckets of the same histogram; Prometheus 3 keeps both.
	Native bool
	// Rules are rule files.
	Rules []string
	// Alertmanager is the host:port that alerts are sent to; none when empty.
	Alertmanager string
}

// Prometheus is a running Prometheus server.
type Prometheus struct {
	*Process
	URL string
}

// StartPrometheus starts the lane's Prometheus.
func StartPrometheus(t testing.TB, lane Lane, c PrometheusConfig) *Prometheus {
	t.Helper()
	var config strings.Builder
	config.WriteString("global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n")
	if len(c.Rules) > 0 {
		config.WriteString("rule_files:\n")
		for _, r := range c.Rules {
			fmt.Fprintf(&config, "  - %q\n", r)
		}
	}
	if c.Alertmanager != "" {
		fmt.Fprintf(&config, "alerting: {alertmanagers: [{static_configs: [{targets: [%q]}]}]}\n", c.Alertmanager)
	}
	config.WriteString("scrape_configs:\n")
	for job, target := range c.Targets {
		fmt.Fprintf(&config, "  - job_name: %q\n    static_configs: [{targets: [%q]}]\n", job, target)
		if lane == Full && c.Native {
			config.WriteString("    scrape_native_histograms: true\n    always_scrape_classic_histograms: true\n")
		}
	}
	file := writeFile(t, "prometheus.yml", config.String())

	set, name, features := "prometheus", "prometheus", "exemplar-storage"
	if lane == Quick {
		set, name = "debian", "usr/bin/prometheus"
		if c.Native {
			features += ",native-histograms"
		}
	}
	path, data := Binary(t, set, name), t.TempDir()
	p := &Prometheus{}
	p.Process = StartOnPorts(t, 1, func(ports []string) Command {
		addr := "127.0.0.1:" + ports[0]
		p.URL = "http://" + addr
		return Command{
			Name: "prometheus (" + set + ")", Path: path, Dir: data, Health: p.URL + "/-/ready",
			Args: []string{
				"--config.file=" + file, "--storage.tsdb.path=" + data, "--web.listen-address=" + addr,
				"--enable-feature=" + features, "--log.level=warn",
				// An alert evaluated before the Alertmanager is discovered is sent again.
				"--rules.alert.resend-delay=1s", "--scrape.discovery-reload-interval=100ms",
			},
		}
	})
	return p
}

// Sample is one series of an instant query's answer.
type Sample struct {
	Labels map[string]string
	Value  float64
}

// Query evaluates expr now and returns its vector.
func (p *Prometheus) Query(t testing.TB, expr string) []Sample {
	t.Helper()
	var result struct {
		Result []struct {
			Metric map[string]string
			Value  [2]any
		}
	}
	if err := p.get("/api/v1/query", url.Values{"query": {expr}}, &result); err != nil {
		t.Fatal(err)
	}
	var samples []Sample
	for _, r := range result.Result {
		text, _ := r.Value[1].(string)
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatalf("prometheus: %s: value %v", expr, r.Value)
		}
		samples = append(samples, Sample{r.Metric, v})
	}
	return samples
}

// By evaluates expr and returns its values by the value of one label.
func (p *Prometheus) By(t testing.TB, label, expr string) map[string]float64 {
	t.Helper()
	values := map[string]float64{}
	for _, s := range p.Query(t, expr) {
		if _, twice := values[s.Labels[label]]; twice {
			t.Fatalf("prometheus: %s: two series of %s=%q", expr, label, s.Labels[label])
		}
		values[s.Labels[label]] = s.Value
	}
	return values
}

// Exemplar is one exemplar and the series it belongs to.
type Exemplar struct {
	Series, Labels map[string]string
	Value          float64
}

// Exemplars returns the exemplars of the last ten minutes of the series that the selector names.
func (p *Prometheus) Exemplars(t testing.TB, selector string) []Exemplar {
	t.Helper()
	var result []struct {
		SeriesLabels map[string]string
		Exemplars    []struct {
			Labels map[string]string
			Value  string
		}
	}
	now := time.Now().Unix()
	err := p.get("/api/v1/query_exemplars", url.Values{
		"query": {selector}, "start": {fmt.Sprint(now - 600)}, "end": {fmt.Sprint(now + 60)},
	}, &result)
	if err != nil {
		t.Fatal(err)
	}
	var exemplars []Exemplar
	for _, r := range result {
		for _, e := range r.Exemplars {
			v, err := strconv.ParseFloat(e.Value, 64)
			if err != nil {
				t.Fatalf("prometheus: exemplar of %v: value %q", r.SeriesLabels, e.Value)
			}
			exemplars = append(exemplars, Exemplar{r.SeriesLabels, e.Labels, v})
		}
	}
	return exemplars
}

// Alert is an alert that Prometheus holds.
type Alert struct {
	State               string
	Labels, Annotations map[string]string
}

// Alerts returns the pending and firing alerts.
func (p *Prometheus) Alerts(t testing.TB) []Alert {
	t.Helper()
	var result struct{ Alerts []Alert }
	if err := p.get("/api/v1/alerts", nil, &result); err != nil {
		t.Fatal(err)
	}
	return result.Alerts
}

// Rule is a rule that Prometheus has loaded.
type Rule struct {
	Name, Type, Health, LastError, LastEvaluation string
}

// Rules returns the loaded rules.
func (p *Prometheus) Rules(t testing.TB) (rules []Rule) {
	t.Helper()
	var result struct{ Groups []struct{ Rules []Rule } }
	if err := p.get("/api/v1/rules", nil, &result); err != nil {
		t.Fatal(err)
	}
	for _, g := range result.Groups {
		rules = append(rules, g.Rules...)
	}
	return rules
}

// WaitScrape waits until the job's target was scraped, without error, in a
// scrape that began after this call.
func (p *Prometheus) WaitScrape(t testing.TB, job string) {
	t.Helper()
	// A scrape is stamped with its beginning, moved by up to a hundredth of the
	// interval to be evenly spaced.
	began := float64(time.Now().UnixMilli()+20) / 1000
	Eventually(t, 15*time.Second, func() error {
		samples := p.Query(t, fmt.Sprintf("timestamp(up{job=%[1]q}) > %.3[2]f and up{job=%[1]q} == 1", job, began))
		if len(samples) == 0 {
			return fmt.Errorf("prometheus has not scraped %s: %s", job, p.targets())
		}
		return nil
	})
}

func (p *Prometheus) targets() string {
	var result struct {
		ActiveTargets []struct{ ScrapeURL, Health, LastError string }
	}
	if err := p.get("/api/v1/targets", nil, &result); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%+v", result.ActiveTargets)
}

func (p *Prometheus) get(path string, query url.Values, data any) error {
	resp, err := http.Get(p.URL + path + "?" + query.Encode())
	if err != nil {
		return fmt.Errorf("prometheus: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("prometheus: %s: %w", path, err)
	}
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Status != "success" {
		return fmt.Errorf("prometheus: %s %v: %s %s", path, query, resp.Status, bytes.TrimSpace(body))
	}
	return nil
}

// Promtool runs the lane's promtool and returns all that it printed.
func Promtool(t testing.TB, lane Lane, stdin io.Reader, args ...string) (string, error) {
	t.Helper()
	set, name := "prometheus", "promtool"
	if lane == Quick {
		set, name = "debian", "usr/bin/promtool"
	}
	cmd := exec.Command(Binary(t, set, name), args...)
	cmd.Stdin = stdin
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("promtool %s: %w", strings.Join(args, " "), err)
	}
	return string(out), err
}
