package observe

import (
	"context"
	"database/sql/driver"
	"time"
)

// tx is a transaction under way. That of a connection is in its own memory, see
// rows.
type tx struct {
	driver.Tx // nil: over
	conn      *conn
	ctx       context.Context // of BeginTx: Commit and Rollback have none
	start     time.Time
	open      opening
}

func (c *conn) began(e *execution, ctx context.Context, inner driver.Tx) driver.Tx {
	t := &c.tx
	if t.Tx != nil { // a driver with transactions within transactions, by Raw
		t = &tx{}
	}
	t.Tx, t.conn, t.ctx, t.start = inner, c, ctx, e.start
	t.open.begin(e)
	if t != &c.tx {
		c.db.note(t)
	}
	return t
}

func (t *tx) Commit() (err error) {
	inner := t.Tx
	e, returned := t.conn.db.commit.start(t.ctx, t.conn), false
	defer func() {
		e.end(err, returned)
		if err != nil || !returned {
			t.over(t.conn.db.undecided)
		} else {
			t.over(t.conn.db.committed)
		}
	}()
	err = inner.Commit()
	returned = true
	return err
}

// Rollback is what database/sql calls, too, when the context of BeginTx ends
// before the program commits or rolls back.
func (t *tx) Rollback() (err error) {
	inner, gone := t.Tx, t.ctx.Err() != nil
	e, returned := t.conn.db.rollback.start(t.ctx, t.conn), false
	defer func() {
		e.end(err, returned)
		switch {
		case gone:
			t.over(t.conn.db.abandoned)
		case err != nil || !returned:
			t.over(t.conn.db.undecided)
		default:
			t.over(t.conn.db.rolledBack)
		}
	}()
	err = inner.Rollback()
	returned = true
	return err
}

// over ends the transaction with its result.
func (t *tx) over(result *timing) {
	t.open.end()
	t.Tx, t.ctx = nil, nil
	if t != &t.conn.tx {
		t.conn.db.forget(t)
	}
	result.own.observe(time.Since(t.start).Seconds(), t.conn.processor)
}
