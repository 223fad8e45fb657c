package main

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"

	"github.com/loadline-go/loadline/observe"
)

const products = 100

// openDB makes the shop's database, in a folder that close removes.
func openDB(ctx context.Context, tel *observe.Telemetry) (db *sql.DB, close func(), err error) {
	dir, err := os.MkdirTemp("", "quickstart-")
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	dsn := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(filepath.Join(dir, "shop.db")),
		RawQuery: "_pragma=journal_mode(wal)&_pragma=synchronous(off)&_pragma=busy_timeout(5000)"}
	connector, err := sqlite.NewConnector(dsn.String())
	if err != nil {
		return nil, nil, err
	}
	db = tel.OpenDB(connector, "orders")
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(8)
	for _, statement := range []string{
		"CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, cents INTEGER)",
		"CREATE TABLE orders (id INTEGER PRIMARY KEY, product INTEGER, method TEXT, cents INTEGER)",
		fmt.Sprintf(`INSERT INTO products WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
			SELECT i, 'product ' || i, 500 + i * 7919 %% 20000 FROM n`, products),
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			db.Close()
			return nil, nil, fmt.Errorf("database: %w", err)
		}
	}
	return db, func() { db.Close(); os.RemoveAll(dir) }, nil
}

// A provider takes payments in 30 to 80 ms and fails every 50th.
type provider struct{ payments atomic.Int64 }

const failsEvery = 50

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := p.payments.Add(1)
	if err := pause(r.Context(), 30*time.Millisecond, 80*time.Millisecond); err != nil {
		return
	}
	if n%failsEvery == 0 {
		http.Error(w, "the bank does not answer", http.StatusBadGateway)
		return
	}
	answer(w, map[string]int64{"payment": n})
}

// openProvider returns the base URL of the payment provider: the one at at,
// or else one of its own, on a loopback port and observed like the shop.
func openProvider(tel *observe.Telemetry, at string) (base string, close func(), err error) {
	if at != "" {
		return at, func() {}, nil
	}
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		return "", nil, fmt.Errorf("payment provider: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /charges", &provider{})
	srv := &http.Server{Handler: tel.Handler(mux), ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan struct{})
	go func() { srv.Serve(l); ended <- struct{}{} }()
	return "http://" + l.Addr().String(), func() { srv.Close(); <-ended }, nil
}
