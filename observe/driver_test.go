package observe

//lint:file-ignore SA1019 old drivers have only the old interfaces

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
)

// fake is a database that does nothing but write down what is asked of it. Its
// connections and statements are put together from parts, so that each has
// exactly the optional interfaces that a test wants.
type fake struct {
	newConn func(*fake) driver.Conn
	newStmt func(*fake) driver.Stmt
	fail    map[string][]error // what calls of a method return, in turn; the last for good
	before  func(method string)

	mu    sync.Mutex
	calls []string
}

func (f *fake) Connect(ctx context.Context) (driver.Conn, error) {
	if err := f.call("Connect"); err != nil {
		return nil, err
	}
	return f.newConn(f), nil
}
func (f *fake) Driver() driver.Driver            { return f }
func (f *fake) Open(string) (driver.Conn, error) { return f.Connect(context.Background()) }
func (f *fake) call(method string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, strings.TrimSpace(fmt.Sprintln(append([]any{method}, args...)...)))
	if f.before != nil {
		f.before(method)
	}
	errs := f.fail[method]
	if len(errs) == 0 {
		return nil
	}
	if len(errs) > 1 {
		f.fail[method] = errs[1:]
	}
	if p, ok := errs[0].(panicError); ok {
		panic(p)
	}
	return errs[0]
}

type panicError string

func (p panicError) Error() string { return string(p) }

// The parts of a connection.
type (
	plainConn  struct{ f *fake }
	queryCtx   struct{ f *fake }
	execCtx    struct{ f *fake }
	queryOld   struct{ f *fake }
	execOld    struct{ f *fake }
	prepareCtx struct{ f *fake }
	beginCtx   struct{ f *fake }
	pings      struct{ f *fake }
	resets     struct{ f *fake }
	validates  struct{ f *fake }
	checks     struct{ f *fake }
)

func (c plainConn) Prepare(query string) (driver.Stmt, error) {
	if err := c.f.call("Prepare", query); err != nil {
		return nil, err
	}
	return c.f.newStmt(c.f), nil
}
func (c plainConn) Close() error { return c.f.call("Close") }
func (c plainConn) Begin() (driver.Tx, error) {
	if err := c.f.call("Begin"); err != nil {
		return nil, err
	}
	return fakeTx(c), nil
}

func (c queryCtx) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if err := c.f.call("QueryContext", ctx.Err(), query, args); err != nil {
		return nil, err
	}
	return &fakeRows{}, nil
}
func (c execCtx) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if err := c.f.call("ExecContext", ctx.Err(), query, args); err != nil {
		return nil, err
	}
	return driver.RowsAffected(7), nil
}
func (c queryOld) Query(query string, args []driver.Value) (driver.Rows, error) {
	if err := c.f.call("Query", query, args); err != nil {
		return nil, err
	}
	return &fakeRows{}, nil
}
func (c execOld) Exec(query string, args []driver.Value) (driver.Result, error) {
	if err := c.f.call("Exec", query, args); err != nil {
		return nil, err
	}
	return driver.RowsAffected(7), nil
}
func (c prepareCtx) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if err := c.f.call("PrepareContext", ctx.Err(), query); err != nil {
		return nil, err
	}
	return c.f.newStmt(c.f), nil
}
func (c beginCtx) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if err := c.f.call("BeginTx", ctx.Err(), opts); err != nil {
		return nil, err
	}
	return fakeTx(c), nil
}
func (c pings) Ping(ctx context.Context) error          { return c.f.call("Ping", ctx.Err()) }
func (c resets) ResetSession(ctx context.Context) error { return c.f.call("ResetSession", ctx.Err()) }
func (c validates) IsValid() bool                       { return c.f.call("IsValid") == nil }
func (c checks) CheckNamedValue(v *driver.NamedValue) error {
	return check(c.f, "conn.CheckNamedValue", v)
}

// point is a value that database/sql does not know.
type point struct{ x, y int }

