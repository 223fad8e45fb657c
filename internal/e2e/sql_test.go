package e2e

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/lib/pq"
	"github.com/loadline-go/loadline/internal/e2e/server"
	"github.com/loadline-go/loadline/observe"
	dto "github.com/prometheus/client_model/go"
	"modernc.org/sqlite"
)

// A kind is a driver and what its server calls things.
type kind struct {
	name, system string
	open         func(t *testing.T, dsn string) driver.Connector
	parameter    string
	duplicate    string // the error type of a key that is there already; empty: any
}

var kinds = []kind{
	{"pgx", "postgresql", func(t *testing.T, dsn string) driver.Connector {
		config, err := pgx.ParseConfig(dsn)
		if err != nil {
			t.Fatal(err)
		}
		return stdlib.GetConnector(*config)
	}, "$1", "23505"},
	{"pq", "postgresql", func(t *testing.T, dsn string) driver.Connector {
		c, err := pq.NewConnector(dsn)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}, "$1", "23505"},
	{"sqlite", "sqlite", func(t *testing.T, dsn string) driver.Connector {
		return observe.Connector(&sqlite.Driver{}, dsn)
	}, "?", ""},
}

// startSQL observes this process; what it logs is in the returned buffer.
func startSQL(t *testing.T) (*observe.Telemetry, *lockedBuffer) {
	t.Helper()
	log := &lockedBuffer{}
	tel, err := observe.Start(t.Context(), observe.Config{
		Service: "e2e", AdminAddr: observe.Off, SlowQuery: 250 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tel.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return tel, log
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// What the drivers of real databases do is counted as the server counts it.
func TestDatabasesAreCountedAsTheyCountThemselves(t *testing.T) {
	lanes(t, func(t *testing.T, _ server.Lane) {
		dsn := server.StartPostgres(t)
		for _, k := range kinds {
			t.Run(k.name, func(t *testing.T) {
				tel, log := startSQL(t)
				dsn := dsn
				if k.system == "sqlite" {
					dsn = "file:" + filepath.Join(t.TempDir(), "items.db")
				}
				db := tel.OpenDB(k.open(t, dsn), "items")
				defer func() { _ = db.Close() }()
				ctx := t.Context()
				run := func(query string, args ...any) {
					t.Helper()
					if _, err := db.ExecContext(ctx, query, args...); err != nil {
						t.Fatalf("%s: %v", query, err)
					}
				}
				run("CREATE TABLE items_" + k.name + " (id INTEGER PRIMARY KEY, name TEXT)")
				books := openBooks(t, k, dsn)

				const inserts, selects = 30, 20
				for i := range inserts {
					run("INSERT INTO items_"+k.name+" VALUES ("+k.parameter+", 'hunter2')", i)
				}
				if _, err := db.ExecContext(ctx, "INSERT INTO items_"+k.name+" VALUES (1, 'hunter2')"); err == nil {
					t.Error("a second row with the key of the first")
				}
				for range selects {
					rows, err := db.QueryContext(ctx, "SELECT id, name FROM items_"+k.name+" ORDER BY id LIMIT 10")
					if err != nil {
						t.Fatal(err)
					}
					n := 0
					for rows.Next() {
						n++
					}
					if err := errors.Join(rows.Err(), rows.Close()); err != nil || n != 10 {
						t.Fatalf("%d rows: %v", n, err)
					}
				}
				// Transactions: seven are committed, five rolled back, and three lose their context.
				for i := range 15 {
					txCtx, cancel := context.WithCancel(ctx)
					tx, err := db.BeginTx(txCtx, nil)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := tx.ExecContext(ctx, "UPDATE items_"+k.name+" SET name = 'x' WHERE id = "+k.parameter, i); err != nil {
						t.Fatal(err)
					}
					switch {
					case i < 7:
						err = tx.Commit()
					case i < 12:
						err = tx.Rollback()
					default:
						cancel()
						server.Eventually(t, 10*time.Second, func() error {
							if n := db.Stats().InUse; n > 0 {
								return fmt.Errorf("%d connections in use", n)
							}
							return nil
						})
					}
					if err != nil {
						t.Fatal(err)
					}
					cancel()
				}

				operation := func(labels ...string) float64 {
					want := map[string]string{"db_namespace": "items", "db_system_name": k.system}
					for i := 0; i < len(labels); i += 2 {
						want[labels[i]] = labels[i+1]
					}
					return value(t, tel, "db_client_operation_duration_seconds", want)
				}
				table := "items_" + k.name
				for _, c := range []struct {
					what string
					got  float64
					want float64
				}{
					{"inserts", operation("db_query_summary", "INSERT "+table, "db_collection_name", table, "error_type", ""), inserts},
					{"selects", operation("db_query_summary", "SELECT "+table, "db_operation_name", "SELECT", "error_type", ""), selects},
					{"updates", operation("db_query_summary", "UPDATE "+table, "error_type", ""), 15},
					{"begins", operation("db_operation_name", "BEGIN", "error_type", ""), 15},
					{"commits", value(t, tel, "observe_db_transaction_duration_seconds", map[string]string{"result": "commit"}), 7},
					{"rollbacks", value(t, tel, "observe_db_transaction_duration_seconds", map[string]string{"result": "rollback"}), 5},
					{"abandoned", value(t, tel, "observe_db_transaction_duration_seconds", map[string]string{"result": "abandoned"}), 3},
					{"failed inserts", operation("db_query_summary", "INSERT "+table) - inserts, 1},
				} {
					if c.got != c.want {
						t.Errorf("%s: %v, want %v", c.what, c.got, c.want)
					}
				}
				if k.duplicate != "" {
					if n := operation("error_type", k.duplicate); n != 1 {
						t.Errorf("%v errors %s", n, k.duplicate)
					}
				}
				if h := histogram(t, tel, "db_client_response_returned_rows", "db_query_summary", "SELECT "+table); h.GetSampleCount() != selects || h.GetSampleSum() != 10*selects {
					t.Errorf("returned rows: %d, sum %v", h.GetSampleCount(), h.GetSampleSum())
				}
				if strings.Contains(fmt.Sprint(gather(t, tel)), "hunter2") {
					t.Error("a literal is in a label")
				}

				if k.system == "postgresql" {
					// The server's own books.
					for _, c := range []struct {
						like        string
						calls, rows float64
					}{
						{"INSERT INTO " + table + " %", inserts, inserts},
						{"SELECT id, name FROM " + table + " %", selects, 10 * selects},
						{"UPDATE " + table + " %", 15, 15},
						{"BEGIN%", 15, 0},
						{"COMMIT%", 7, 0},
					} {
						var calls, rows float64
						if err := books.QueryRow(ctx, "SELECT coalesce(sum(calls), 0), coalesce(sum(rows), 0) FROM pg_stat_statements WHERE query ILIKE $1", c.like).Scan(&calls, &rows); err != nil {
							t.Fatal(err)
						}
						if calls != c.calls || rows != c.rows {
							t.Errorf("%s: the server counts %v calls of %v rows, want %v of %v", c.like, calls, rows, c.calls, c.rows)
						}
					}
					// A slow statement is logged with its trace.
					h := tel.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
						if _, err := db.ExecContext(r.Context(), "SELECT pg_sleep(0.3), 'hunter2'"); err != nil {
							t.Error(err)
						}
					}))
					h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/slow", nil))
					if text := log.String(); !strings.Contains(text, "slow query") || !strings.Contains(text, "trace_id=") || strings.Contains(text, "hunter2") {
						t.Errorf("the log: %s", text)
					}
				}
			})
		}
	}, server.Quick)
}

