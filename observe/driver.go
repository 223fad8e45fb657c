package observe

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

func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	dc, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: dc, db: c.db}, nil
}

// Close is called by sql.DB.Close.
func (c *connector) Close() error {
	if closer, ok := c.Connector.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

// conn has every optional interface of a connection. Where the driver lacks
// one, conn does what database/sql would have done without it.
type conn struct {
	driver.Conn
	db *database
}

// Unwrap returns the driver's own connection, for sql.Conn.Raw.
func (c *conn) Unwrap() driver.Conn { return c.Conn }

func (c *conn) Ping(ctx context.Context) (err error) {
	p, ok := c.Conn.(driver.Pinger)
	if !ok {
		return nil
	}
	s, returned := c.db.begin(ctx, "PING", ""), false
	defer func() { s.end(err, returned) }()
	err = p.Ping(&s.span)
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

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (rows driver.Rows, err error) {
	now, _ := c.Conn.(driver.QueryerContext)
	old, _ := c.Conn.(driver.Queryer) //nolint:staticcheck // old drivers have only this
	if now == nil && old == nil {
		return nil, driver.ErrSkip
	}
	s, returned := c.db.begin(ctx, operation(query), query), false
	defer func() { s.end(err, returned) }()
	if now != nil {
		rows, err = now.QueryContext(&s.span, query, args)
	} else if values, e := plainValues(ctx, args); e != nil {
		err = e
	} else {
		rows, err = old.Query(query, values)
	}
	returned = true
	return rows, err
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (res driver.Result, err error) {
	now, _ := c.Conn.(driver.ExecerContext)
	old, _ := c.Conn.(driver.Execer) //nolint:staticcheck // old drivers have only this
	if now == nil && old == nil {
		return nil, driver.ErrSkip
	}
	s, returned := c.db.begin(ctx, operation(query), query), false
	defer func() { s.end(err, returned) }()
	if now != nil {
		res, err = now.ExecContext(&s.span, query, args)
	} else if values, e := plainValues(ctx, args); e != nil {
		err = e
	} else {
		res, err = old.Exec(query, values)
	}
	returned = true
	return res, err
}

func (c *conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

func (c *conn) PrepareContext(ctx context.Context, query string) (s driver.Stmt, err error) {
	if p, ok := c.Conn.(driver.ConnPrepareContext); ok {
		s, err = p.PrepareContext(ctx, query)
	} else if s, err = c.Conn.Prepare(query); err == nil && ctx.Err() != nil {
		s.Close()
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return &stmt{Stmt: s, conn: c, query: query, operation: operation(query)}, nil
}

func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (_ driver.Tx, err error) {
	s, returned := c.db.begin(ctx, "BEGIN", ""), false
	defer func() { s.end(err, returned) }()
	dtx, err := c.beginTx(&s.span, opts)
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
	dtx, err := c.Conn.Begin() //nolint:staticcheck // old drivers have only this
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
	s, returned := t.db.begin(t.ctx, "COMMIT", ""), false
	defer func() { s.end(err, returned) }()
	err = t.Tx.Commit()
	returned = true
	return err
}

func (t *tx) Rollback() (err error) {
	s, returned := t.db.begin(t.ctx, "ROLLBACK", ""), false
	defer func() { s.end(err, returned) }()
	err = t.Tx.Rollback()
	returned = true
	return err
}

type stmt struct {
	driver.Stmt
	conn             *conn
	query, operation string
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (rows driver.Rows, err error) {
	st, returned := s.conn.db.begin(ctx, s.operation, s.query), false
	defer func() { st.end(err, returned) }()
	if q, ok := s.Stmt.(driver.StmtQueryContext); ok {
		rows, err = q.QueryContext(&st.span, args)
	} else if values, e := plainValues(ctx, args); e != nil {
		err = e
	} else {
		rows, err = s.Stmt.Query(values) //nolint:staticcheck // old drivers have only this
	}
	returned = true
	return rows, err
}

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (res driver.Result, err error) {
	st, returned := s.conn.db.begin(ctx, s.operation, s.query), false
	defer func() { st.end(err, returned) }()
	if e, ok := s.Stmt.(driver.StmtExecContext); ok {
		res, err = e.ExecContext(&st.span, args)
	} else if values, e := plainValues(ctx, args); e != nil {
		err = e
	} else {
		res, err = s.Stmt.Exec(values) //nolint:staticcheck // old drivers have only this
	}
	returned = true
	return res, err
}

// CheckNamedValue asks the statement, then the connection, and then does what
// database/sql does by default. It does that here because stmt has a
// ColumnConverter for statements that lack one, and database/sql would take
// the word of one for values it should convert itself.
func (s *stmt) CheckNamedValue(v *driver.NamedValue) error {
	err := driver.ErrSkip
	if n, ok := s.Stmt.(driver.NamedValueChecker); ok {
		err = n.CheckNamedValue(v)
	} else {
		err = s.conn.CheckNamedValue(v)
	}
	if err != driver.ErrSkip {
		return err
	}
	if _, ok := s.Stmt.(driver.ColumnConverter); ok { //nolint:staticcheck // old drivers have only this
		return driver.ErrSkip
	}
	v.Value, err = driver.DefaultParameterConverter.ConvertValue(v.Value)
	return err
}

func (s *stmt) ColumnConverter(i int) driver.ValueConverter {
	if c, ok := s.Stmt.(driver.ColumnConverter); ok { //nolint:staticcheck // old drivers have only this
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
