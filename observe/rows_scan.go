//go:build go1.27

package observe

import "database/sql/driver"

// scanned returns r as rows that scan their columns themselves where the
// driver's do: database/sql calls no Next then.
func scanned(r *rows) driver.Rows {
	if _, ok := r.Rows.(driver.RowsColumnScanner); ok {
		return scanner{r}
	}
	return r
}

type scanner struct{ *rows }

func (s scanner) NextRow() error {
	err := s.Rows.(driver.RowsColumnScanner).NextRow()
	if err == nil {
		s.read.Store(s.read.Load() + 1)
	}
	return err
}

func (s scanner) ScanColumn(ctx driver.ScanContext, i int, to any) error {
	return s.Rows.(driver.RowsColumnScanner).ScanColumn(ctx, i, to)
}