// openBooks begins to count statements on the server, nil where it cannot.
func openBooks(t *testing.T, k kind, dsn string) *pgx.Conn {
	t.Helper()
	if k.system != "postgresql" {
		return nil
	}
	books, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = books.Close(context.Background()) })
	for _, query := range []string{"CREATE EXTENSION IF NOT EXISTS pg_stat_statements", "SELECT pg_stat_statements_reset()"} {
		if _, err := books.Exec(t.Context(), query); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	}
	return books
}

func histogram(t *testing.T, tel *observe.Telemetry, name, label, value string) *dto.Histogram {
	t.Helper()
	for _, f := range gather(t, tel) {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == label && l.GetValue() == value {
					return m.GetHistogram()
				}
			}
		}
	}
	return nil
}

// The states of a pool are those that the server sees of its connections, also
// while a primary and a replica are told apart by name only.
func TestPoolIsWhatTheServerSees(t *testing.T) {
	lanes(t, func(t *testing.T, _ server.Lane) {
		dsn := server.StartPostgres(t)
		tel, _ := startSQL(t)
		open := func(name string) *sql.DB {
			config, err := pgx.ParseConfig(dsn)
			if err != nil {
				t.Fatal(err)
			}
			config.RuntimeParams["application_name"] = name
			db := tel.OpenDB(stdlib.GetConnector(*config), name)
			t.Cleanup(func() { _ = db.Close() })
			return db
		}
		primary, replica := open("orders"), open("orders-replica")
		if _, err := primary.Exec("CREATE TABLE orders (id INTEGER)"); err != nil {
			t.Fatal(err)
		}
		primary.SetMaxOpenConns(4)
		primary.SetMaxIdleConns(4)
		replica.SetMaxOpenConns(2)
		replica.SetMaxIdleConns(1)
		ask, err := pgx.Connect(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = ask.Close(context.Background()) }()
		// sees is how many connections of a name the server has in a state.
		sees := func(name, states string) (n float64) {
			t.Helper()
			if err := ask.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND state LIKE $2", name, states).Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		pool := func(metric, name string, more ...string) float64 {
			labels := map[string]string{"db_client_connection_pool_name": name}
			for i := 0; i < len(more); i += 2 {
				labels[more[i]] = more[i+1]
			}
			return value(t, tel, metric, labels)
		}

		// Three transactions of the primary and all two connections of the replica are in use.
		var held []*sql.Tx
		for i := range 5 {
			db := primary
			if i >= 3 {
				db = replica
			}
			tx, err := db.Begin()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Exec("SELECT count(*) FROM orders"); err != nil {
				t.Fatal(err)
			}
			held = append(held, tx)
		}
		for name, want := range map[string]float64{"orders": 3, "orders-replica": 2} {
			used, server := pool("db_client_connection_count", name, "db_client_connection_state", "used"), sees(name, "idle in transaction")
			if used != want || server != want {
				t.Errorf("%s: %v in use, the server sees %v, want %v", name, used, server, want)
			}
		}
		// Six more wait for the replica; half of them give up.
		const waiters = 6
		var wg sync.WaitGroup
		for i := range waiters {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i%2 == 0 {
				ctx, cancel = context.WithTimeout(ctx, 300*time.Millisecond)
				defer cancel()
			}
			wg.Go(func() {
				_, err := replica.ExecContext(ctx, "SELECT count(*) FROM orders")
				if gaveUp := errors.Is(err, context.DeadlineExceeded); gaveUp != (i%2 == 0) {
					t.Errorf("waiter %d: %v", i, err)
				}
			})
		}
		server.Eventually(t, 10*time.Second, func() error {
			if n := replica.Stats().WaitCount; n != waiters {
				return fmt.Errorf("%d wait", n)
			}
			return nil
		})
		server.Eventually(t, 10*time.Second, func() error {
			if n := pool("db_client_connection_pending_requests", "orders-replica"); n != waiters/2 {
				return fmt.Errorf("%v wait after half of them gave up", n)
			}
			return nil
		})
		if n := sees("orders-replica", "%"); n != 2 {
			t.Errorf("the server sees %v connections of the replica, want 2", n)
		}
		for _, tx := range held {
			if err := tx.Rollback(); err != nil {
				t.Error(err)
			}
		}
		wg.Wait()
		s := replica.Stats()
		if n, d := pool("observe_db_client_connection_waits_total", "orders-replica"), s.WaitDuration; n != waiters || s.WaitCount != waiters || d < 900*time.Millisecond {
			t.Errorf("%v waits, database/sql has %d of %v", n, s.WaitCount, d)
		}
		server.Eventually(t, 10*time.Second, func() error {
			h := histogram(t, tel, "db_client_connection_wait_time_seconds", "db_client_connection_pool_name", "orders-replica")
			if n, sum := h.GetSampleCount(), h.GetSampleSum(); n != waiters || sum < 0.999*s.WaitDuration.Seconds() || sum > 1.001*s.WaitDuration.Seconds() {
				return fmt.Errorf("the histogram has %d waits of %v s, want %d of %v", n, sum, waiters, s.WaitDuration)
			}
			return nil
		})
		// At rest: idle to both.
		server.Eventually(t, 10*time.Second, func() error {
			for name, max := range map[string]float64{"orders": 4, "orders-replica": 1} {
				idle, seen := pool("db_client_connection_count", name, "db_client_connection_state", "idle"), sees(name, "idle")
				if idle != seen || idle == 0 || idle > max || pool("db_client_connection_idle_max", name) != max {
					return fmt.Errorf("%s: %v idle, the server sees %v, at most %v", name, idle, seen, max)
				}
			}
			return nil
		})
		// What was opened and is no longer there was closed for being one too many.
		created := value(t, tel, "db_client_connection_create_time_seconds", map[string]string{"db_client_connection_pool_name": "orders-replica"})
		closed := pool("observe_db_client_connection_closed_total", "orders-replica", "reason", "max_idle")
		if created-closed != sees("orders-replica", "%") {
			t.Errorf("%v connections were opened and %v closed", created, closed)
		}
		if p, r := value(t, tel, "db_client_operation_duration_seconds", map[string]string{"db_namespace": "orders", "db_query_summary": "SELECT orders"}),
			value(t, tel, "db_client_operation_duration_seconds", map[string]string{"db_namespace": "orders-replica", "db_query_summary": "SELECT orders", "error_type": ""}); p != 3 || r != 2+waiters/2 {
			t.Errorf("%v queries of the primary and %v of the replica", p, r)
		}
	}, server.Quick)
}

