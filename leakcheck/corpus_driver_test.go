package leakcheck_test

import (
	"context"
	"database/sql/driver"
	"io"
)

// corpusDriver is a database/sql driver whose rows have no end of their own.
type corpusDriver struct{}

func (d corpusDriver) Connect(context.Context) (driver.Conn, error) { return corpusConn{}, nil }
func (d corpusDriver) Driver() driver.Driver                        { return d }
func (corpusDriver) Open(string) (driver.Conn, error)               { return corpusConn{}, nil }

type corpusConn struct{}

func (corpusConn) Prepare(string) (driver.Stmt, error) { return corpusStmt{}, nil }
func (corpusConn) Close() error                        { return nil }
func (corpusConn) Begin() (driver.Tx, error)           { return corpusConn{}, nil }
func (corpusConn) Commit() error                       { return nil }
func (corpusConn) Rollback() error                     { return nil }

type corpusStmt struct{}

func (corpusStmt) Close() error                               { return nil }
func (corpusStmt) NumInput() int                              { return -1 }
func (corpusStmt) Exec([]driver.Value) (driver.Result, error) { return driver.ResultNoRows, nil }
func (corpusStmt) Query([]driver.Value) (driver.Rows, error)  { return &corpusRows{}, nil }

type corpusRows struct{ n int }

func (*corpusRows) Columns() []string { return []string{"id"} }
func (*corpusRows) Close() error      { return nil }
func (r *corpusRows) Next(to []driver.Value) error {
	if r.n++; r.n > 10 {
		return io.EOF
	}
	to[0] = int64(r.n)
	return nil
}
