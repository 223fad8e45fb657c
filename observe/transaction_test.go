package observe

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"maps"
	"runtime"
	"testing"
)

// transactions returns how many transactions of a database ended in each way.
func transactions(t testing.TB, tel *Telemetry, name string) map[string]uint64 {
	t.Helper()
	counts := map[string]uint64{}
	for _, m := range family(t, tel, "observe_db_transaction_duration_seconds") {
		of := map[string]string{}
		for _, l := range m.GetLabel() {
			of[l.GetName()] = l.GetValue()
		}
		if n := m.GetHistogram().GetSampleCount(); of["db_namespace"] == name && n > 0 {
			counts[of["result"]] = n
		}
	}
	return counts
}

func TestTransactionsAreCountedByResult(t *testing.T) {
	tel := start(t, Config{})
	for _, c := range []struct {
		name string
		fail map[string][]error
		end  func(t *testing.T, db *sql.DB, tx *sql.Tx, cancel func())
		want string
	}{
		{"commit", nil, func(t *testing.T, _ *sql.DB, tx *sql.Tx, _ func()) { tx.Commit(); tx.Rollback() }, "commit"},
		{"rollback", nil, func(t *testing.T, _ *sql.DB, tx *sql.Tx, _ func()) { tx.Rollback() }, "rollback"},
		{"commit fails", map[string][]error{"Commit": {stateError("40001")}}, func(t *testing.T, _ *sql.DB, tx *sql.Tx, _ func()) { tx.Commit() }, "error"},
		{"rollback fails", map[string][]error{"Rollback": {errBoom}}, func(t *testing.T, _ *sql.DB, tx *sql.Tx, _ func()) { tx.Rollback() }, "error"},
		{"commit panics", map[string][]error{"Commit": {panicError("p")}}, func(t *testing.T, _ *sql.DB, tx *sql.Tx, _ func()) {
			defer func() { recover() }()
			tx.Commit()
		}, "error"},
		{"canceled", nil, func(t *testing.T, db *sql.DB, tx *sql.Tx, cancel func()) {
			cancel()
			for db.Stats().InUse > 0 { // database/sql rolls back on a goroutine of its own
				runtime.Gosched()
			}
		}, "abandoned"},
		{"canceled before the rollback", nil, func(t *testing.T, db *sql.DB, tx *sql.Tx, cancel func()) {
			cancel()
			tx.Rollback()
			for db.Stats().InUse > 0 { // whichever was first
				runtime.Gosched()
			}
		}, "abandoned"},
	} {
		t.Run(c.name, func(t *testing.T) {
			db, _ := openFake(tel, c.name, "all", "plain", c.fail)
			defer db.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			c.end(t, db, tx, cancel)
			if got, want := transactions(t, tel, c.name), map[string]uint64{c.want: 1}; !maps.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// A connection that is closed under a transaction takes it along.
func TestTransactionOfAClosedConnectionIsAbandoned(t *testing.T) {
	tel := start(t, Config{})
	d := newDatabase(tel, "orders", "other_sql")
	c := wrap(fakeConns["all"](&fake{}), d)
	tx, err := c.(driver.ConnBeginTx).BeginTx(t.Context(), driver.TxOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := tx.Rollback(); err != nil { // still the driver's to answer
		t.Error(err)
	}
	if got := transactions(t, tel, "orders"); !maps.Equal(got, map[string]uint64{"abandoned": 1}) {
		t.Errorf("got %v", got)
	}
}