// A server that goes away and comes back: errors by class, no panic, and the
// caller's own error.
func TestDatabaseThatGoesAway(t *testing.T) {
	lanes(t, func(t *testing.T, _ server.Lane) {
		dsn := server.StartPostgres(t)
		for _, k := range kinds[:2] {
			t.Run(k.name, func(t *testing.T) {
				tel, _ := startSQL(t)
				db := tel.OpenDB(k.open(t, dsn), "orders")
				defer func() { _ = db.Close() }()
				db.SetMaxIdleConns(3)
				// The server ends every connection of the pool, again and again.
				ask, err := pgx.Connect(t.Context(), dsn)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = ask.Close(context.Background()) }()
				for range 5 {
					var pid int
					tx, err := db.Begin()
					if err != nil {
						t.Fatal(err)
					}
					if err := tx.QueryRow("SELECT pg_backend_pid()").Scan(&pid); err != nil {
						t.Fatal(err)
					}
					if _, err := ask.Exec(t.Context(), "SELECT pg_terminate_backend($1, 5000)", pid); err != nil {
						t.Fatal(err)
					}
					if _, err := tx.Exec("SELECT 1"); err == nil {
						t.Error("a statement on a connection that the server had ended")
					}
					_ = tx.Rollback()
					if err := db.QueryRow("SELECT 1").Scan(new(int)); err != nil { // on another one
						t.Error(err)
					}
				}
				labels := map[string]string{"db_namespace": "orders", "db_operation_name": "SELECT"}
				all := value(t, tel, "db_client_operation_duration_seconds", labels)
				labels["error_type"] = ""
				if failed := all - value(t, tel, "db_client_operation_duration_seconds", labels); failed != 5 {
					t.Errorf("%v failed statements, want 5", failed)
				}
				ended := 0.0
				for _, result := range []string{"commit", "rollback", "abandoned", "error"} {
					ended += value(t, tel, "observe_db_transaction_duration_seconds", map[string]string{"result": result})
				}
				if bad := value(t, tel, "observe_db_transaction_duration_seconds", map[string]string{"result": "error"}) +
					value(t, tel, "observe_db_transaction_duration_seconds", map[string]string{"result": "abandoned"}); ended != 5 || bad != 5 {
					t.Errorf("%v transactions ended, %v of them badly, want 5", ended, bad)
				}
			})
		}
	}, server.Quick)
}