func check(f *fake, method string, v *driver.NamedValue) error {
	if err := f.call(method, v.Name, v.Ordinal, show(v.Value)); err != nil {
		return err
	}
	if p, ok := v.Value.(point); ok {
		v.Value = fmt.Sprintf("checked(%d,%d)", p.x, p.y)
		return nil
	}
	return driver.ErrSkip
}

// show is a value without the addresses that differ from run to run.
func show(v any) any {
	switch reflect.ValueOf(v).Kind() {
	case reflect.Pointer, reflect.Chan:
		return fmt.Sprintf("%T", v)
	}
	return v
}

type fakeTx struct{ f *fake }

func (t fakeTx) Commit() error   { return t.f.call("Commit") }
func (t fakeTx) Rollback() error { return t.f.call("Rollback") }

type fakeRows struct{ n int }

func (r *fakeRows) Columns() []string { return []string{"id"} }
func (r *fakeRows) Close() error      { return nil }
func (r *fakeRows) Next(to []driver.Value) error {
	if r.n++; r.n > 1 {
		return io.EOF
	}
	to[0] = int64(42)
	return nil
}

// The parts of a statement.
type (
	plainStmt    struct{ f *fake }
	stmtCtx      struct{ f *fake }
	stmtQueryCtx struct{ f *fake }
	stmtChecks   struct{ f *fake }
	stmtConverts struct{ f *fake }
)

func (s plainStmt) Close() error  { return s.f.call("stmt.Close") }
func (s plainStmt) NumInput() int { return -1 }
func (s plainStmt) Exec(args []driver.Value) (driver.Result, error) {
	if err := s.f.call("stmt.Exec", args); err != nil {
		return nil, err
	}
	return driver.RowsAffected(7), nil
}
func (s plainStmt) Query(args []driver.Value) (driver.Rows, error) {
	if err := s.f.call("stmt.Query", args); err != nil {
		return nil, err
	}
	return &fakeRows{}, nil
}
func (s stmtCtx) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	if err := s.f.call("stmt.ExecContext", ctx.Err(), args); err != nil {
		return nil, err
	}
	return driver.RowsAffected(7), nil
}
func (s stmtQueryCtx) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	if err := s.f.call("stmt.QueryContext", ctx.Err(), args); err != nil {
		return nil, err
	}
	return &fakeRows{}, nil
}
func (s stmtChecks) CheckNamedValue(v *driver.NamedValue) error {
	return check(s.f, "stmt.CheckNamedValue", v)
}
func (s stmtConverts) ColumnConverter(i int) driver.ValueConverter { return converter{s.f, i} }

type converter struct {
	f *fake
	i int
}

func (c converter) ConvertValue(v any) (driver.Value, error) {
	if err := c.f.call("ConvertValue", c.i, show(v)); err != nil {
		return nil, err
	}
	if p, ok := v.(point); ok {
		return fmt.Sprintf("converted(%d,%d)", p.x, p.y), nil
	}
	return driver.DefaultParameterConverter.ConvertValue(v)
}

var fakeConns = map[string]func(*fake) driver.Conn{
	"plain": func(f *fake) driver.Conn { return plainConn{f} },
	"old": func(f *fake) driver.Conn {
		return struct {
			plainConn
			queryOld
			execOld
		}{plainConn{f}, queryOld{f}, execOld{f}}
	},
	"old query": func(f *fake) driver.Conn {
		return struct {
			plainConn
			queryOld
		}{plainConn{f}, queryOld{f}}
	},
	"old exec": func(f *fake) driver.Conn {
		return struct {
			plainConn
			execOld
		}{plainConn{f}, execOld{f}}
	},
	"query": func(f *fake) driver.Conn {
		return struct {
			plainConn
			queryCtx
		}{plainConn{f}, queryCtx{f}}
	},
	"exec, checks": func(f *fake) driver.Conn {
		return struct {
			plainConn
			execCtx
			checks
		}{plainConn{f}, execCtx{f}, checks{f}}
	},
	"query, old exec": func(f *fake) driver.Conn {
		return struct {
			plainConn
			queryCtx
			execOld
		}{plainConn{f}, queryCtx{f}, execOld{f}}
	},
	"checks": func(f *fake) driver.Conn {
		return struct {
			plainConn
			checks
		}{plainConn{f}, checks{f}}
	},
	"prepare, begin": func(f *fake) driver.Conn {
		return struct {
			plainConn
			prepareCtx
			beginCtx
		}{plainConn{f}, prepareCtx{f}, beginCtx{f}}
	},
	"resets, validates": func(f *fake) driver.Conn {
		return struct {
			plainConn
			resets
			validates
		}{plainConn{f}, resets{f}, validates{f}}
	},
	"all": func(f *fake) driver.Conn {
		return struct {
			plainConn
			queryCtx
			execCtx
			queryOld
			execOld
			prepareCtx
			beginCtx
			pings
			resets
			validates
			checks
		}{plainConn{f}, queryCtx{f}, execCtx{f}, queryOld{f}, execOld{f}, prepareCtx{f}, beginCtx{f}, pings{f}, resets{f}, validates{f}, checks{f}}
	},
}

