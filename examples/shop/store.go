package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"modernc.org/sqlite"

	"github.com/loadline-go/loadline/observe"
	"github.com/loadline-go/loadline/tracing"
)

// A store is the shop's database: SQLite or PostgreSQL, by the same statements.
type store struct {
	tel   *observe.Telemetry
	db    *sql.DB
	close func()
}

// An order is pending until it is paid or declined; a paid one is confirmed by mail.
type order struct {
	id       string
	customer string
	product  int
	method   string
	cents    int
}

// A task stands in the table of the same name, written in the transaction of
// the order that it confirms: no order without its confirmation, and no broker.
type task struct {
	order    string
	headers  map[string]string // the trace of the request that paid the order
	enqueued time.Time
	attempt  int
}

// catalog is how many products there are.
const catalog = 100

var schema = []string{
	"CREATE TABLE IF NOT EXISTS products (id BIGINT PRIMARY KEY, name TEXT NOT NULL, cents BIGINT NOT NULL)",
	"CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, customer TEXT NOT NULL, product BIGINT NOT NULL, method TEXT NOT NULL, cents BIGINT NOT NULL, state TEXT NOT NULL, placed BIGINT NOT NULL)",
	"CREATE INDEX IF NOT EXISTS orders_placed ON orders (placed)",
	"CREATE TABLE IF NOT EXISTS tasks (order_id TEXT PRIMARY KEY, headers TEXT NOT NULL, enqueued BIGINT NOT NULL, due BIGINT NOT NULL, attempt BIGINT NOT NULL)",
	"CREATE INDEX IF NOT EXISTS tasks_due ON tasks (due)",
	"CREATE TABLE IF NOT EXISTS days (day BIGINT PRIMARY KEY, orders BIGINT NOT NULL, cents BIGINT NOT NULL)",
}

