package e2e

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // a driver for database/sql

	"github.com/loadline-go/loadline/internal/e2e/server"
)

// shop is a running process of examples/shop.
type shop struct {
	*server.Process
	admin, report string
}

var adminLine = regexp.MustCompile(`(?m)^admin +(http://[^/]+)/$`)

func startShop(t *testing.T, args ...string) *shop {
	t.Helper()
	s := &shop{report: filepath.Join(t.TempDir(), "report.json")}
	s.Process = server.Start(t, server.Command{
		Name: "shop", Path: build(t, "examples/shop"), Grace: 20 * time.Second,
		Args: append([]string{"-addr", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-report", s.report}, args...),
		Ready: func(p *server.Process) error {
			url := adminLine.FindStringSubmatch(p.Log())
			if url == nil {
				return errors.New("it does not say where its admin pages are")
			}
			s.admin = url[1]
			return nil
		},
	})
	waitOK(t, s.admin+"/readyz")
	return s
}

// orders waits until the load has ended and returns what its customers got for
// their orders, by status.
func (s *shop) orders(t *testing.T) map[string]int {
	t.Helper()
	var r struct {
		Unsent, Lost int
		Routes       []struct {
			Method   string
			Statuses map[string]int
		}
	}
	server.Eventually(t, time.Minute, func() error {
		b, err := os.ReadFile(s.report)
		if err == nil {
			err = json.Unmarshal(b, &r)
		} else if !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return err
	})
	for _, route := range r.Routes {
		if route.Method == "POST" && r.Unsent == 0 && r.Lost == 0 && route.Statuses["201"] > 0 {
			return route.Statuses
		}
	}
	t.Fatalf("the load did not run as it should: %+v", r)
	return nil
}

// Web and worker, a process each, with PostgreSQL between them: what their
// metrics say is what stands in the database, asked past them.
func TestShopMeetsInPostgres(t *testing.T) {
	lanes(t, func(t *testing.T, _ server.Lane) {
		dsn := server.StartPostgres(t)
		worker := startShop(t, "-role", "worker", "-database", dsn)
		other := startShop(t, "-role", "worker", "-database", dsn) // two workers do no task twice
		web := startShop(t, "-role", "web", "-database", dsn, "-load", "4s")
		orders := web.orders(t)

		db, err := sql.Open("pgx", dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		count := func(query string) (n int) {
			if err := db.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		server.Eventually(t, time.Minute, func() error {
			if n := count("SELECT count(*) FROM tasks"); n > 0 {
				return fmt.Errorf("%d tasks are left", n)
			}
			return nil
		})
		mails := func() float64 {
			const metric, accepted = "http_client_request_duration_seconds_count", `http_response_status_code="202"`
			return sumText(t, worker.admin+"/metrics", metric, accepted) + sumText(t, other.admin+"/metrics", metric, accepted)
		}
		server.Eventually(t, 15*time.Second, func() error { // the last one is counted after its task is gone
			if n := mails(); n != float64(orders["201"]) {
				return fmt.Errorf("the workers sent %v mails for %d orders", n, orders["201"])
			}
			return nil
		})
		if n := count("SELECT count(*) FROM orders WHERE state = 'confirmed'"); n != orders["201"] {
			t.Errorf("%d orders are confirmed in the database, the customers paid for %d", n, orders["201"])
		}
		if n := sumText(t, web.admin+"/metrics", "shop_orders_total", `result="paid"`); n != float64(orders["201"]) {
			t.Errorf("shop_orders_total counts %v orders paid, the customers %d", n, orders["201"])
		}
		if n, cents := sumText(t, web.admin+"/metrics", "shop_order_euros_sum"), count("SELECT sum(cents) FROM orders WHERE state = 'confirmed'"); int(n*100+0.5) != cents {
			t.Errorf("shop_order_euros_sum is %v, the database has %d cents", n, cents)
		}
		for _, p := range []*shop{web, worker, other} {
			if p.Stop(); p.ExitCode() != 0 {
				t.Errorf("exit code %d:\n%s", p.ExitCode(), p.Log())
			}
		}
	}, server.Quick)
}

// question is a row of the README's table of what the business asks.
var question = regexp.MustCompile("(?m)^\\| ([^|]+\\?) \\| `([^`]+)` \\|$")

// The README's questions have answers, and so has each panel of the page that
// the generator makes from the running shop.
func TestPrometheusAnswersTheBusiness(t *testing.T) {
	lanes(t, func(t *testing.T, lane server.Lane) {
		s := startShop(t, "-load", "12s")
		p := server.StartPrometheus(t, lane, server.PrometheusConfig{Targets: map[string]string{"shop": strings.TrimPrefix(s.admin, "http://")}})
		orders := s.orders(t)
		p.WaitScrape(t, "shop")

		if paid := single(t, p, `sum(shop_orders_total{result="paid"})`); paid != float64(orders["201"]) {
			t.Errorf("%v orders paid, the customers have %d", paid, orders["201"])
		}
		readme, err := os.ReadFile(filepath.Join(server.Root(t), "..", "..", "README.md"))
		if err != nil {
			t.Fatal(err)
		}
		questions := question.FindAllStringSubmatch(string(readme), -1)
		if len(questions) < 6 {
			t.Fatalf("the README has %d questions", len(questions))
		}
		for _, q := range questions {
			if answer := single(t, p, q[2]); !(answer > 0) {
				t.Errorf("%s %s is %v", q[1], q[2], answer)
			} else {
				t.Logf("%-25s %.4g", q[1], answer)
			}
		}

		out := t.TempDir()
		cmd := exec.Command(build(t, "dashboards/generate"), "-out", out, "-table", s.admin+"/debug/metrics/table")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if rules, err := os.ReadFile(filepath.Join(out, "testdata", "days_test.yaml")); err != nil || !strings.Contains(string(rules), "BusinessBelowUsual") {
			t.Errorf("the alert on the business is not tested: %v", err)
		}
		text, err := os.ReadFile(filepath.Join(out, "grafana", "loadline-business.json"))
		if err != nil {
			t.Fatal(err)
		}
		var page struct {
			Panels []struct {
				Title   string
				Targets []struct{ Expr string }
			}
		}
		if err := json.Unmarshal(text, &page); err != nil {
			t.Fatal(err)
		}
		chosen := strings.NewReplacer("$__rate_interval", "1m", "$cluster", ".*", "$namespace", ".*", "$job", ".+", "$instance", ".+")
		asked := 0
		for _, panel := range page.Panels {
			for _, q := range panel.Targets {
				if strings.Contains(q.Expr, "offset") {
					continue // the shop is a minute old
				}
				asked++
				if expr := chosen.Replace(q.Expr); len(p.Query(t, expr)) == 0 {
					t.Errorf("%s: no data: %s", panel.Title, expr)
				}
			}
		}
		if asked < 10 {
			t.Errorf("the page asks %d questions", asked)
		}
		if lane == server.Full { // more than a minute, and the rules are the same in both
			if text, err := server.Promtool(t, lane, nil, "test", "rules", filepath.Join(out, "testdata", "days_test.yaml")); err != nil {
				t.Errorf("%v: %s", err, text)
			}
		}
	}, server.Quick, server.Full)
}
