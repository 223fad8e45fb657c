package observe

import (
	"context"
	"database/sql/driver"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestUnclosedRowsAndTransactionsAreFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := start(t, Config{Captures: noCaptures})
		db := tel.OpenDB(table{rows: func() driver.Rows { return &numbers{n: 1 << 30} }}, "orders")
		defer db.Close()
		value := func(kind string) float64 {
			return family(t, tel, "observe_db_unclosed")["db_client_connection_pool_name=orders kind="+kind].GetGauge().GetValue()
		}
		var finish []func() error
		mux := http.NewServeMux()
		mux.HandleFunc("GET /leak", func(_ http.ResponseWriter, r *http.Request) {
			rows, err := db.Query("SELECT n FROM leaky") // a context of its own, or it would end with the request
			if err != nil {
				t.Fatal(err)
			}
			rows.Next()
			finish = append(finish, rows.Close)
		})
		mux.HandleFunc("GET /begin", func(_ http.ResponseWriter, r *http.Request) {
			tx, err := db.BeginTx(context.WithoutCancel(r.Context()), nil)
			if err != nil {
				t.Fatal(err)
			}
			finish = append(finish, tx.Rollback)
		})
		h := tel.Handler(mux)
		get := func(path string) { h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil)) }

		get("/leak")
		get("/begin")
		busy, err := db.Query("SELECT n FROM export")
		if err != nil {
			t.Fatal(err)
		}
		working, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if found := tel.unclosed(); len(found) > 0 {
			t.Errorf("at once: %+v", found)
		}
		for range 4 {
			time.Sleep(30 * time.Second)
			busy.Next()
			if rows, err := working.Query("SELECT n FROM work"); err != nil {
				t.Fatal(err)
			} else {
				rows.Close()
			}
			tel.unclosed()
		}
		if r, x := value("rows"), value("transaction"); r != 1 || x != 1 {
			t.Errorf("%v rows and %v transactions, want one of each", r, x)
		}
		found := tel.unclosed()
		if len(found) != 2 {
			t.Fatalf("%+v", found)
		}
		for _, u := range found {
			if u.Database != "orders" || u.Age < 2*time.Minute || u.Idle < unclosedIdle {
				t.Errorf("%+v", u)
			}
			switch {
			case u.Kind == "rows" && u.Summary == "SELECT leaky":
			case u.Kind == "transaction" && u.Route == "GET /begin" && len(u.TraceID) == 32:
			default:
				t.Errorf("%+v", u)
			}
		}

		// The second of a kind tells where it was opened.
		get("/leak")
		tel.unclosed()
		time.Sleep(2 * time.Minute)
		sites := 0
		for _, u := range tel.unclosed() {
			if u.Site != "" {
				sites++
				if !strings.Contains(u.Site, "TestUnclosedRowsAndTransactionsAreFound") || !strings.Contains(u.Site, "unclosed_test.go:") {
					t.Errorf("opened at %s", u.Site)
				}
			}
		}
		if sites != 1 {
			t.Errorf("%d sites are known, want 1", sites)
		}

		busy.Close()
		working.Rollback()
		for _, f := range finish {
			if err := f(); err != nil {
				t.Error(err)
			}
		}
		if found := tel.unclosed(); len(found) > 0 {
			t.Errorf("after the end: %+v", found)
		}
		if found := (*Telemetry)(nil).unclosed(); found != nil {
			t.Errorf("nil: %v", found)
		}
	})
}
