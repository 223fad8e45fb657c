package leakcheck

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"
)

// inUse tells of the connections of a pool that somebody has: the trace that
// rows leave whose context cannot be cancelled.
func inUse(db *sql.DB) Source {
	return Source{Kind: "connection in use", Open: func() (open []Member, err error) {
		for i := range db.Stats().InUse {
			open = append(open, Member{ID: uint64(i + 1), Group: "of the pool orders"})
		}
		return open, nil
	}}
}

func TestVerifyFindsWhatSourcesHaveOpen(t *testing.T) {
	Verify(t)
	db := sql.OpenDB(connector{})
	defer db.Close()
	before, err := db.QueryContext(context.Background(), "select")
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close() // open when the tests begin, so not theirs
	config := Config{Patience: 50 * time.Millisecond, Sources: []Source{inUse(db)}}
	query := func() *sql.Rows {
		rows, err := db.QueryContext(context.Background(), "select")
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	t.Run("left open", func(t *testing.T) {
		wantOne(t, run(config, t.Name()+"/fake", func(*fakeT) {
			rows := query()
			t.Cleanup(func() { rows.Close() })
		}), "left open 1 of kind connection in use, of the pool orders")
	})
	t.Run("closed", func(t *testing.T) {
		wantNone(t, run(config, t.Name()+"/fake", func(*fakeT) { query().Close() }))
	})
	t.Run("closed a little later", func(t *testing.T) {
		patient := config
		patient.Patience = time.Minute
		wantNone(t, run(patient, t.Name()+"/fake", func(*fakeT) {
			rows := query()
			time.AfterFunc(20*time.Millisecond, func() { rows.Close() })
		}))
	})
	t.Run("beside other tests", func(t *testing.T) {
		f := &fakeT{name: t.Name() + "/fake", parallel: true}
		wantOne(t, f.run(config, func(*fakeT) {
			rows := query()
			t.Cleanup(func() { rows.Close() })
		}), "left open 1 of kind connection in use")
	})
	t.Run("unknown", func(t *testing.T) {
		broken := Config{Sources: []Source{{Kind: "tx", Open: func() ([]Member, error) { return nil, errors.New("no idea") }}}}
		wantOne(t, run(broken, t.Name()+"/fake", func(*fakeT) {}), "unknown what is open: kind tx: no idea")
	})
}

type mainOf func()

func (m mainOf) Run() int { m(); return 0 }

func TestVerifyMainFindsWhatSourcesHaveOpen(t *testing.T) {
	db := sql.OpenDB(connector{})
	defer db.Close()
	var rows *sql.Rows
	var out bytes.Buffer
	site := Frame{Function: "shop.list", File: "/src/list.go", Line: 4}
	sources := []Source{inUse(db), {Kind: "row", Open: func() (open []Member, err error) {
		if rows != nil {
			open = append(open, Member{ID: 7, Site: site, State: "idle"}, Member{ID: 8, Site: site, State: "idle"})
		}
		return open, nil
	}}}
	code := Config{Patience: 50 * time.Millisecond, Sources: sources}.verifyMain(mainOf(func() {
		rows, _ = db.QueryContext(context.Background(), "select")
	}), &out)
	rows.Close()
	if code != 1 || !strings.Contains(out.String(), "leakcheck: the tests left open 1 of kind connection in use, of the pool orders\n") ||
		!strings.Contains(out.String(), "leakcheck: the tests left open 2 of kind row [idle], opened at shop.list (/src/list.go:4)\n") {
		t.Errorf("code %d: %s", code, out.String())
	}
}
