package observe

import (
	"database/sql/driver"
	"io"
	"reflect"
	"sync/atomic"
)

// rows are the rows of one query on their way to the program. They have every
// optional interface; where the driver's lack one, they do what database/sql
// would have done without it.
//
// The first rows of a connection are in its own memory and are used again when
// they were closed: database/sql closes rows once, and asks nothing of them
// afterwards.
type rows struct {
	driver.Rows // nil: closed
	conn        *conn
	statement   *statement
	read        atomic.Int64
	open        opening
}

// opened wraps what a query returned.
func (c *conn) opened(e *execution, inner driver.Rows) driver.Rows {
	if inner == nil {
		return nil
	}
	r := &c.rows
	if r.Rows != nil {
		r = &rows{}
	}
	r.Rows, r.conn, r.statement = inner, c, e.statement
	r.read.Store(0)
	r.open.begin(e)
	if r != &c.rows {
		c.db.note(r)
	}
	return scanned(r)
}

func (r *rows) Next(to []driver.Value) error {
	err := r.Rows.Next(to)
	if err == nil {
		r.read.Store(r.read.Load() + 1) // database/sql reads on one goroutine at a time
	}
	return err
}

func (r *rows) Close() error {
	inner := r.Rows
	if inner == nil {
		return nil
	}
	defer func() {
		r.Rows = nil
		r.open.end()
		if r != &r.conn.rows {
			r.conn.db.forget(r)
		}
		r.statement.returned().own.observe(float64(r.read.Load()), r.conn.processor)
	}()
	return inner.Close()
}

func (r *rows) HasNextResultSet() bool {
	n, ok := r.Rows.(driver.RowsNextResultSet)
	return ok && n.HasNextResultSet()
}

func (r *rows) NextResultSet() error {
	if n, ok := r.Rows.(driver.RowsNextResultSet); ok {
		return n.NextResultSet()
	}
	return io.EOF
}

func (r *rows) ColumnTypeScanType(i int) reflect.Type {
	if c, ok := r.Rows.(driver.RowsColumnTypeScanType); ok {
		return c.ColumnTypeScanType(i)
	}
	return reflect.TypeFor[any]()
}

func (r *rows) ColumnTypeDatabaseTypeName(i int) string {
	if c, ok := r.Rows.(driver.RowsColumnTypeDatabaseTypeName); ok {
		return c.ColumnTypeDatabaseTypeName(i)
	}
	return ""
}

func (r *rows) ColumnTypeLength(i int) (length int64, ok bool) {
	if c, ok := r.Rows.(driver.RowsColumnTypeLength); ok {
		return c.ColumnTypeLength(i)
	}
	return 0, false
}

func (r *rows) ColumnTypeNullable(i int) (nullable, ok bool) {
	if c, ok := r.Rows.(driver.RowsColumnTypeNullable); ok {
		return c.ColumnTypeNullable(i)
	}
	return false, false
}

func (r *rows) ColumnTypePrecisionScale(i int) (precision, scale int64, ok bool) {
	if c, ok := r.Rows.(driver.RowsColumnTypePrecisionScale); ok {
		return c.ColumnTypePrecisionScale(i)
	}
	return 0, 0, false
}
