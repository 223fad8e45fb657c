package observe

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/loadline-go/loadline/observe/capture"
)

// noCaptures is for tests in a bubble, where the runtime cannot trace.
var noCaptures = capture.Config{Dir: Off}

func poolMetric(t testing.TB, tel *Telemetry, name string) *dto.Metric {
	t.Helper()
	return family(t, tel, name)["db_client_connection_pool_name=orders"]
}

// Waits are told one by one, to the millisecond, while connections go from hand to hand.
func TestWaitsForAConnectionAreAHistogram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := start(t, Config{Captures: noCaptures})
		db := tel.OpenDB(quick{}, "orders")
		defer db.Close()
		db.SetMaxOpenConns(1)
		db.SetMaxIdleConns(1)
		held, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan *sql.Conn)
		for range 3 {
			go func() {
				c, err := db.Conn(t.Context())
				if err != nil {
					t.Error(err)
				}
				got <- c
			}()
		}
		synctest.Wait()
		_, known := tel.pools.list()[0].peek.pending()
		if known {
			if n := poolMetric(t, tel, "db_client_connection_pending_requests").GetGauge().GetValue(); n != 3 {
				t.Errorf("%v goroutines wait, want 3", n)
			}
			if n := poolMetric(t, tel, "db_client_connection_idle_max").GetGauge().GetValue(); n != 1 {
				t.Errorf("idle max %v", n)
			}
		}
		for range 3 {
			time.Sleep(2 * time.Second)
			held.Close()
			held = <-got
		}
		// One gives up.
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
		defer cancel()
		if _, err := db.Conn(ctx); err != context.DeadlineExceeded {
			t.Errorf("%v", err)
		}
		held.Close()

		look := func() (text string) {
			poolMetric(t, tel, "db_client_connection_wait_time_seconds") // each scrape looks, and shows what was seen before
			h := poolMetric(t, tel, "db_client_connection_wait_time_seconds").GetHistogram()
			for _, b := range h.GetBucket() {
				text += fmt.Sprintf("%v:%d ", b.GetUpperBound(), b.GetCumulativeCount())
			}
			return fmt.Sprint(text, h.GetSampleCount(), " ", h.GetSampleSum())
		}
		want := "0.001:0 0.005:0 0.01:0 0.05:0 0.1:0 0.5:0 1:0 5:2 10:3 4 112"
		if !known { // the mean of all
			want = "0.001:0 0.005:0 0.01:0 0.05:0 0.1:0 0.5:0 1:0 5:0 10:0 4 112"
		}
		if text := look(); text != want && known {
			t.Errorf("got  %s\nwant %s", text, want)
		}
		if s := db.Stats(); s.WaitCount != 4 || s.WaitDuration != 112*time.Second {
			t.Errorf("%+v", s)
		}
	})
}

func TestUseAndCreateTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := start(t, Config{Captures: noCaptures})
		f := &fake{newConn: fakeConns["all"], newStmt: fakeStmts["plain"], before: func(method string) {
			switch method {
			case "Connect":
				time.Sleep(3 * time.Second)
			case "QueryContext":
				time.Sleep(5 * time.Second)
			case "ResetSession":
				time.Sleep(time.Hour) // before the use
			}
		}}
		db := tel.OpenDB(f, "orders")
		rows, err := db.Query("SELECT id FROM items")
		if err != nil {
			t.Fatal(err)
		}
		rows.Next()
		time.Sleep(7 * time.Second)
		rows.Close()
		time.Sleep(time.Hour) // idle
		if err := db.QueryRow("SELECT id FROM items").Scan(new(int)); err != nil {
			t.Fatal(err)
		}
		f.fail = map[string][]error{"QueryContext": {driver.ErrBadConn}}
		if _, err := db.Query("SELECT id FROM items"); err != driver.ErrBadConn {
			t.Errorf("%v", err)
		}
		db.Close()
		for name, want := range map[string]string{
			"db_client_connection_create_time_seconds": "3 9",
			"db_client_connection_use_time_seconds":    "5 32", // 12, 5 and three bad ones of 5: database/sql tries two new connections
		} {
			h := poolMetric(t, tel, name).GetHistogram()
			if got := fmt.Sprint(h.GetSampleCount(), " ", h.GetSampleSum()); got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
	})
}

func TestConnectingInTimeIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := start(t, Config{Captures: noCaptures})
		db := tel.OpenDB(hanging{}, "orders")
		defer db.Close()
		for i := range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := db.PingContext(ctx); err != context.DeadlineExceeded {
				t.Error(err)
			}
			cancel()
			if n := poolMetric(t, tel, "db_client_connection_timeouts_total").GetCounter().GetValue(); n != float64(i+1) {
				t.Errorf("%v timeouts after %d", n, i+1)
			}
		}
	})
}

// hanging is a server that does not answer.
type hanging struct{ quick }

func (hanging) Connect(ctx context.Context) (driver.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// Connections that are opened and closed in turn tell why.
func TestClosedConnectionsTellWhy(t *testing.T) {
	tel := start(t, Config{})
	db := tel.OpenDB(quick{}, "orders")
	db.SetMaxIdleConns(-1)
	for range 5 {
		quickQuery(t, db, t.Context())()
	}
	closed := func() float64 {
		return family(t, tel, "observe_db_client_connection_closed_total")["db_client_connection_pool_name=orders reason=max_idle"].GetCounter().GetValue()
	}
	if n := closed(); n != 5 {
		t.Errorf("%v, want 5", n)
	}
	db.Close()
	if n := closed(); n != 5 {
		t.Errorf("%v after Close, want 5", n)
	}
}
