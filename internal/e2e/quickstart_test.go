package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/loadline-go/loadline/internal/e2e/server"
)

// quickstart is a running examples/quickstart.
type quickstart struct {
	*server.Process
	url, admin string
	report     string
}

// report is what the quickstart's own clients measured.
type report struct {
	Done   bool
	Unsent int
	Routes []struct {
		Route, Method string
		Count, Errors int
		Statuses      map[string]int
		P50, P95, P99 float64
	}
}

func startQuickstart(t *testing.T, env []string, args ...string) *quickstart {
	t.Helper()
	q := &quickstart{report: filepath.Join(t.TempDir(), "report.json")}
	q.Process = server.Start(t, server.Command{
		Name: "quickstart", Path: build(t, "examples/quickstart"), Env: env, Grace: 20 * time.Second,
		Args: append([]string{"-addr", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-report", q.report}, args...),
		Ready: func(p *server.Process) error {
			urls := places.FindStringSubmatch(p.Log())
			if urls == nil {
				return errors.New("it does not say where it listens")
			}
			q.url, q.admin = urls[1], urls[2]
			return nil
		},
	})
	waitOK(t, q.admin+"/readyz")
	return q
}

// places is where a quickstart says it is.
var places = regexp.MustCompile(`(?m)^shop +(http://[^/]+)/.*\nadmin +(http://[^/]+)/$`)

// adminAddr is the host:port to scrape.
func (q *quickstart) adminAddr() string { return strings.TrimPrefix(q.admin, "http://") }

// wait waits until the load has ended and returns what its clients measured.
func (q *quickstart) wait(t *testing.T) report {
	t.Helper()
	var r report
	server.Eventually(t, time.Minute, func() error {
		b, err := os.ReadFile(q.report)
		if errors.Is(err, fs.ErrNotExist) {
			select {
			case <-q.Done():
				t.Fatalf("the quickstart ended with code %d before its report:\n%s", q.ExitCode(), q.Log())
			default:
			}
		}
		if err != nil {
			return err
		}
		return json.Unmarshal(b, &r)
	})
	if !r.Done || r.Unsent != 0 || len(r.Routes) < 3 {
		t.Fatalf("the load did not run as it should: %+v", r)
	}
	return r
}

// What a real Prometheus computes from the scrape is what the load generator
// measured: counts and errors exactly, quantiles within 10 % by native
// histograms and within the bucket by classic ones.
func TestPrometheusAgreesWithTheLoad(t *testing.T) {
	lanes(t, func(t *testing.T, lane server.Lane) {
		// A client that waits for a processor measures what no server can know, so
		// on a busy machine quantiles may differ; counts may not.
		const attempts = 3
		for attempt := 1; ; attempt++ {
			var apart []string
			t.Run(fmt.Sprintf("attempt %d", attempt), func(t *testing.T) { apart = compareWithLoad(t, lane) })
			if t.Failed() || len(apart) == 0 {
				return
			}
			if attempt == attempts {
				t.Fatalf("%d times the quantiles were apart, at last:\n%s", attempts, strings.Join(apart, "\n"))
			}
			t.Logf("once more, apart were:\n%s", strings.Join(apart, "\n"))
		}
	}, server.Quick, server.Full)
}

// compareWithLoad runs one load and returns the quantiles that do not agree.
func compareWithLoad(t *testing.T, lane server.Lane) (apart []string) {
	const metric = "http_server_request_duration_seconds"
	q := startQuickstart(t, nil, "-load", "12s", "-rate", "120")
	config := server.PrometheusConfig{Targets: map[string]string{"shop": q.adminAddr()}}
	classic := server.StartPrometheus(t, lane, config)
	config.Native = true
	native := server.StartPrometheus(t, lane, config)
	r := q.wait(t)
	classic.WaitScrape(t, "shop")
	native.WaitScrape(t, "shop")

	for _, route := range r.Routes {
		name := route.Method + " " + route.Route
		selector := fmt.Sprintf(`job="shop",http_request_method=%q,http_route=%q`, route.Method, route.Route)
		for kind, counts := range map[string]map[string]float64{
			"classic": classic.By(t, "http_response_status_code", fmt.Sprintf("sum by (http_response_status_code) (%s_count{%s})", metric, selector)),
			"native":  native.By(t, "http_response_status_code", fmt.Sprintf("sum by (http_response_status_code) (histogram_count(%s{%s}))", metric, selector)),
		} {
			total, failed := 0.0, 0.0
			for status, n := range counts {
				if code, err := strconv.Atoi(status); err == nil && code >= 500 {
					failed += n
				}
				total += n
				if float64(route.Statuses[status]) != n {
					t.Errorf("%s, %s: %v answers with status %s, the clients got %d", name, kind, n, status, route.Statuses[status])
				}
			}
			if total != float64(route.Count) || failed != float64(route.Errors) {
				t.Errorf("%s, %s: %v requests, %v failed; the clients counted %d and %d", name, kind, total, failed, route.Count, route.Errors)
			}
		}
		for quantile, measured := range map[float64]float64{.5: route.P50, .95: route.P95, .99: route.P99} {
			n := single(t, native, fmt.Sprintf("histogram_quantile(%v, sum(%s{%s}))", quantile, metric, selector))
			c := single(t, classic, fmt.Sprintf("histogram_quantile(%v, sum by (le) (%s_bucket{%s}))", quantile, metric, selector))
			off := n/measured - 1
			low, high := bucket(t, classic, fmt.Sprintf("%s_bucket{%s}", metric, selector), c)
			line := fmt.Sprintf("%-18s p%-3v clients %.4f s, native %.4f s (%+.1f %%), classic %.4f s (from %v to %v)",
				name, 100*quantile, measured, n, 100*off, c, low, high)
			t.Log(line)
			// What the clients measured has the way there and back in it, and is within half a percent.
			if math.Abs(off) > 0.10 || measured < low || measured > high {
				apart = append(apart, line)
			}
		}
	}
	if lane == server.Full { // Prometheus 3 keeps both kinds of one scrape
		both := single(t, native, `sum(http_server_request_duration_seconds_count{job="shop"})`)
		if n := single(t, native, `histogram_count(sum(http_server_request_duration_seconds{job="shop"}))`); n != both {
			t.Errorf("native count %v, classic count %v of the same scrape", n, both)
		}
	}
	for _, expr := range []string{
		`histogram_quantile(0.99, sum by (le) (go_schedule_duration_seconds_bucket{job="shop"}))`,
		`sum by (server_address) (http_client_request_duration_seconds_count{job="shop"})`,
		`sum by (db_client_operation_name) (db_client_operation_duration_seconds_count{job="shop"})`,
		`sum(shop_orders_total{job="shop"})`,
	} {
		if s := classic.Query(t, expr); len(s) == 0 || !(s[0].Value > 0) {
			t.Errorf("%s: %v", expr, s)
		}
	}
	if n := single(t, classic, `sum(http_server_active_requests{job="shop"})`); n != 0 {
		t.Errorf("%v requests are active after the load", n)
	}
	q.Signal(os.Interrupt)
	select {
	case <-q.Done():
	case <-time.After(15 * time.Second):
		t.Fatal("the quickstart still runs 15 s after SIGINT")
	}
	if q.ExitCode() != 0 {
		t.Errorf("exit code %d after SIGINT", q.ExitCode())
	}
	return apart
}

// single evaluates an expression with one series.
func single(t *testing.T, p *server.Prometheus, expr string) float64 {
	t.Helper()
	samples := p.Query(t, expr)
	if len(samples) != 1 {
		t.Fatalf("%s: %d series: %v", expr, len(samples), samples)
	}
	return samples[0].Value
}

// bucket returns the bounds of the classic bucket that v lies in.
func bucket(t *testing.T, p *server.Prometheus, selector string, v float64) (low, high float64) {
	t.Helper()
	high = math.Inf(1)
	for le := range p.By(t, "le", fmt.Sprintf("sum by (le) (%s)", selector)) {
		bound, err := strconv.ParseFloat(le, 64)
		if err != nil {
			t.Fatal(err)
		}
		if bound < v {
			low = max(low, bound)
		} else {
			high = min(high, bound)
		}
	}
	return low, high
}