// A query in a loop is told by its route, of which the server has executed as
// many, and a transaction and rows that a request forgot are what the server
// still has open for it.
func TestLoopsAndForgottenTransactions(t *testing.T) {
	lanes(t, func(t *testing.T, _ server.Lane) {
		dsn := server.StartPostgres(t)
		tel, _ := startSQL(t)
		config, err := pgx.ParseConfig(dsn)
		if err != nil {
			t.Fatal(err)
		}
		config.RuntimeParams["application_name"] = "things"
		db := tel.OpenDB(stdlib.GetConnector(*config), "things")
		defer func() { _ = db.Close() }()
		if _, err := db.Exec("CREATE TABLE things AS SELECT generate_series(1, 100) AS id"); err != nil {
			t.Fatal(err)
		}
		books := openBooks(t, kinds[0], dsn)

		var tx *sql.Tx
		var rows *sql.Rows
		mux := http.NewServeMux()
		mux.HandleFunc("GET /baskets/{n}", func(w http.ResponseWriter, r *http.Request) {
			var n int
			if _, err := fmt.Sscan(r.PathValue("n"), &n); err != nil {
				t.Error(err)
			}
			for i := range n {
				var id int
				if err := db.QueryRowContext(r.Context(), "SELECT id FROM things WHERE id = $1", i+1).Scan(&id); err != nil || id != i+1 {
					t.Errorf("%d: %v", id, err)
				}
			}
		})
		mux.HandleFunc("GET /forgets", func(w http.ResponseWriter, r *http.Request) {
			var err error
			if tx, err = db.BeginTx(context.WithoutCancel(r.Context()), nil); err != nil {
				t.Error(err)
			} else if _, err = tx.Exec("UPDATE things SET id = id WHERE id = 1"); err != nil {
				t.Error(err)
			}
			if rows, err = db.QueryContext(context.WithoutCancel(r.Context()), "SELECT id FROM things"); err != nil || !rows.Next() {
				t.Error(err)
			}
		})
		h := tel.Handler(mux)
		get := func(path string) {
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		}
		get("/forgets")
		for _, n := range []int{3, 10, 11, 50} { // more than ten are a loop
			get(fmt.Sprint("/baskets/", n))
		}
		if n := value(t, tel, "observe_db_repeated_queries_total", map[string]string{"db_query_summary": "SELECT things", "http_route": "/baskets/{n}"}); n != 2 {
			t.Errorf("%v requests with a loop, want 2", n)
		}
		var executed float64
		if err := books.QueryRow(t.Context(), "SELECT sum(calls) FROM pg_stat_statements WHERE query LIKE 'SELECT id FROM things WHERE%'").Scan(&executed); err != nil {
			t.Fatal(err)
		}
		ours := value(t, tel, "db_client_operation_duration_seconds", map[string]string{"db_query_summary": "SELECT things", "error_type": ""})
		if executed != 3+10+11+50 || ours != executed+1 {
			t.Errorf("the server executed %v, we counted %v with the one of /forgets", executed, ours)
		}
		page := httptest.NewRequest(http.MethodGet, "/debug/traces?route=GET+/baskets/%7Bn%7D&format=json", nil)
		page.RemoteAddr, page.Host = "127.0.0.1:1", "localhost"
		w := httptest.NewRecorder()
		tel.Admin().ServeHTTP(w, page)
		if !strings.Contains(w.Body.String(), "observe.db.repeated_query") {
			t.Errorf("the trace does not tell of the loop: %.2000s", w.Body)
		}

		// Left alone for a minute.
		server.Eventually(t, 3*time.Minute, func() error {
			forgotten := map[string]float64{}
			for _, kind := range []string{"transaction", "rows"} {
				forgotten[kind] = value(t, tel, "observe_db_unclosed", map[string]string{"db_client_connection_pool_name": "things", "kind": kind})
			}
			if forgotten["transaction"] != 1 || forgotten["rows"] != 1 {
				return fmt.Errorf("left open: %v", forgotten)
			}
			return nil
		})
		var inTransaction float64
		if err := books.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'things' AND state = 'idle in transaction'").Scan(&inTransaction); err != nil || inTransaction < 1 {
			t.Errorf("the server has %v open transactions: %v", inTransaction, err)
		}
		if err := errors.Join(tx.Rollback(), rows.Close()); err != nil {
			t.Error(err)
		}
		for _, kind := range []string{"transaction", "rows"} {
			if n := value(t, tel, "observe_db_unclosed", map[string]string{"db_client_connection_pool_name": "things", "kind": kind}); n != 0 {
				t.Errorf("%v %s left open after they were closed", n, kind)
			}
		}
	}, server.Quick)
}
