package observe

//lint:file-ignore SA1019 old drivers have only the old interfaces

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"sync/atomic"
	"time"
)

type connector struct {
	driver.Connector
	db *database
}

func (c *connector) Connect(ctx context.Context) (_ driver.Conn, err error) {
	e, returned := c.db.connect.start(ctx, nil), false
	defer func() {
		e.end(err, returned)
		if err != nil && (errors.Is(err, context.DeadlineExceeded) || ctx.Err() == context.DeadlineExceeded) {
			c.db.timeouts.Inc()
		}
	}()
	dc, err := c.Connector.Connect(c.db.tel.peers.watch(e.ctx, "the pool "+c.db.name))
	returned = true
	if err != nil {
		return nil, err
	}
	c.db.created.own.observe(time.Since(e.start).Seconds(), currentProcessor())
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
	_, query := dc.(driver.QueryerContext)
	_, oldQuery := dc.(driver.Queryer)
	_, exec := dc.(driver.ExecerContext)
	_, oldExec := dc.(driver.Execer)
	switch query, exec := query || oldQuery, exec || oldExec; {
	case query && exec:
		c := &fullConn{}
		c.connected(dc, db)
		return c
	case query:
		c := &queryConn{}
		c.connected(dc, db)
		return c
	case exec:
		c := &execConn{}
		c.connected(dc, db)
		return c
	}
	c := &conn{}
	c.connected(dc, db)
	return c
}

// conn has every optional interface of a connection but QueryerContext and
// ExecerContext. Where the driver lacks one, conn does what database/sql would
// have done without it. database/sql calls a connection from one goroutine at a time.
type conn struct {
	driver.Conn
	db         *database
	resetter   driver.SessionResetter
	validator  driver.Validator
	checker    driver.NamedValueChecker
	queryer    driver.QueryerContext
	execer     driver.ExecerContext
	oldQueryer driver.Queryer
	oldExecer  driver.Execer

	processor  processor    // stands for the connection: two of them seldom share a shard
	used       time.Time    // the first operation since it was taken from the pool; zero: none yet
	handed     bool         // somebody waited when it was given back
	operations atomic.Int64 // so far
	rows       rows
	tx         tx
}

type (
	queryConn struct{ conn }
	execConn  struct{ conn }
	fullConn  struct{ queryConn }
)

// connected begins to wrap dc.
func (c *conn) connected(dc driver.Conn, db *database) {
	c.Conn, c.db = dc, db
	c.resetter, _ = dc.(driver.SessionResetter)
	c.validator, _ = dc.(driver.Validator)
	c.checker, _ = dc.(driver.NamedValueChecker)
	if c.queryer, _ = dc.(driver.QueryerContext); c.queryer == nil {
		c.oldQueryer, _ = dc.(driver.Queryer)
	}
	if c.execer, _ = dc.(driver.ExecerContext); c.execer == nil {
		c.oldExecer, _ = dc.(driver.Execer)
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	c.processor = processor(db.made)
	db.made++
	db.conns[c] = struct{}{}
}

// Close also ends what database/sql does not end: the use of a connection that
// went bad, and its transaction.
func (c *conn) Close() error {
	c.released()
	if c.handed {
		c.handed = false
		c.db.pool.handed.Add(-1)
	}
	if c.tx.Tx != nil {
		c.tx.end(c.db.abandoned)
	}
	c.db.mu.Lock()
	delete(c.db.conns, c)
	c.db.mu.Unlock()
	return c.Conn.Close()
}

// Unwrap returns the driver's own connection, for sql.Conn.Raw.
func (c *conn) Unwrap() driver.Conn { return c.Conn }

func (c *conn) Ping(ctx context.Context) (err error) {
	p, ok := c.Conn.(driver.Pinger)
	if !ok {
		return nil
	}
	e, returned := c.db.ping.start(ctx, c), false
	defer func() { e.end(err, returned) }()
	err = p.Ping(e.ctx)
	returned = true
	return err
}

// ResetSession is called when a connection was taken from the pool again, after
// the wait for it was added to the pool's.
func (c *conn) ResetSession(ctx context.Context) error {
	if c.handed {
		c.handed = false
		c.db.pool.handed.Add(-1)
		c.db.pool.look()
	}
	if c.resetter != nil {
		return c.resetter.ResetSession(ctx)
	}
	return nil
}

// IsValid is called when a connection is about to be put back into the pool.
func (c *conn) IsValid() bool {
	c.released()
	if p := c.db.pool; p != nil {
		if n, _ := p.peek.pending(); n > 0 && !c.handed {
			c.handed = true
			p.handed.Add(1)
		}
	}
	return c.validator == nil || c.validator.IsValid()
}

// released ends the use of a connection.
func (c *conn) released() {
	if !c.used.IsZero() {
		c.db.used.own.observe(time.Since(c.used).Seconds(), c.processor)
		c.used = time.Time{}
	}
}

func (c *conn) CheckNamedValue(v *driver.NamedValue) error {
	if c.checker != nil {
		return c.checker.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

func (c *queryConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (rows driver.Rows, err error) {
	e, returned := c.db.statement(query).start(ctx, &c.conn), false
	defer func() { e.end(err, returned) }()
	if c.queryer != nil {
		rows, err = c.queryer.QueryContext(e.ctx, query, args)
	} else if values, bad := plainValues(ctx, args); bad != nil {
		err = bad
	} else {
		rows, err = c.oldQueryer.Query(query, values)
	}
	returned = true
	if err != nil {
		return rows, err
	}
	return c.opened(&e, rows), nil
}

func (c *execConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.exec(ctx, query, args)
}

func (c *fullConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.exec(ctx, query, args)
}

func (c *conn) exec(ctx context.Context, query string, args []driver.NamedValue) (res driver.Result, err error) {
	e, returned := c.db.statement(query).start(ctx, c), false
	defer func() { e.end(err, returned) }()
	if c.execer != nil {
		res, err = c.execer.ExecContext(e.ctx, query, args)
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
	preparing := &statement{query: c.db.prepare, text: query}
	e, returned := preparing.start(ctx, c), false
	defer func() { e.end(err, returned) }()
	s, err := c.prepare(e.ctx, query)
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
	e, returned := c.db.begin.start(ctx, c), false
	defer func() { e.end(err, returned) }()
	dtx, err := c.beginTx(e.ctx, opts)
	returned = true
	if err != nil {
		return nil, err
	}
	return c.began(&e, ctx, dtx), nil
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

type stmt struct {
	driver.Stmt
	conn      *conn
	statement *statement
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (rows driver.Rows, err error) {
	e, returned := s.statement.start(ctx, s.conn), false
	defer func() { e.end(err, returned) }()
	if q, ok := s.Stmt.(driver.StmtQueryContext); ok {
		rows, err = q.QueryContext(e.ctx, args)
	} else if values, bad := plainValues(ctx, args); bad != nil {
		err = bad
	} else {
		rows, err = s.Stmt.Query(values)
	}
	returned = true
	if err != nil {
		return rows, err
	}
	return s.conn.opened(&e, rows), nil
}

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (res driver.Result, err error) {
	e, returned := s.statement.start(ctx, s.conn), false
	defer func() { e.end(err, returned) }()
	if x, ok := s.Stmt.(driver.StmtExecContext); ok {
		res, err = x.ExecContext(e.ctx, args)
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
