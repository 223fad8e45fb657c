package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/loadline-go/loadline/leakcheck"
)

func TestMain(m *testing.M) { leakcheck.VerifyMain(m) }

// The whole program: it starts, serves its load, says the same on /metrics as
// its clients measured, and ends by itself.
func TestMetricsCountWhatTheClientsSent(t *testing.T) {
	leakcheck.Verify(t)
	before := slog.Default()
	defer slog.SetDefault(before)
	file := filepath.Join(t.TempDir(), "report.json")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()

	var stdout, stderr buffer
	status := make(chan int, 1)
	go func() {
		status <- run(ctx, []string{"-addr", "localhost:0", "-admin", "localhost:0", "-load", "2s", "-report", file, "-log"}, &stdout, &stderr)
	}()
	var rep report
	wait(t, status, &stderr, func() bool {
		text, err := os.ReadFile(file)
		return err == nil && json.Unmarshal(text, &rep) == nil && rep.Done
	})
	admin := regexp.MustCompile(`admin +(http://\S+)/\n`).FindStringSubmatch(stdout.String())
	if admin == nil {
		t.Fatalf("the admin address is not printed:\n%s", stdout.String())
	}

	metrics := get(t, admin[1]+"/metrics")
	for _, r := range rep.Routes {
		if r.Count == 0 {
			t.Errorf("%s %s: no request was sent", r.Method, r.Route)
		}
		if served := sum(metrics, "http_server_request_duration_seconds_count", `http_route="`+r.Route+`"`); served != r.Count {
			t.Errorf("%s %s: /metrics counts %d requests, the clients sent %d", r.Method, r.Route, served, r.Count)
		}
	}
	if paid, orders := sum(metrics, "shop_orders_total", ""), rep.Routes[1]; paid != orders.Statuses["201"] {
		t.Errorf("shop_orders_total is %d, the clients have %d orders paid", paid, orders.Statuses["201"])
	}
	if ready := get(t, admin[1]+"/readyz"); !strings.Contains(ready, "orders-db") {
		t.Errorf("/readyz does not tell of the database:\n%s", ready)
	}
	if log := stderr.String(); !strings.Contains(log, `"trace_id":"`) {
		t.Errorf("no record has a trace_id:\n%s", log)
	}

	cancel()
	wait(t, status, &stderr, nil)
	for _, line := range []string{"requests/s", "GET /products/{id}", "POST /orders", "GET /reports/daily"} {
		if !strings.Contains(stdout.String(), line) {
			t.Errorf("%q is not printed:\n%s", line, stdout.String())
		}
	}
}

func TestBadFlagsAreOneLine(t *testing.T) {
	for _, args := range []string{"-rate 5000", "-rate -1", "-rate much", "-nope", "report", "-for -1s", "-load -1s", "-pay provider", "-addr 8080", "-report no/such/folder.json"} {
		t.Run(args, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if status := run(t.Context(), strings.Fields(args), &stdout, &stderr); status != 2 {
				t.Errorf("exit status %d, want 2", status)
			}
			if got := stderr.String(); strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, "quickstart: ") {
				t.Errorf("want one line:\n%s", got)
			}
			if stdout.Len() > 0 {
				t.Errorf("standard output:\n%s", stdout.String())
			}
		})
	}
}

func TestTakenPortGivesWayToAFreeOne(t *testing.T) {
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var stdout bytes.Buffer
	if got := freeAddr(l.Addr().String(), &stdout); !strings.HasSuffix(got, ":0") {
		t.Errorf("%s is taken, and %s was chosen", l.Addr(), got)
	}
	if got := stdout.String(); strings.Count(got, "\n") != 1 {
		t.Errorf("want one line:\n%s", got)
	}
	l.Close()
	if got := freeAddr(l.Addr().String(), io.Discard); got != l.Addr().String() {
		t.Errorf("%s is free, and %s was chosen", l.Addr(), got)
	}
}

func TestLatencyQuantilesAreWithinOnePercent(t *testing.T) {
	var l latency
	if got := l.quantile(0.5); got != 0 {
		t.Errorf("quantile of nothing is %v", got)
	}
	for ms := range 1000 {
		l.add(time.Duration(ms+1) * time.Millisecond)
	}
	for q, want := range map[float64]float64{0.5: 0.5, 0.95: 0.95, 0.99: 0.99, 1: 1} {
		if got := l.quantile(q).Seconds(); got < want*0.99 || got > want*1.01 {
			t.Errorf("quantile %v is %v s, want %v s", q, got, want)
		}
	}
	l.add(0)
	l.add(time.Hour) // beyond both ends
}

// wait polls until is true, or with nil until the program ends well.
func wait(t *testing.T, status <-chan int, stderr *buffer, is func() bool) {
	t.Helper()
	deadline := time.After(60 * time.Second)
	for {
		select {
		case s := <-status:
			if is != nil || s != 0 {
				t.Fatalf("the program ended with status %d:\n%s", s, stderr.String())
			}
			return
		case <-deadline:
			t.Fatalf("not within a minute; standard error:\n%s", stderr.String())
		case <-time.After(20 * time.Millisecond):
			if is != nil && is() {
				return
			}
		}
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// sum adds up the series of a metric that have a label.
func sum(metrics, name, label string) int {
	total := 0
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, name+"{") && strings.Contains(line, label) {
			fields := strings.Fields(line[strings.LastIndexByte(line, '}')+1:])
			v, _ := strconv.ParseFloat(fields[0], 64)
			total += int(v)
		}
	}
	return total
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
