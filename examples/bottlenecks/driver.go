package main

import (
	"bufio"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The database is a process away: a line goes there with the statement, and a
// line comes back with the number of rows, after as long as the table's
// statements take. So a wait for it is a wait for a socket, and a pool of
// connections is one.

// A connector opens connections to a database.
type connector struct{ addr string }

func (c connector) Driver() driver.Driver { return lineDriver{} }

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return nil, err
	}
	return &dbConn{conn: conn, in: bufio.NewReader(conn)}, nil
}

type lineDriver struct{}

func (lineDriver) Open(name string) (driver.Conn, error) {
	return connector{name}.Connect(context.Background())
}

type dbConn struct {
	conn net.Conn
	in   *bufio.Reader
	bad  bool
}

var (
	_ driver.QueryerContext = (*dbConn)(nil)
	_ driver.ExecerContext  = (*dbConn)(nil)
	_ driver.ConnBeginTx    = (*dbConn)(nil)
	_ driver.Validator      = (*dbConn)(nil)
)

// ask sends one statement and waits for its answer. A connection on which it
// failed is not used again, because the answer may still come.
func (c *dbConn) ask(ctx context.Context, text string) (rows int, err error) {
	if c.bad {
		return 0, driver.ErrBadConn
	}
	stop := context.AfterFunc(ctx, func() { c.conn.SetDeadline(time.Now()) })
	defer stop()
	_, err = io.WriteString(c.conn, strings.ReplaceAll(text, "\n", " ")+"\n")
	var line string
	if err == nil {
		line, err = c.in.ReadString('\n')
	}
	if err == nil {
		rows, err = strconv.Atoi(strings.TrimSpace(line))
	}
	if err != nil {
		c.bad = true
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
	return rows, err
}

func (c *dbConn) QueryContext(ctx context.Context, query string, _ []driver.NamedValue) (driver.Rows, error) {
	n, err := c.ask(ctx, query)
	if err != nil {
		return nil, err
	}
	return &dbRows{left: n}, nil
}

func (c *dbConn) ExecContext(ctx context.Context, query string, _ []driver.NamedValue) (driver.Result, error) {
	n, err := c.ask(ctx, query)
	return driver.RowsAffected(n), err
}

func (c *dbConn) BeginTx(ctx context.Context, _ driver.TxOptions) (driver.Tx, error) {
	_, err := c.ask(ctx, "BEGIN")
	return dbTx{c}, err
}

func (c *dbConn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}
func (c *dbConn) Prepare(string) (driver.Stmt, error) {
	return nil, errors.New("statements are not prepared here")
}
func (c *dbConn) Close() error  { return c.conn.Close() }
func (c *dbConn) IsValid() bool { return !c.bad }

type dbTx struct{ c *dbConn }

func (t dbTx) Commit() error   { _, err := t.c.ask(context.Background(), "COMMIT"); return err }
func (t dbTx) Rollback() error { _, err := t.c.ask(context.Background(), "ROLLBACK"); return err }

type dbRows struct{ left, at int }

func (r *dbRows) Columns() []string { return []string{"id", "name"} }
func (r *dbRows) Close() error      { return nil }
func (r *dbRows) Next(row []driver.Value) error {
	if r.at == r.left {
		return io.EOF
	}
	r.at++
	row[0], row[1] = int64(r.at), "row "+strconv.Itoa(r.at)
	return nil
}

// A database answers the statements of connections.
type database struct {
	l       net.Listener
	ended   sync.WaitGroup
	mu      sync.Mutex
	open    map[net.Conn]bool
	closed  bool
	tables  map[string]table
	slower  atomic.Int64 // how many times longer all statements take
	slowest atomic.Pointer[slowTable]
	slowed  atomic.Int64 // statements that took longer than they should
}

// A table says how long its statements take and how many rows they return.
type table struct {
	takes time.Duration
	rows  int
}

type slowTable struct {
	name  string
	takes time.Duration
}

func newDatabase() (*database, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	d := &database{l: l, open: map[net.Conn]bool{}, tables: map[string]table{
		"customers": {800 * time.Microsecond, 1},
		"orders":    {time.Millisecond, 1},
		"items":     {time.Millisecond, 3},
		"prices":    {6 * time.Millisecond, 1},
		"goods":     {2 * time.Millisecond, 10},
		"invoices":  {3 * time.Millisecond, 50},
	}}
	d.slower.Store(1)
	d.ended.Go(d.accept)
	return d, nil
}

func (d *database) addr() string { return d.l.Addr().String() }

func (d *database) accept() {
	for {
		c, err := d.l.Accept()
		if err != nil {
			return
		}
		d.mu.Lock()
		if d.closed {
			c.Close()
		} else {
			d.open[c] = true
			d.ended.Go(func() { d.serve(c) })
		}
		d.mu.Unlock()
	}
}

func (d *database) serve(c net.Conn) {
	defer func() {
		c.Close()
		d.mu.Lock()
		delete(d.open, c)
		d.mu.Unlock()
	}()
	in := bufio.NewReader(c)
	for {
		text, err := in.ReadString('\n')
		if err != nil {
			return
		}
		t := table{takes: 200 * time.Microsecond} // BEGIN and its like
		name := tableOf(text)
		if known, ok := d.tables[name]; ok {
			t = known
		}
		if n := d.slower.Load(); n > 1 {
			t.takes *= time.Duration(n)
			d.slowed.Add(1)
		}
		if s := d.slowest.Load(); s != nil && s.name == name {
			t.takes = s.takes
			d.slowed.Add(1)
		}
		time.Sleep(jitter(t.takes))
		if _, err := fmt.Fprintf(c, "%d\n", t.rows); err != nil {
			return
		}
	}
}

// tableOf is the word after FROM, INTO or UPDATE.
func tableOf(text string) string {
	words := strings.Fields(text)
	for i, w := range words[:max(len(words)-1, 0)] {
		switch strings.ToUpper(w) {
		case "FROM", "INTO", "UPDATE":
			return words[i+1]
		}
	}
	return ""
}

func (d *database) close() {
	d.l.Close()
	d.mu.Lock()
	d.closed = true
	for c := range d.open {
		c.Close()
	}
	d.mu.Unlock()
	d.ended.Wait()
}
