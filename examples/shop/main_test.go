package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/loadline-go/loadline/leakcheck"
)

func TestMain(m *testing.M) {
	if os.Getenv("SHOP_IS_A_PROCESS") != "" { // of TestTwoProcesses
		main()
	}
	leakcheck.VerifyMain(m)
}

// Both roles in one process: what /metrics says of each edge is what the
// customers saw and what stands in the database, to the last one.
func TestMetricsOfEachEdgeAreExact(t *testing.T) {
	leakcheck.Verify(t)
	p := start(t, "-load", "2s")
	rep := p.report()
	placed := rep.sum("POST", "201") + rep.sum("POST", "402") + rep.sum("POST", "502")
	paid := rep.sum("POST", "201")
	if rep.Lost != 0 || rep.Unsent != 0 || paid == 0 || rep.sum("POST", "402") == 0 || rep.sum("GET", "404") == 0 {
		t.Fatalf("the load is not what it should be: %+v", rep)
	}
	p.await("all orders to be confirmed", func() bool { return p.states()["confirmed"] == paid })
	p.await("the last task to be counted", func() bool {
		return p.metric("observe_job_duration_seconds_count", `job_name="confirm"`, `error_type=""`) == paid
	})
	// Queues and caches are asked now and then, not by the scrape.
	p.await("the queue to be looked at", func() bool {
		return strings.Contains(p.get("/metrics"), "\nobserve_queue_length{") && p.metric("observe_queue_length") == 0
	})
	looked := rep.route("/products/{id}", "200") + rep.route("/products/{id}", "404") + placed
	p.await("the cache to be looked at", func() bool { return p.metric("observe_cache_requests_total") == looked })
	misses := p.metric("observe_cache_requests_total", `result="miss"`)
	failed := p.metric("observe_job_duration_seconds_count", `job_name="confirm"`) - paid

	for _, want := range []struct {
		what   string
		n      int
		metric string
		labels []string
	}{
		{"products shown", rep.route("/products/{id}", "200"), "http_server_request_duration_seconds_count", []string{`http_route="/products/{id}"`, `code="200"`}},
		{"products that do not exist", rep.route("/products/{id}", "404"), "http_server_request_duration_seconds_count", []string{`http_route="/products/{id}"`, `code="404"`}},
		{"orders taken", paid, "http_server_request_duration_seconds_count", []string{`http_route="/orders"`, `code="201"`}},
		{"orders looked up", rep.route("/orders/{id}", "200"), "http_server_request_duration_seconds_count", []string{`http_route="/orders/{id}"`, `code="200"`}},

		{"orders paid", paid, "shop_orders_total", []string{`result="paid"`}},
		{"orders declined", rep.sum("POST", "402"), "shop_orders_total", []string{`result="declined"`}},
		{"orders failed", rep.sum("POST", "502"), "shop_orders_total", []string{`result="failed"`}},
		{"values of orders", paid, "shop_order_euros_count", nil},

		{"payments asked for", placed, "http_client_request_duration_seconds_count", []string{`url_template="/charges"`}},
		{"payments declined", rep.sum("POST", "402"), "http_client_request_duration_seconds_count", []string{`method="POST"`, `code="402"`}},
		{"mails sent", paid, "http_client_request_duration_seconds_count", []string{`url_template="/mails/{order}"`, `code="202"`}},
		{"mails that failed", failed, "http_client_request_duration_seconds_count", []string{`method="PUT"`, `code="503"`}},

		{"orders kept", placed, "db_client_operation_duration_seconds_count", []string{`summary="INSERT orders"`}},
		{"orders changed", 2*paid + rep.sum("POST", "402"), "db_client_operation_duration_seconds_count", []string{`summary="UPDATE orders"`}},
		{"products read", misses, "db_client_operation_duration_seconds_count", []string{`summary="SELECT products"`}},
		{"tasks kept", paid, "db_client_operation_duration_seconds_count", []string{`summary="INSERT tasks"`}},
		{"tasks put back", failed, "db_client_operation_duration_seconds_count", []string{`summary="UPDATE tasks"`}},
		{"tasks done", paid, "db_client_operation_duration_seconds_count", []string{`summary="DELETE tasks"`}},
		{"transactions undone", 0, "observe_db_transaction_duration_seconds_count", []string{`result="rollback"`}},
		{"rows and transactions left open", 0, "observe_db_unclosed", nil},

		{"products fetched for the cache", misses, "observe_cache_load_duration_seconds_count", []string{`cache="products"`}},

		{"tasks published", paid, "messaging_client_sent_messages_total", []string{`destination_name="confirmations"`}},
		{"tasks taken", paid + failed, "messaging_client_consumed_messages_total", []string{`destination_name="confirmations"`}},
		{"tasks that waited", paid + failed, "observe_job_wait_seconds_count", []string{`job_name="confirm"`}},
		{"tasks tried again", failed, "observe_job_retries_total", []string{`job_name="confirm"`}},
		{"tasks in work", 0, "observe_job_active", []string{`job_name="confirm"`}},
		{"workers", hands, "observe_queue_consumers", []string{`queue="confirmations"`}},
		{"lateness of the day's closing", 0, "observe_job_overdue_seconds", []string{`job_name="close-day"`}},
	} {
		if got := p.metric(want.metric, want.labels...); got != want.n {
			t.Errorf("%s: %s%v is %d, want %d", want.what, want.metric, want.labels, got, want.n)
		}
	}
	if got, want := p.states(), map[string]int{"confirmed": paid, "declined": rep.sum("POST", "402"), "pending": rep.sum("POST", "502")}; fmt.Sprint(got) != fmt.Sprint(withoutZeros(want)) {
		t.Errorf("the database has %v, want %v", got, want)
	}
	// The closing of the day reads orders too, perhaps right now.
	closings := p.metric("observe_job_duration_seconds_count", `job_name="close-day"`)
	read := p.metric("db_client_operation_duration_seconds_count", `summary="SELECT orders"`) - rep.route("/orders/{id}", "200")
	if after := p.metric("observe_job_duration_seconds_count", `job_name="close-day"`); closings == 0 || read < closings || read > after+1 {
		t.Errorf("the day was closed %d times before and %d times after %d reads of orders", closings, after, read)
	}
	// 300 customers at most, within six standard errors.
	if users := p.metric("shop_active_users", `window="1h"`); users == 0 || users > customers+30 {
		t.Errorf("%d active users", users)
	}
	if ready := p.get("/readyz"); !strings.Contains(ready, "database") {
		t.Errorf("/readyz does not tell of the database:\n%s", ready)
	}
	for _, line := range []string{"requests/s", "orders/min", "€", "POST /orders", fmt.Sprintf("%d orders paid", paid)} {
		if !strings.Contains(p.stdout.String(), line) {
			t.Errorf("%q is not printed:\n%s", line, p.stdout.String())
		}
	}
	p.end()
}

