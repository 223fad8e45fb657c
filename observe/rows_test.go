package observe

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io"
	"reflect"
	"slices"
	"testing"
)

// table is a connector whose every query returns the rows that the test makes.
type table struct {
	plainConn
	rows func() driver.Rows
}

func (c table) Connect(context.Context) (driver.Conn, error) { return c, nil }
func (c table) Driver() driver.Driver                        { return nil }
func (c table) Close() error                                 { return nil }
func (c table) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	return c.rows(), nil
}
func (c table) Begin() (driver.Tx, error) { return noTx{}, nil }

type noTx struct{}

func (noTx) Commit() error   { return nil }
func (noTx) Rollback() error { return nil }

// numbers are the rows 0 to n-1, sets times, and after them err.
type numbers struct {
	n, sets, at int
	err         error
	closed      *int
}

func (r *numbers) Columns() []string { return []string{"n"} }
func (r *numbers) Close() error {
	if r.closed != nil {
		*r.closed++
	}
	return nil
}
func (r *numbers) Next(to []driver.Value) error {
	if r.at == r.n {
		if r.err != nil {
			return r.err
		}
		return io.EOF
	}
	to[0] = int64(r.at)
	r.at++
	return nil
}

// everyRows has every optional interface of rows.
type everyRows struct{ *numbers }

func (r everyRows) HasNextResultSet() bool { return r.sets > 0 }
func (r everyRows) NextResultSet() error {
	if r.sets == 0 {
		return io.EOF
	}
	r.numbers.sets, r.numbers.at = r.sets-1, 0
	return nil
}
func (everyRows) ColumnTypeScanType(int) reflect.Type                { return reflect.TypeFor[int8]() }
func (everyRows) ColumnTypeDatabaseTypeName(int) string              { return "TINY" }
func (everyRows) ColumnTypeLength(int) (int64, bool)                 { return 7, true }
func (everyRows) ColumnTypeNullable(int) (nullable, ok bool)         { return true, true }
func (everyRows) ColumnTypePrecisionScale(int) (p, s int64, ok bool) { return 3, 2, true }

// The program sees the same of its rows with and without OpenDB, whatever the
// driver's rows can.
func TestRowsBehaveAsWithoutLoadline(t *testing.T) {
	tel := start(t, Config{})
	for name, rows := range map[string]func() driver.Rows{
		"plain":       func() driver.Rows { return &numbers{n: 3} },
		"every":       func() driver.Rows { return everyRows{&numbers{n: 2, sets: 2}} },
		"plain, fail": func() driver.Rows { return &numbers{n: 1, err: errBoom} },
		"none":        func() driver.Rows { return &numbers{} },
		"more":        moreRows,
	} {
		see := func(db *sql.DB) (seen []string) {
			say := func(format string, a ...any) { seen = append(seen, fmt.Sprintf(format, a...)) }
			rows, err := db.Query("SELECT n FROM numbers")
			if err != nil {
				t.Fatal(err)
			}
			for again := true; again; again = rows.NextResultSet() {
				types, err := rows.ColumnTypes()
				say("types %v", err)
				for _, c := range types {
					length, hasLength := c.Length()
					nullable, knows := c.Nullable()
					precision, scale, decimal := c.DecimalSize()
					say("%s %s %v %d %t %t %t %d %d %t", c.Name(), c.DatabaseTypeName(), c.ScanType(), length, hasLength, nullable, knows, precision, scale, decimal)
				}
				for rows.Next() {
					var n int
					say("scan %v %d", rows.Scan(&n), n)
				}
				say("err %v", rows.Err())
			}
			say("close %v %v", rows.Close(), rows.Close())
			return seen
		}
		bare, watched := sql.OpenDB(table{rows: rows}), tel.OpenDB(table{rows: rows}, "numbers")
		want, got := see(bare), see(watched)
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n got %q\nwant %q", name, got, want)
		}
		bare.Close()
		watched.Close()
	}
}

func TestReturnedRowsAreCounted(t *testing.T) {
	tel := start(t, Config{})
	n, closed := 0, 0
	db := tel.OpenDB(table{rows: func() driver.Rows { return &numbers{n: n, closed: &closed} }}, "numbers")
	defer db.Close()
	for _, n = range []int{0, 1, 3, 100} {
		rows, err := db.Query("SELECT n FROM numbers")
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
		}
		if err := rows.Err(); err != nil {
			t.Error(err)
		}
	}
	db.QueryRow("SELECT n FROM numbers").Scan(new(int)) // closes after the first of a hundred
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	// Two at once on one connection.
	a, err := tx.Query("SELECT n FROM a")
	if err != nil {
		t.Fatal(err)
	}
	b, err := tx.Query("SELECT n FROM b")
	if err != nil {
		t.Fatal(err)
	}
	a.Next()
	b.Next()
	b.Next()
	a.Close()
	c, err := tx.Query("SELECT n FROM c")
	if err != nil {
		t.Fatal(err)
	}
	b.Next()
	c.Close()
	b.Close()
	if err := tx.Commit(); err != nil {
		t.Error(err)
	}
	if closed != 8 {
		t.Errorf("the driver's rows were closed %d times, want 8", closed)
	}
	counts, sums := map[string]uint64{}, map[string]float64{}
	for _, m := range family(t, tel, "db_client_response_returned_rows") {
		for _, l := range m.GetLabel() {
			if l.GetName() == "db_query_summary" {
				counts[l.GetValue()], sums[l.GetValue()] = m.GetHistogram().GetSampleCount(), m.GetHistogram().GetSampleSum()
			}
		}
	}
	if got, want := fmt.Sprint(counts, sums), "map[SELECT a:1 SELECT b:1 SELECT c:1 SELECT numbers:5] map[SELECT a:1 SELECT b:3 SELECT c:0 SELECT numbers:105]"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
