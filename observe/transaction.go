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
	ended     bool
	open      opening
}

func (c *conn) began(e *execution, ctx context.Context, inner driver.Tx) driver.Tx {
	t := &c.tx
	if t.Tx != nil && !t.ended { // a driver with transactions within transactions, by Raw
		t = &tx{}
	}
	t.Tx, t.conn, t.ctx, t.start, t.ended = inner, c, ctx, e.start, false
	t.open.begin(e)
	if t != &c.tx {
		c.db.note(t)
	}
	return t
}

func (t *tx) Commit() (err error) {
	e, returned := t.conn.db.commit.start(t.ctx, t.conn), false
	defer func() {
		e.end(err, returned)
		if err != nil || !returned {
			t.end(t.conn.db.undecided)
		} else {
			t.end(t.conn.db.committed)
		}
		t.Tx, t.ctx = nil, nil
	}()
	err = t.Tx.Commit()
	returned = true
	return err
}

// Rollback is what database/sql calls, too, when the context of BeginTx ends
// before the program commits or rolls back.
func (t *tx) Rollback() (err error) {
	gone := t.ctx.Err() != nil
	e, returned := t.conn.db.rollback.start(t.ctx, t.conn), false
	defer func() {
		e.end(err, returned)
		switch {
		case gone:
			t.end(t.conn.db.abandoned)
		case err != nil || !returned:
			t.end(t.conn.db.undecided)
		default:
			t.end(t.conn.db.rolledBack)
		}
		t.Tx, t.ctx = nil, nil
	}()
	err = t.Tx.Rollback()
	returned = true
	return err
}

// end counts the transaction, once. Its connection may end it before it is
// committed or rolled back.
func (t *tx) end(result *timing) {
	if t.ended {
		return
	}
	t.ended = true
	t.open.end()
	if t != &t.conn.tx {
		t.conn.db.forget(t)
	}
	result.own.observe(time.Since(t.start).Seconds(), t.conn.processor)
}