// Told to stop in the middle of its load, the shop finishes what it took: each
// order that stands paid in the database was answered as paid, and each that
// was answered stands there.
func TestNoOrderIsLostAtTheEnd(t *testing.T) {
	leakcheck.Verify(t)
	p := start(t, "-rate", "200")
	p.await("orders", func() bool { return p.metric("shop_orders_total", `result="paid"`) > 20 })
	p.end()
	rep := p.report()
	states := p.states()
	if paid := rep.sum("POST", "201"); rep.Lost != 0 || states["paid"]+states["confirmed"] != paid || states["declined"] != rep.sum("POST", "402") || states["pending"] != rep.sum("POST", "502") {
		t.Errorf("the customers have %d orders paid, %d declined, %d failed and %d requests lost; the database has %v",
			paid, rep.sum("POST", "402"), rep.sum("POST", "502"), rep.Lost, states)
	}
}

// Web and worker in a process each, with the database between them.
func TestTwoProcesses(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be told to stop there")
	}
	dir := t.TempDir()
	database := filepath.Join(dir, "shop.db")
	worker := startProcess(t, dir, database, "-role", "worker")
	web := startProcess(t, dir, database, "-role", "web", "-load", "1s")
	paid := web.report().sum("POST", "201")
	if paid == 0 {
		t.Fatalf("no order was paid:\n%s", web.stderr.String())
	}
	web.await("the worker to confirm them", func() bool { return web.states()["confirmed"] == paid })
	worker.await("the worker to have counted them", func() bool {
		return worker.metric("observe_job_duration_seconds_count", `job_name="confirm"`, `error_type=""`) == paid
	})
	if got := web.metric("shop_orders_total", `result="paid"`); got != paid {
		t.Errorf("the web process counts %d orders paid, its customers %d", got, paid)
	}
	if got := web.metric("http_client_request_duration_seconds_count", `method="PUT"`); got != 0 {
		t.Errorf("the web process sent %d mails", got)
	}
	web.end()
	worker.end()
}

func TestFlagsAreChecked(t *testing.T) {
	for want, args := range map[string][]string{
		`shop: -role "boss": want web, worker or all`:                                       {"-role", "boss"},
		`shop: -role web: -database is missing: the web process and the worker meet in one`: {"-role", "web"},
		`shop: -addr "8080": want host:port`:                                                {"-addr", "8080"},
		`shop: -providers "there": want http://host:port`:                                   {"-providers", "there"},
		`shop: -rate 100000: want 0 to 1000`:                                                {"-rate", "100000"},
		`shop: -for -1s is negative`:                                                        {"-for", "-1s"},
		`shop: unexpected argument "now"`:                                                   {"now"},
		`shop: -report "/there/is/none/report.json": there is no such folder`:               {"-report", "/there/is/none/report.json"},
		`shop: observe: Start: Config.AdminAddr: "nowhere": want host:port, :port or "off"`: {"-admin", "nowhere"},
		`shop: database: `: {"-database", "postgres://nobody@127.0.0.1:1/none?connect_timeout=1", "-admin", "off"},
	} {
		var stdout, stderr bytes.Buffer
		if status := run(t.Context(), args, &stdout, &stderr); status == 0 || !strings.HasPrefix(stderr.String(), want) {
			t.Errorf("%v: status %d\n%swant\n%s", args, status, stderr.String(), want)
		}
	}
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), []string{"-h"}, &stdout, &stderr); status != 0 || !strings.Contains(stdout.String(), "-role") {
		t.Errorf("status %d, %s", status, stdout.String())
	}
}

