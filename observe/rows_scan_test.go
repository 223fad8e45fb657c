//go:build go1.27

package observe

import (
	"database/sql"
	"database/sql/driver"
	"io"
)

// scanRows scan their columns themselves.
type scanRows struct{ everyRows }

func (r scanRows) Next([]driver.Value) error { panic("Next is not called") }
func (r scanRows) NextRow() error {
	if r.at == r.n {
		return io.EOF
	}
	r.numbers.at++
	return nil
}
func (r scanRows) ScanColumn(ctx driver.ScanContext, _ int, to any) error {
	return sql.ConvertAssign(ctx, to, int64(100+r.at))
}

func moreRows() driver.Rows { return scanRows{everyRows{&numbers{n: 2, sets: 1}}} }
