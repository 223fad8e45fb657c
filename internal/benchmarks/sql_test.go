package benchmarks

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
	"testing"

	xsam "github.com/XSAM/otelsql"
	uptrace "github.com/uptrace/opentelemetry-go-extra/otelsql"
)

// BenchmarkSQL is one query of one row from a driver that does nothing.
func BenchmarkSQL(b *testing.B) {
	for _, p := range []struct {
		name string
		open func(*testing.B) *sql.DB
	}{
		{"bare", func(*testing.B) *sql.DB { return sql.OpenDB(nothing{}) }},
		{"xsam-never", xsamDB(never)},
		{"xsam-always", xsamDB(always)},
		{"uptrace-never", uptraceDB(never)},
		{"uptrace-always", uptraceDB(always)},
		{"observe-never", observeDB(never)},
		{"observe-always", observeDB(always)},
	} {
		b.Run(p.name, func(b *testing.B) {
			db := p.open(b)
			b.Cleanup(func() { db.Close() })
			measure(b, func() {
				var id int64
				if err := db.QueryRowContext(background, "SELECT id FROM items WHERE id = ?", int64(42)).Scan(&id); err != nil || id != 42 {
					b.Fatal(id, err)
				}
			})
		})
	}
}

func xsamDB(s sampling) func(*testing.B) *sql.DB {
	return func(b *testing.B) *sql.DB {
		metrics, _ := otelMetrics(b)
		return xsam.OpenDB(nothing{}, xsam.WithTracerProvider(otelTraces(b, s)), xsam.WithMeterProvider(metrics))
	}
}

func uptraceDB(s sampling) func(*testing.B) *sql.DB {
	return func(b *testing.B) *sql.DB {
		metrics, _ := otelMetrics(b)
		return uptrace.OpenDB(nothing{}, uptrace.WithTracerProvider(otelTraces(b, s)), uptrace.WithMeterProvider(metrics))
	}
}

// nothing is a database whose every query has one row of one number: 42.
type nothing struct{}

func (n nothing) Connect(context.Context) (driver.Conn, error) { return n, nil }
func (n nothing) Driver() driver.Driver                        { return n }
func (n nothing) Open(string) (driver.Conn, error)             { return n, nil }
func (n nothing) Prepare(string) (driver.Stmt, error)          { return nil, driver.ErrSkip }
func (n nothing) Close() error                                 { return nil }
func (n nothing) Begin() (driver.Tx, error)                    { return nil, driver.ErrSkip }
func (n nothing) Ping(context.Context) error                   { return nil }

func (n nothing) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	return &oneRow{}, nil
}

type oneRow struct{ read bool }

func (r *oneRow) Columns() []string { return idColumn }
func (r *oneRow) Close() error      { return nil }
func (r *oneRow) Next(to []driver.Value) error {
	if r.read {
		return io.EOF
	}
	r.read = true
	to[0] = int64(42)
	return nil
}

var idColumn = []string{"id"}