var fakeStmts = map[string]func(*fake) driver.Stmt{
	"plain": func(f *fake) driver.Stmt { return plainStmt{f} },
	"contexts": func(f *fake) driver.Stmt {
		return struct {
			plainStmt
			stmtCtx
			stmtQueryCtx
		}{plainStmt{f}, stmtCtx{f}, stmtQueryCtx{f}}
	},
	"checks": func(f *fake) driver.Stmt {
		return struct {
			plainStmt
			stmtChecks
		}{plainStmt{f}, stmtChecks{f}}
	},
	"converts": func(f *fake) driver.Stmt {
		return struct {
			plainStmt
			stmtConverts
		}{plainStmt{f}, stmtConverts{f}}
	},
	"checks, converts, query context": func(f *fake) driver.Stmt {
		return struct {
			plainStmt
			stmtQueryCtx
			stmtChecks
			stmtConverts
		}{plainStmt{f}, stmtQueryCtx{f}, stmtChecks{f}, stmtConverts{f}}
	},
}

var errBoom = errors.New("boom")

// script runs statements against a database and writes down what it sees.
type script struct {
	t    testing.TB
	ctx  context.Context
	db   *sql.DB
	seen []string
}

func (s *script) say(what string, err error, more ...any) {
	s.seen = append(s.seen, fmt.Sprintf("%s: %v (%T, boom %t)%v", what, err, err, err == errBoom, more))
}

func (s *script) query(on interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}, args ...any) {
	var id int
	err := on.QueryRowContext(s.ctx, "SELECT id FROM items WHERE id = ?", args...).Scan(&id)
	s.say("query", err, id)
}

func (s *script) exec(on interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}, args ...any) {
	res, err := on.ExecContext(s.ctx, "UPDATE items SET a = ?", args...)
	n := int64(0)
	if err == nil {
		n, _ = res.RowsAffected()
	}
	s.say("exec", err, n)
}

func (s *script) everything() {
	text := "pointed"
	for _, args := range [][]any{{}, {1}, {"a", nil, 2.5}, {&text}, {sql.Named("n", 1)}, {sql.NullString{String: "x", Valid: true}}, {point{1, 2}}, {1, point{3, 4}}, {make(chan int)}} {
		s.query(s.db, args...)
		s.exec(s.db, args...)
	}
	for _, query := range []string{"SELECT id FROM items WHERE id = ?", "UPDATE items SET a = ?"} {
		st, err := s.db.PrepareContext(s.ctx, query)
		s.say("prepare", err)
		if err != nil {
			continue
		}
		for _, args := range [][]any{{1}, {point{1, 2}}, {sql.Named("n", 1)}, {make(chan int)}} {
			var id int
			s.say("stmt.query", st.QueryRowContext(s.ctx, args...).Scan(&id), id)
			_, err := st.ExecContext(s.ctx, args...)
			s.say("stmt.exec", err)
		}
		s.say("stmt.close", st.Close())
	}
	for _, opts := range []*sql.TxOptions{nil, {}, {Isolation: sql.LevelSerializable}, {ReadOnly: true}} {
		for _, end := range []string{"commit", "rollback"} {
			tx, err := s.db.BeginTx(s.ctx, opts)
			s.say("begin", err)
			if err != nil {
				continue
			}
			s.query(tx, 1)
			s.exec(tx, 1)
			if end == "commit" {
				s.say(end, tx.Commit())
			}
			s.say("rollback", tx.Rollback())
		}
	}
	s.say("ping", s.db.PingContext(s.ctx))
	c, err := s.db.Conn(s.ctx)
	s.say("conn", err)
	if err == nil {
		s.query(c, 1)
		s.say("conn.close", c.Close())
	}
}