// openStore opens the database at a URL that begins with postgres:// or in a
// file, or with neither in a file of its own.
func openStore(ctx context.Context, tel *observe.Telemetry, database string) (_ *store, err error) {
	remove := func() {}
	if database == "" {
		dir, err := os.MkdirTemp("", "shop-")
		if err != nil {
			return nil, err
		}
		database, remove = filepath.Join(dir, "shop.db"), func() { os.RemoveAll(dir) }
	}
	connector, err := connect(database)
	if err != nil {
		remove()
		return nil, err
	}
	s := &store{tel: tel, db: tel.OpenDB(connector, "shop")}
	s.close = func() { s.db.Close(); remove() }
	s.db.SetMaxOpenConns(8)
	s.db.SetMaxIdleConns(8)
	for try := 0; ; try++ {
		if err = s.prepare(ctx); err == nil {
			return s, nil
		}
		if try == 3 { // the other process may be making the same tables right now
			s.close()
			return nil, fmt.Errorf("database: %w", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func connect(database string) (driver.Connector, error) {
	if isURL(database) {
		config, err := pgx.ParseConfig(database)
		if err != nil {
			return nil, err
		}
		return stdlib.GetConnector(*config), nil
	}
	file, err := filepath.Abs(database)
	if err != nil {
		return nil, err
	}
	dsn := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(file),
		RawQuery: "_pragma=journal_mode(wal)&_pragma=synchronous(normal)&_pragma=busy_timeout(10000)&_txlock=immediate"}
	return sqlite.NewConnector(dsn.String())
}

func isURL(database string) bool {
	return strings.HasPrefix(database, "postgres://") || strings.HasPrefix(database, "postgresql://")
}

func (s *store) prepare(ctx context.Context) error {
	for _, statement := range schema {
		if _, err := s.db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return s.transact(ctx, func(tx *sql.Tx) error {
		for id := 1; id <= catalog; id++ {
			if _, err := tx.ExecContext(ctx, "INSERT INTO products (id, name, cents) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING",
				id, fmt.Sprint("product ", id), 500+id*7919%20000); err != nil {
				return err
			}
		}
		return nil
	})
}

// transact runs f in a transaction: all of it or nothing.
func (s *store) transact(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

func (s *store) ping(ctx context.Context) error { return s.db.PingContext(ctx) }

// product returns sql.ErrNoRows when there is no such product.
func (s *store) product(ctx context.Context, id int) (p product, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT name, cents FROM products WHERE id = $1", id).Scan(&p.Name, &p.Cents)
	return p, err
}

// place keeps an order that is about to be paid, and gives it its ID.
func (s *store) place(ctx context.Context, o *order) error {
	o.id = rand.Text()
	_, err := s.db.ExecContext(ctx, "INSERT INTO orders (id, customer, product, method, cents, state, placed) VALUES ($1, $2, $3, $4, $5, 'pending', $6)",
		o.id, o.customer, o.product, o.method, o.cents, time.Now().UnixNano())
	return err
}

// paid notes the payment of an order, and the task to confirm it.
func (s *store) paid(ctx context.Context, id string) error {
	return s.transact(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE orders SET state = 'paid' WHERE id = $1", id); err != nil {
			return err
		}
		return s.tel.Publish(ctx, observe.Job{System: queueSystem, Queue: confirmations}, func(ctx context.Context) error {
			headers := map[string]string{}
			tracing.Inject(ctx, headers) // the worker's trace leads back to this request
			text, err := json.Marshal(headers)
			if err != nil {
				return err
			}
			now := time.Now().UnixNano()
			_, err = tx.ExecContext(ctx, "INSERT INTO tasks (order_id, headers, enqueued, due, attempt) VALUES ($1, $2, $3, $4, 0)", id, string(text), now, now)
			return err
		})
	})
}

func (s *store) declined(ctx context.Context, id string) error {
	_, err := s.db.ExecContext(ctx, "UPDATE orders SET state = 'declined' WHERE id = $1", id)
	return err
}

// state returns sql.ErrNoRows when there is no such order.
func (s *store) state(ctx context.Context, id string) (state string, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT state FROM orders WHERE id = $1", id).Scan(&state)
	return state, err
}

// lease is how long a task is a worker's own; when it has died, another takes it then.
const lease = 30 * time.Second

// take returns the task that has been due for longest, and makes it this
// worker's; ok is false when there is none. The condition stands twice because
// PostgreSQL asks only the outer one again when another worker was faster.
func (s *store) take(ctx context.Context) (t task, ok bool, err error) {
	now := time.Now()
	var headers string
	var enqueued int64
	err = s.db.QueryRowContext(ctx, `UPDATE tasks SET due = $1, attempt = attempt + 1
		WHERE due <= $2 AND order_id = (SELECT order_id FROM tasks WHERE due <= $2 ORDER BY due LIMIT 1)
		RETURNING order_id, headers, enqueued, attempt`, now.Add(lease).UnixNano(), now.UnixNano()).Scan(&t.order, &headers, &enqueued, &t.attempt)
	if err == sql.ErrNoRows {
		return t, false, nil
	}
	if err == nil {
		err = json.Unmarshal([]byte(headers), &t.headers)
	}
	t.enqueued = time.Unix(0, enqueued)
	return t, err == nil, err
}

// confirmed ends a task.
func (s *store) confirmed(ctx context.Context, id string) error {
	return s.transact(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE orders SET state = 'confirmed' WHERE id = $1", id); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM tasks WHERE order_id = $1", id)
		return err
	})
}

// again puts a task back, to be due after a while.
func (s *store) again(ctx context.Context, id string, after time.Duration) error {
	_, err := s.db.ExecContext(ctx, "UPDATE tasks SET due = $1 WHERE order_id = $2", time.Now().Add(after).UnixNano(), id)
	return err
}

// backlog is how many tasks there are and since when the oldest waits.
func (s *store) backlog(ctx context.Context) (n int64, oldest time.Time, err error) {
	var enqueued sql.NullInt64
	err = s.db.QueryRowContext(ctx, "SELECT count(*), min(enqueued) FROM tasks").Scan(&n, &enqueued)
	if enqueued.Valid {
		oldest = time.Unix(0, enqueued.Int64)
	}
	return n, oldest, err
}

// closeDay adds up the orders of the day of now.
func (s *store) closeDay(ctx context.Context, now time.Time) error {
	const day = int64(24 * time.Hour)
	today := now.UnixNano() / day
	return s.transact(ctx, func(tx *sql.Tx) error {
		var orders, cents int64
		if err := tx.QueryRowContext(ctx, "SELECT count(*), coalesce(sum(cents), 0) FROM orders WHERE placed >= $1 AND placed < $2 AND state IN ('paid', 'confirmed')",
			today*day, (today+1)*day).Scan(&orders, &cents); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO days (day, orders, cents) VALUES ($1, $2, $3) ON CONFLICT (day) DO UPDATE SET orders = excluded.orders, cents = excluded.cents",
			today, orders, cents)
		return err
	})
}

// counts tells how many orders are in each state, for the summary at the end.
func (s *store) counts(ctx context.Context) (map[string]int, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT state, count(*) FROM orders GROUP BY state")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	counts := map[string]int{}
	for rows.Next() {
		var state string
		var n int
		if err := rows.Scan(&state, &n); err != nil {
			return nil, err
		}
		counts[state] = n
	}
	return counts, rows.Err()
}
