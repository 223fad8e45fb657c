package observe

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/loadline-go/loadline/tracing"
)

func repeated(t testing.TB, tel *Telemetry) map[string]float64 {
	t.Helper()
	found := map[string]float64{}
	for labels, m := range family(t, tel, "observe_db_repeated_queries_total") {
		found[strings.NewReplacer("db_namespace=", "", "db_query_summary=", "", "http_route=", "").Replace(labels)] = m.GetCounter().GetValue()
	}
	return found
}

func TestQueriesInALoopAreFound(t *testing.T) {
	tel, spans := collect(t, sdktrace.AlwaysSample())
	db := tel.OpenDB(quick{}, "orders")
	defer db.Close()
	query := func(ctx context.Context, text string) {
		if err := db.QueryRowContext(ctx, text).Scan(new(int)); err != nil {
			t.Error(err)
		}
	}
	mux := http.NewServeMux()
	handle := func(pattern string, f func(ctx context.Context)) {
		mux.HandleFunc(pattern, func(_ http.ResponseWriter, r *http.Request) { f(r.Context()) })
	}
	handle("GET /ten", func(ctx context.Context) {
		for range 10 {
			query(ctx, "SELECT id FROM items")
		}
		for range 10 {
			query(ctx, "SELECT id FROM orders")
		}
	})
	handle("GET /eleven", func(ctx context.Context) {
		for i := range 11 {
			query(ctx, fmt.Sprintf("SELECT id FROM items WHERE id = %d", i)) // one summary, many texts
		}
	})
	handle("GET /steps", func(ctx context.Context) { // one below each of many steps
		query(ctx, "SELECT id FROM users")
		for range 50 {
			tracing.Do(ctx, "step", func(ctx context.Context) error { query(ctx, "SELECT id FROM items"); return nil })
		}
	})
	handle("GET /parallel", func(ctx context.Context) {
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() { query(ctx, "SELECT id FROM items") })
		}
		wg.Wait()
	})
	h := tel.Handler(mux)
	for _, path := range []string{"/ten", "/eleven", "/eleven", "/steps", "/parallel"} {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil))
	}
	tracing.Do(context.Background(), "nightly", func(ctx context.Context) error {
		for range 30 {
			query(ctx, "SELECT id FROM items")
		}
		return nil
	})
	for range 30 {
		query(context.Background(), "SELECT id FROM items") // of no trace
	}
	want := map[string]float64{
		"orders SELECT items /eleven": 2, "orders SELECT items /steps": 1, "orders SELECT items /parallel": 1, "orders SELECT items nightly": 1,
	}
	if got := repeated(t, tel); !maps.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	all := spans()
	for name, counts := range map[string][]int64{"GET /eleven": {11}, "GET /steps": {44, 48}, "nightly": {22}} {
		s := spanNamed(t, all, name)
		a := attributes(s)
		n, _ := a["observe.db.repeated_query.count"].(int64)
		if a["observe.db.repeated_query"] != "SELECT items" || n < counts[0] || n > counts[len(counts)-1] || len(s.Events) != 1 {
			t.Errorf("%s: %v, %d events", name, a, len(s.Events))
		}
	}
	if s := spanNamed(t, all, "GET /ten"); attributes(s)["observe.db.repeated_query"] != nil || len(s.Events) != 0 {
		t.Errorf("ten queries: %v", attributes(s))
	}
}

func TestRepeatedQueriesCanBeOff(t *testing.T) {
	tel := start(t, Config{RepeatedQueries: -1})
	db := tel.OpenDB(quick{}, "orders")
	defer db.Close()
	tracing.Do(context.Background(), "loop", func(ctx context.Context) error {
		for range 300 {
			quickQuery(t, db, ctx)()
		}
		return nil
	})
	if got := repeated(t, tel); len(got) > 0 {
		t.Errorf("%v", got)
	}
}