// runScript returns what a script saw, and what the driver was asked for.
func runScript(t testing.TB, f *fake, open func(driver.Connector) *sql.DB, ctx context.Context, do func(*script)) (seen []string) {
	s := &script{t: t, ctx: ctx, db: open(f)}
	s.db.SetMaxOpenConns(1)
	func() {
		defer func() {
			if p := recover(); p != nil {
				s.seen = append(s.seen, fmt.Sprint("panic ", p))
			}
		}()
		do(s)
	}()
	s.say("close", s.db.Close())
	return append(s.seen, f.calls...)
}

// TestDriversBehaveAsWithoutLoadline runs the same programs on plain
// database/sql and through OpenDB, for drivers of every kind: what the program
// sees and what the driver is asked for must be the same.
func TestDriversBehaveAsWithoutLoadline(t *testing.T) {
	tel := start(t, Config{})
	watched := func(c driver.Connector) *sql.DB { return tel.OpenDB(c, "fake") }
	skip, bad := driver.ErrSkip, driver.ErrBadConn
	troubles := map[string]map[string][]error{
		"":           nil,
		"skip query": {"QueryContext": {skip}, "Query": {skip}},
		"skip exec":  {"ExecContext": {skip}, "Exec": {skip}},
		"boom": {"QueryContext": {errBoom}, "Query": {errBoom}, "ExecContext": {errBoom}, "Exec": {errBoom}, "stmt.Query": {errBoom}, "stmt.QueryContext": {errBoom},
			"stmt.Exec": {errBoom}, "Commit": {errBoom}, "Rollback": {errBoom}, "Ping": {errBoom}, "stmt.Close": {errBoom}},
		"boom at prepare":  {"Prepare": {errBoom}, "PrepareContext": {errBoom}, "Begin": {errBoom}, "BeginTx": {errBoom}},
		"boom at connect":  {"Connect": {errBoom}},
		"bad at connect":   {"Connect": {bad, nil}},
		"bad once":         {"QueryContext": {bad, nil}, "Query": {bad, nil}, "ExecContext": {bad, nil}, "Exec": {bad, nil}, "Prepare": {bad, nil}, "BeginTx": {bad, nil}, "Ping": {bad, nil}},
		"bad":              {"QueryContext": {bad}, "Query": {bad}, "ExecContext": {bad}, "Exec": {bad}, "Prepare": {bad}, "stmt.Exec": {bad}, "BeginTx": {bad}, "Commit": {bad}},
		"wrapped bad":      {"QueryContext": {fmt.Errorf("x: %w", bad)}, "ExecContext": {fmt.Errorf("x: %w", bad)}},
		"reset fails":      {"ResetSession": {nil, bad, nil}},
		"invalid":          {"IsValid": {errBoom}},
		"check removes":    {"conn.CheckNamedValue": {driver.ErrRemoveArgument}, "stmt.CheckNamedValue": {driver.ErrRemoveArgument}},
		"check fails":      {"conn.CheckNamedValue": {errBoom}, "stmt.CheckNamedValue": {errBoom}, "ConvertValue": {errBoom}},
		"panic in query":   {"QueryContext": {panicError("p")}, "Query": {panicError("p")}, "stmt.Query": {panicError("p")}, "stmt.QueryContext": {panicError("p")}},
		"panic in exec":    {"ExecContext": {panicError("p")}, "Exec": {panicError("p")}, "stmt.Exec": {panicError("p")}, "stmt.ExecContext": {panicError("p")}},
		"panic at prepare": {"Prepare": {panicError("p")}, "PrepareContext": {panicError("p")}},
		"panic at begin":   {"Begin": {panicError("p")}, "BeginTx": {panicError("p")}},
	}
	scripts := map[string]func(ctx context.Context, cancel func()) (context.Context, func(*fake), func(*script)){
		"everything": func(ctx context.Context, cancel func()) (context.Context, func(*fake), func(*script)) {
			return ctx, nil, (*script).everything
		},
		"canceled before": func(ctx context.Context, cancel func()) (context.Context, func(*fake), func(*script)) {
			cancel()
			return ctx, nil, (*script).everything
		},
		"canceled at prepare": func(ctx context.Context, cancel func()) (context.Context, func(*fake), func(*script)) {
			return ctx, func(f *fake) {
					f.before = func(method string) {
						if method == "Prepare" {
							cancel()
						}
					}
				}, func(s *script) {
					_, err := s.db.PrepareContext(s.ctx, "SELECT 1")
					s.say("prepare", err)
				}
		},
		"canceled at begin": func(ctx context.Context, cancel func()) (context.Context, func(*fake), func(*script)) {
			return ctx, func(f *fake) {
					f.before = func(method string) {
						if method == "Begin" {
							cancel()
						}
					}
				}, func(s *script) {
					tx, err := s.db.BeginTx(s.ctx, nil)
					s.say("begin", err)
					if err == nil {
						tx.Rollback()
					}
				}
		},
	}
	for connName, newConn := range fakeConns {
		for stmtName, newStmt := range fakeStmts {
			for trouble, fail := range troubles {
				for scriptName, prepare := range scripts {
					if scriptName != "everything" && trouble != "" {
						continue
					}
					run := func(open func(driver.Connector) *sql.DB) []string {
						ctx, cancel := context.WithCancel(context.Background())
						defer cancel()
						f := &fake{newConn: newConn, newStmt: newStmt, fail: map[string][]error{}}
						for method, errs := range fail {
							f.fail[method] = errs
						}
						ctx, arrange, do := prepare(ctx, cancel)
						if arrange != nil {
							arrange(f)
						}
						return runScript(t, f, open, ctx, do)
					}
					want, got := run(sql.OpenDB), run(watched)
					if i := firstDifference(got, want); i >= 0 {
						t.Fatalf("conn %q, stmt %q, trouble %q, script %q: step %d\n got %s\nwant %s", connName, stmtName, trouble, scriptName, i,
							strings.Join(got[max(0, i-2):min(len(got), i+2)], "\n     "), strings.Join(want[max(0, i-2):min(len(want), i+2)], "\n     "))
					}
				}
			}
		}
	}
}

func firstDifference(a, b []string) int {
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			return i
		}
	}
	return -1
}

// Every connection that Raw gives leads to the driver's own.
func TestRawConnectionUnwraps(t *testing.T) {
	tel := start(t, Config{})
	for name, newConn := range fakeConns {
		f := &fake{newConn: newConn, newStmt: fakeStmts["plain"]}
		db := tel.OpenDB(f, "fake")
		c, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		err = c.Raw(func(dc any) error {
			inner := dc.(interface{ Unwrap() driver.Conn }).Unwrap()
			if want := reflect.TypeOf(newConn(f)); reflect.TypeOf(inner) != want {
				t.Errorf("%s: Unwrap gives a %T, want a %v", name, inner, want)
			}
			_, query := inner.(driver.QueryerContext)
			_, old := inner.(driver.Queryer)
			if _, ok := dc.(driver.QueryerContext); ok != (query || old) {
				t.Errorf("%s: QueryerContext: %t", name, ok)
			}
			return errBoom
		})
		if err != errBoom {
			t.Errorf("%s: Raw: %v", name, err)
		}
		c.Close()
		db.Close()
		if !slices.Contains(f.calls, "Close") {
			t.Errorf("%s: the connection was not closed", name)
		}
	}
}