// program is a shop under test, within this process or in one of its own.
type program struct {
	*testing.T
	database, file string
	stdout, stderr buffer
	stop           func()
	status         chan int
}

func start(t *testing.T, args ...string) *program {
	t.Helper()
	before := slog.Default()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	p := &program{T: t, database: filepath.Join(dir, "shop.db"), file: filepath.Join(dir, "report.json"), stop: cancel, status: make(chan int, 1)}
	go func() { p.status <- run(ctx, append(p.flags(), args...), &p.stdout, &p.stderr) }()
	t.Cleanup(func() { cancel(); slog.SetDefault(before) })
	return p
}

func startProcess(t *testing.T, dir, database string, args ...string) *program {
	t.Helper()
	p := &program{T: t, database: database, file: filepath.Join(dir, "report.json"), status: make(chan int, 1)}
	cmd := exec.Command(os.Args[0], append(p.flags(), args...)...)
	cmd.Env = append(os.Environ(), "SHOP_IS_A_PROCESS=1")
	cmd.Stdout, cmd.Stderr = &p.stdout, &p.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.stop = func() { cmd.Process.Signal(syscall.SIGTERM) }
	go func() {
		cmd.Wait()
		p.status <- cmd.ProcessState.ExitCode()
	}()
	t.Cleanup(func() { cmd.Process.Kill() })
	return p
}

func (p *program) flags() []string {
	return []string{"-addr", "localhost:0", "-admin", "localhost:0", "-database", p.database, "-report", p.file, "-log"}
}

// end tells the program to stop and waits until it has.
func (p *program) end() {
	p.Helper()
	p.stop()
	select {
	case status := <-p.status:
		if status != 0 {
			p.Fatalf("the program ended with status %d:\n%s", status, p.stderr.String())
		}
	case <-time.After(time.Minute):
		p.Fatalf("the program does not end:\n%s", p.stderr.String())
	}
}

func (p *program) await(what string, is func() bool) {
	p.Helper()
	deadline := time.Now().Add(time.Minute)
	for !is() {
		select {
		case status := <-p.status:
			p.Fatalf("waiting for %s: the program ended with status %d:\n%s", what, status, p.stderr.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.Fatalf("a minute is over, still waiting for %s:\n%s\n%s", what, p.stdout.String(), p.stderr.String())
		}
	}
}

// report waits for the load to end.
func (p *program) report() (r seen) {
	p.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		if text, err := os.ReadFile(p.file); err == nil {
			if err := json.Unmarshal(text, &r); err != nil {
				p.Fatal(err)
			}
			return r
		}
		if time.Now().After(deadline) {
			p.Fatalf("no report within a minute:\n%s", p.stderr.String())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// seen is a report.
type seen struct{ report }

func (r seen) sum(method, status string) (n int) {
	for _, route := range r.Routes {
		if route.Method == method {
			n += route.Statuses[status]
		}
	}
	return n
}

func (r seen) route(pattern, status string) int {
	for _, route := range r.Routes {
		if route.Route == pattern && route.Method == "GET" {
			return route.Statuses[status]
		}
	}
	return 0
}

var adminLine = regexp.MustCompile(`admin +(http://\S+)/\n`)

// get reads a page of the admin address, empty while there is none.
func (p *program) get(path string) string {
	p.Helper()
	admin := adminLine.FindStringSubmatch(p.stdout.String())
	if admin == nil {
		return ""
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	resp, err := client.Get(admin[1] + path)
	if err != nil {
		p.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.Fatal(err)
	}
	return string(body)
}

// metric adds up the series of a metric that have all the labels.
func (p *program) metric(name string, labels ...string) (total int) {
	p.Helper()
lines:
	for line := range strings.Lines(p.get("/metrics")) {
		series, value := line[:strings.LastIndexByte(line, ' ')+1], line[strings.LastIndexByte(line, ' ')+1:]
		if !strings.HasPrefix(series, name+" ") && !strings.HasPrefix(series, name+"{") {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(series, l) {
				continue lines
			}
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil {
			p.Fatalf("%s: %v", line, err)
		}
		total += int(v)
	}
	return total
}

// states asks the database itself, past all that observes.
func (p *program) states() map[string]int {
	p.Helper()
	connector, err := connect(p.database)
	if err != nil {
		p.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	counts, err := (&store{db: db}).counts(p.Context())
	if err != nil {
		p.Fatal(err)
	}
	return counts
}

func withoutZeros(m map[string]int) map[string]int {
	for k, v := range m {
		if v == 0 {
			delete(m, k)
		}
	}
	return m
}

// buffer is a bytes.Buffer that may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
