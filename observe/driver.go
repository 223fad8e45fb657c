package observe

//lint:file-ignore SA1019 old drivers have only the old interfaces

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
)

type connector struct {
	driver.Connector
	db *database
}

func (c *connector) Connect(ctx context.Context) (_ driver.Conn, err error) {
	e, returned := c.db.connect.start(ctx), false
	defer func() { e.end(err, returned) }()
	dc, err := c.Connector.Connect(e.span)
	returned = true
	if err != nil {
		return nil, err
	}
	return wrap(dc, c.db), nil
}

// Close is called by sql.DB.Close.
func (c *connector) Close() error {
	c.db.tel.pools.remove(c.db.pool)
	if closer, ok := c.Connector.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

// wrap gives dc a wrapper that can run a statement without preparing it if dc
// can. It must not be able to where dc cannot: database/sql would check the
// arguments first, by other rules than those of the prepared statement.
func wrap(dc driver.Conn, db *database) driver.Conn {
	c := &conn{Conn: dc, db: db}
	c.queryer, _ = dc.(driver.QueryerContext)
	c.execer, _ = dc.(driver.ExecerContext)
	if c.queryer == nil {
		c.oldQueryer, _ = dc.(driver.Queryer)
	}
	if c.execer == nil {
		c.oldExecer, _ = dc.(driver.Execer)
	}
	queries, execs := c.queryer != nil || c.oldQueryer != nil, c.execer != nil || c.oldExecer != nil
	switch {
	case queries && execs:
		return struct {
			*conn
			queryer
			execer
		}{c, queryer{c}, execer{c}}
	case queries:
		return struct {
			*conn
			queryer
		}{c, queryer{c}}
	case execs:
		return struct {
			*conn
			execer
		}{c, execer{c}}
	}
	return c
}

// conn has every optional interface of a connection but QueryerContext and
// ExecerContext. Where the driver lacks one, conn does what database/sql would
// have done without it.
type conn struct {
	driver.Conn
	db         *database
	queryer    driver.QueryerContext
	execer     driver.ExecerContext
	oldQueryer driver.Queryer
	oldExecer  driver.Execer
}

type (
	queryer struct{ conn *conn }
	execer  struct{ conn *conn }
)

// Unwrap returns the driver's own connection, for sql.Conn.Raw.
func (c *conn) Unwrap() driver.Conn { return c.Conn }

func (c *conn) Ping(ctx context.Context) (err error) {
	p, ok := c.Conn.(driver.Pinger)
	if !ok {
		return nil
	}
	e, returned := c.db.ping.start(ctx), false
	defer func() { e.end(err, returned) }()
	err = p.Ping(e.span)
	returned = true
	return err
}

func (c *conn) ResetSession(ctx context.Context) error {
	if r, ok := c.Conn.(driver.SessionResetter); ok {
		return r.ResetSession(ctx)
	}
	return nil
}

func (c *conn) IsValid() bool {
	if v, ok := c.Conn.(driver.Validator); ok {
		return v.IsValid()
	}
	return true
}

func (c *conn) CheckNamedValue(v *driver.NamedValue) error {
	if n, ok := c.Conn.(driver.NamedValueChecker); ok {
		return n.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

func (q queryer) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (rows driver.Rows, err error) {
	c := q.conn
	e, returned := c.db.statement(query).start(ctx), false
	defer func() { e.end(err, returned) }()
	if c.queryer != nil {
		rows, err = c.queryer.QueryContext(e.span, query, args)
	} else if values, bad := plainValues(ctx, args); bad != nil {
		err = bad
	} else {
		rows, err = c.oldQueryer.Query(query, values)
	}
	returned = true
	return rows, err
}

func (x execer) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (res driver.Result, err error) {
	c := x.conn
	e, returned := c.db.statement(query).start(ctx), false
	defer func() { e.end(err, returned) }()
	if c.execer != nil {
		res, err = c.execer.ExecContext(e.span, query, args)
	} else if values, bad := plainValues(ctx, args); bad != nil {
		err = bad
	} else {
		res, err = c.oldExecer.Exec(query, values)
	}
	returned = true
	return res, err
}

func (c *conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

func (c *conn) PrepareContext(ctx context.Context, query string) (_ driver.Stmt, err error) {
	preparing := &statement{db: c.db, operation: "PREPARE", text: query}
	e, returned := preparing.start(ctx), false
	defer func() { e.end(err, returned) }()
	s, err := c.prepare(e.span, query)
	returned = true
	if err != nil {
		return nil, err
	}
	return &stmt{Stmt: s, conn: c, statement: c.db.statement(query)}, nil
}

func (c *conn) prepare(ctx context.Context, query string) (driver.Stmt, error) {
	if p, ok := c.Conn.(driver.ConnPrepareContext); ok {
		return p.PrepareContext(ctx, query)
	}
	s, err := c.Conn.Prepare(query)
	if err == nil && ctx.Err() != nil {
		s.Close()
		return nil, ctx.Err()
	}
	return s, err
}

func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (_ driver.Tx, err error) {
	e, returned := c.db.begin.start(ctx), false
	defer func() { e.end(err, returned) }()
	dtx, err := c.beginTx(e.span, opts)
	returned = true
	if err != nil {
		return nil, err
	}
	return &tx{Tx: dtx, db: c.db, ctx: ctx}, nil
}

func (c *conn) beginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if b, ok := c.Conn.(driver.ConnBeginTx); ok {
		return b.BeginTx(ctx, opts)
	}
	if opts.Isolation != 0 {
		return nil, errors.New("sql: driver does not support non-default isolation level")
	}
	if opts.ReadOnly {
		return nil, errors.New("sql: driver does not support read-only transactions")
	}
	dtx, err := c.Conn.Begin()
	if err == nil && ctx.Err() != nil {
		dtx.Rollback()
		return nil, ctx.Err()
	}
	return dtx, err
}

type tx struct {
	driver.Tx
	db  *database
	ctx context.Context // of BeginTx: Commit and Rollback have none
}

func (t *tx) Commit() (err error) {
	e, returned := t.db.commit.start(t.ctx), false
	defer func() { e.end(err, returned) }()
	err = t.Tx.Commit()
	returned = true
	return err
}

func (t *tx) Rollback() (err error) {
	e, returned := t.db.rollback.start(t.ctx), false
	defer func() { e.end(err, returned) }()
	err = t.Tx.Rollback()
	returned = true
	return err
}

type stmt struct {
	driver.Stmt
	conn      *conn
	statement *statement
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (rows driver.Rows, err error) {
	e, returned := s.statement.start(ctx), false
	defer func() { e.end(err, returned) }()
	if q, ok := s.Stmt.(driver.StmtQueryContext); ok {
		rows, err = q.QueryContext(e.span, args)
	} else if values, bad := plainValues(ctx, args); bad != nil {
		err = bad
	} else {
		rows, err = s.Stmt.Query(values)
	}
	returned = true
	return rows, err
}

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (res driver.Result, err error) {
	e, returned := s.statement.start(ctx), false
	defer func() { e.end(err, returned) }()
	if x, ok := s.Stmt.(driver.StmtExecContext); ok {
		res, err = x.ExecContext(e.span, args)
	} else if values, bad := plainValues(ctx, args); bad != nil {
		err = bad
	} else {
		res, err = s.Stmt.Exec(values)
	}
	returned = true
	return res, err
}

// CheckNamedValue asks the statement, then the connection, and then does what
// database/sql does by default. It does that here because stmt has a
// ColumnConverter for statements that lack one, and database/sql would take
// the word of one for values it should convert itself.
func (s *stmt) CheckNamedValue(v *driver.NamedValue) error {
	var err error
	if n, ok := s.Stmt.(driver.NamedValueChecker); ok {
		err = n.CheckNamedValue(v)
	} else {
		err = s.conn.CheckNamedValue(v)
	}
	if err != driver.ErrSkip {
		return err
	}
	if _, ok := s.Stmt.(driver.ColumnConverter); ok {
		return driver.ErrSkip
	}
	v.Value, err = driver.DefaultParameterConverter.ConvertValue(v.Value)
	return err
}

func (s *stmt) ColumnConverter(i int) driver.ValueConverter {
	if c, ok := s.Stmt.(driver.ColumnConverter); ok {
		return c.ColumnConverter(i)
	}
	return driver.DefaultParameterConverter
}

// plainValues gives the arguments of a driver without contexts.
func plainValues(ctx context.Context, args []driver.NamedValue) ([]driver.Value, error) {
	values := make([]driver.Value, len(args))
	for i, a := range args {
		if a.Name != "" {
			return nil, errors.New("sql: driver does not support the use of Named Parameters")
		}
		values[i] = a.Value
	}
	return values, ctx.Err()
}
