// Command replica prints the metrics of one replica of a service with many
// routes, a database, dependencies, queues and jobs, as Prometheus' protobuf
// exposition: what the cost of the rules is measured with.
//
//	go run ./dashboards/internal/replica -routes 50
package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/loadline-go/loadline/observe"
	"github.com/loadline-go/loadline/observe/capture"
)

func main() {
	routes := flag.Int("routes", 50, "how many routes the service has")
	requests := flag.Int("requests", 60, "how many requests each of them gets")
	flag.Parse()
	if err := run(context.Background(), os.Stdout, *routes, *requests); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, routes, requests int) error {
	tel, err := observe.Start(ctx, observe.Config{
		Service: "replica", AdminAddr: observe.Off, Captures: capture.Config{Dir: observe.Off},
		DiagnoseEvery: time.Second, // so that there are findings to be seen
	})
	if err != nil {
		return err
	}
	s := &service{db: tel.OpenDB(database{}, "orders"), tel: tel, client: &http.Client{Transport: tel.Transport(remote{})}}
	for _, name := range []string{"mail", "invoice", "resize"} {
		stop := tel.Queue(name, func(context.Context) (observe.Depth, error) {
			return observe.Depth{Length: 3, Capacity: 100, Added: 1000, Taken: 997}, nil
		})
		defer stop()
	}
	mux := http.NewServeMux()
	for i := range routes {
		mux.HandleFunc(fmt.Sprintf("/v1/resource%d/{id}", i), s.serve)
	}
	handler := tel.Handler(mux)
	var running sync.WaitGroup
	for i := range routes {
		running.Go(func() {
			for n := range requests {
				method := http.MethodGet
				if n%3 == 0 {
					method = http.MethodPost
				}
				target := fmt.Sprintf("/v1/resource%d/%d", i, n)
				if n%10 == 0 {
					target += "?missing"
				}
				if i%5 == 0 && n%12 == 0 {
					target += "?broken"
				}
				handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, method, target, nil))
			}
		})
	}
	running.Wait()

	scrape := httptest.NewRequestWithContext(ctx, http.MethodGet, "/metrics", nil)
	scrape.RemoteAddr = "127.0.0.1:1" // the admin pages are for this machine
	scrape.Host = "localhost"
	scrape.Header.Set("Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	answer := httptest.NewRecorder()
	tel.Admin().ServeHTTP(answer, scrape)
	if answer.Code != http.StatusOK || !strings.Contains(answer.Header().Get("Content-Type"), "protobuf") {
		return fmt.Errorf("scrape: %d %s: %.200s", answer.Code, answer.Header(), answer.Body)
	}
	_, err = answer.Body.WriteTo(out)
	return errors.Join(err, tel.Shutdown(ctx))
}

type service struct {
	tel    *observe.Telemetry
	db     *sql.DB
	client *http.Client
}

// serve takes between a tenth of a millisecond and a tenth of a second, most of
// it little, as durations are.
func (s *service) serve(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	time.Sleep(min(time.Duration(rand.ExpFloat64()*float64(5*time.Millisecond)), 100*time.Millisecond))
	fail := func(err error) { http.Error(w, err.Error(), http.StatusBadGateway) }
	if _, err := s.db.ExecContext(ctx, fmt.Sprintf("UPDATE table%d SET n = 1", rand.IntN(10))); err != nil {
		fail(err)
		return
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://service%d.example.com/", rand.IntN(5)), nil)
	if err != nil {
		fail(err)
		return
	}
	if resp, err := s.client.Do(req); err == nil {
		_ = resp.Body.Close()
	}
	_ = s.tel.Call(ctx, "payments", "charge", func(context.Context) error { return nil })
	_ = s.tel.Run(ctx, observe.Job{Name: "send", Queue: "mail"}, func(context.Context) error { return nil })
	switch r.URL.RawQuery {
	case "missing":
		http.NotFound(w, r)
	case "broken":
		http.Error(w, "broken", http.StatusInternalServerError)
	default:
		fmt.Fprintln(w, "ok")
	}
}

// remote is everything that the service calls; some of it fails.
type remote struct{}

func (remote) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(time.Duration(rand.ExpFloat64() * float64(time.Millisecond)))
	if rand.IntN(50) == 0 {
		return nil, errors.New("connection refused")
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}

// database executes any statement and knows no rows.
type database struct{}

func (d database) Connect(context.Context) (driver.Conn, error) { return conn{}, nil }
func (d database) Driver() driver.Driver                        { return d }
func (d database) Open(string) (driver.Conn, error)             { return conn{}, nil }

type conn struct{}

func (conn) Prepare(string) (driver.Stmt, error) { return nil, errors.New("nothing is prepared") }
func (conn) Close() error                        { return nil }
func (conn) Begin() (driver.Tx, error)           { return nil, errors.New("no transactions") }
func (conn) ExecContext(ctx context.Context, _ string, _ []driver.NamedValue) (driver.Result, error) {
	time.Sleep(time.Duration(rand.ExpFloat64() * float64(time.Millisecond)))
	return driver.RowsAffected(1), ctx.Err()
}
