package observe

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestSlowQueriesAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own, ours := &lines{}, &lines{}
		tel := start(t, Config{SlowQuery: 50 * time.Millisecond, Logger: own.logger(), Captures: noCaptures})
		// As a program has it: the default logger passes LogHandler.
		slog.New(tel.LogHandler(slog.NewTextHandler(ours, nil))).Info("ready")
		took := 60 * time.Millisecond
		f := &fake{newConn: fakeConns["all"], newStmt: fakeStmts["plain"], before: func(method string) {
			if method == "QueryContext" {
				time.Sleep(took)
			}
		}}
		db := tel.OpenDB(f, "orders")
		defer db.Close()
		query := func(ctx context.Context) {
			if err := db.QueryRowContext(ctx, "SELECT id FROM items WHERE name = 'hunter2'").Scan(new(int)); err != nil {
				t.Error(err)
			}
		}
		var traceID string
		h := tel.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			traceID, _ = logIDs(r.Context())
			query(r.Context())
		}))
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		text := own.String()
		for _, want := range []string{`level=WARN msg="observe: slow query"`, "database=orders", `summary="SELECT items"`, `query="SELECT id FROM items WHERE name = ?"`, "duration=60ms", "trace_id=" + traceID} {
			if strings.Count(text, want) != 1 {
				t.Errorf("%q stands %d times in %s", want, strings.Count(text, want), text)
			}
		}
		took = 40 * time.Millisecond
		query(t.Context())
		if n := strings.Count(own.String(), "slow query"); n != 1 {
			t.Errorf("%d records after a quick one", n)
		}
		time.Sleep(time.Second)
		took = 51 * time.Millisecond
		for range 15 {
			query(t.Context())
		}
		time.Sleep(2 * time.Second)
		query(t.Context())
		text = own.String()
		records, skipped := strings.Count(text, "slow query"), strings.Count(text, "skipped=")
		if records < 1+slowRecords+1 || records > 1+2*slowRecords+1 || skipped == 0 {
			t.Errorf("%d records, %d tell of skipped ones:\n%s", records, skipped, text)
		}
	})
}

func TestSlowQueryThroughLogHandlerHasOneTraceID(t *testing.T) {
	out := &lines{}
	tel := start(t, Config{SlowQuery: 1, Logger: slog.New(currentDefault{})})
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(slog.New(tel.LogHandler(slog.NewTextHandler(out, nil))))
	db := tel.OpenDB(quick{}, "orders")
	defer db.Close()
	h := tel.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { quickQuery(t, db, r.Context())() }))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	if text := out.String(); strings.Count(text, "trace_id=") != 1 || strings.Count(text, "span_id=") != 1 {
		t.Errorf("%s", text)
	}
}

func TestSlowQueryCanBeOff(t *testing.T) {
	out := &lines{}
	tel := start(t, Config{SlowQuery: -1, Logger: out.logger()})
	db := tel.OpenDB(quick{}, "orders")
	defer db.Close()
	quickQuery(t, db, t.Context())()
	if strings.Contains(out.String(), "slow query") {
		t.Errorf("%s", out)
	}
}

func TestZeroConfigTakesASecondForSlowAndTenForALoop(t *testing.T) {
	c, err := Config{}.withDefaults()
	if err != nil || c.SlowQuery != time.Second || c.RepeatedQueries != 10 {
		t.Errorf("%v, %d: %v", c.SlowQuery, c.RepeatedQueries, err)
	}
}
