package observe

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/tracing"
)

// operations returns how often each operation of a database was observed,
// "SELECT" or, with an error type, "SELECT _OTHER".
func operations(t testing.TB, tel *Telemetry, name string) map[string]uint64 {
	t.Helper()
	counts := map[string]uint64{}
	for _, m := range family(t, tel, "db_client_operation_duration_seconds") {
		of := map[string]string{}
		for _, l := range m.GetLabel() {
			of[l.GetName()] = l.GetValue()
		}
		if of["db_namespace"] == name {
			counts[strings.TrimSpace(of["db_operation_name"]+" "+of["error_type"])] += m.GetHistogram().GetSampleCount()
		}
	}
	return counts
}

// collect starts a Telemetry that traces everything, and a function that
// returns the spans that ended so far.
func collect(t testing.TB, sampler sdktrace.Sampler) (*Telemetry, func() tracetest.SpanStubs) {
	t.Helper()
	return collectWith(t, tracing.Config{Sampler: sampler})
}

func collectWith(t testing.TB, config tracing.Config) (*Telemetry, func() tracetest.SpanStubs) {
	t.Helper()
	exporter := tracetest.NewInMemoryExporter()
	config.Exporter = exporter
	tel := start(t, Config{Tracing: config})
	return tel, func() tracetest.SpanStubs {
		t.Helper()
		if err := tel.provider.ForceFlush(context.Background()); err != nil {
			t.Fatal(err)
		}
		return exporter.GetSpans()
	}
}

func attributes(s tracetest.SpanStub) map[string]any {
	found := map[string]any{}
	for _, a := range s.Attributes {
		if _, twice := found[string(a.Key)]; twice {
			found[string(a.Key)] = "stands twice"
			continue
		}
		found[string(a.Key)] = a.Value.AsInterface()
	}
	return found
}

func spanNamed(t testing.TB, spans tracetest.SpanStubs, name string) tracetest.SpanStub {
	t.Helper()
	for _, s := range spans {
		if s.Name == name {
			return s
		}
	}
	var names []string
	for _, s := range spans {
		names = append(names, s.Name)
	}
	t.Fatalf("no span %q among %q", name, names)
	return tracetest.SpanStub{}
}

func openFake(tel *Telemetry, name, conn, stmt string, fail map[string][]error) (*sql.DB, *fake) {
	f := &fake{newConn: fakeConns[conn], newStmt: fakeStmts[stmt], fail: fail}
	return tel.OpenDB(f, name), f
}

func TestOperationsAreCounted(t *testing.T) {
	tel := start(t, Config{})
	for _, c := range []struct {
		name, conn string
		fail       map[string][]error
		do         func(s *script)
		want       map[string]uint64
	}{
		{"query", "all", nil, func(s *script) { s.query(s.db, 1) }, map[string]uint64{"CONNECT": 1, "SELECT": 1}},
		{"twice", "all", nil, func(s *script) { s.query(s.db, 1); s.query(s.db, 2) }, map[string]uint64{"CONNECT": 1, "SELECT": 2}},
		{"old driver", "old", nil, func(s *script) { s.query(s.db, 1); s.exec(s.db, 1) }, map[string]uint64{"CONNECT": 1, "SELECT": 1, "UPDATE": 1}},
		{"only Conn", "plain", nil, func(s *script) { s.query(s.db, 1) }, map[string]uint64{"CONNECT": 1, "PREPARE": 1, "SELECT": 1}},
		{"skipped", "all", map[string][]error{"QueryContext": {driver.ErrSkip}}, func(s *script) { s.query(s.db, 1) },
			map[string]uint64{"CONNECT": 1, "PREPARE": 1, "SELECT": 1}},
		{"transaction", "all", nil, func(s *script) {
			tx, _ := s.db.BeginTx(s.ctx, nil)
			s.exec(tx, 1)
			tx.Commit()
			tx, _ = s.db.BeginTx(s.ctx, nil)
			tx.Rollback()
		}, map[string]uint64{"CONNECT": 1, "BEGIN": 2, "UPDATE": 1, "COMMIT": 1, "ROLLBACK": 1}},
		{"ping", "all", nil, func(s *script) { s.db.PingContext(s.ctx) }, map[string]uint64{"CONNECT": 1, "PING": 1}},
		{"no ping", "plain", nil, func(s *script) { s.db.PingContext(s.ctx) }, map[string]uint64{"CONNECT": 1}},
		{"error", "all", map[string][]error{"QueryContext": {errBoom}}, func(s *script) { s.query(s.db, 1) },
			map[string]uint64{"CONNECT": 1, "SELECT _OTHER": 1}},
		{"state", "all", map[string][]error{"QueryContext": {stateError("40001")}}, func(s *script) { s.query(s.db, 1) },
			map[string]uint64{"CONNECT": 1, "SELECT 40001": 1}},
		{"retries", "all", map[string][]error{"QueryContext": {driver.ErrBadConn}}, func(s *script) { s.query(s.db, 1) },
			map[string]uint64{"CONNECT": 3, "SELECT bad_connection": 3}}, // database/sql tries twice, and once more on a new connection
		{"down", "all", map[string][]error{"Connect": {errBoom}}, func(s *script) { s.query(s.db, 1) }, map[string]uint64{"CONNECT _OTHER": 1}},
		{"syntax", "plain", map[string][]error{"Prepare": {stateError("42601")}}, func(s *script) { s.query(s.db, 1) },
			map[string]uint64{"CONNECT": 1, "PREPARE 42601": 1}},
		{"panic", "all", map[string][]error{"QueryContext": {panicError("p")}}, func(s *script) { s.query(s.db, 1) },
			map[string]uint64{"CONNECT": 1, "SELECT panic": 1}},
		{"nil pointer in an error", "all", map[string][]error{"QueryContext": {(*net.OpError)(nil)}}, func(s *script) {
			if _, err := s.db.QueryContext(s.ctx, "SELECT 1"); err != error((*net.OpError)(nil)) {
				s.t.Errorf("the caller got a %T", err)
			}
		}, map[string]uint64{"CONNECT": 1, "SELECT _OTHER": 1}},
		{"canceled", "all", map[string][]error{"QueryContext": {context.Canceled}}, func(s *script) { s.query(s.db, 1) },
			map[string]uint64{"CONNECT": 1, "SELECT canceled": 1}},
		{"canceled before", "all", nil, func(s *script) {
			ctx, cancel := context.WithCancel(s.ctx)
			cancel()
			s.ctx = ctx
			s.query(s.db, 1)
		}, map[string]uint64{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fake{newConn: fakeConns[c.conn], newStmt: fakeStmts["plain"], fail: c.fail}
			runScript(t, f, func(dc driver.Connector) *sql.DB { return tel.OpenDB(dc, c.name) }, t.Context(), c.do)
			if got := operations(t, tel, c.name); !maps.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestStatementsInARequestAreInItsTrace(t *testing.T) {
	tel, spans := collect(t, sdktrace.AlwaysSample())
	db, _ := openFake(tel, "orders", "all", "plain", map[string][]error{
		"ExecContext": {stateError("23505 Duplicate entry 'hunter2' for key 7")},
	})
	defer db.Close()
	var text string
	h := tel.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := db.QueryRowContext(r.Context(), "SELECT id FROM items WHERE name = 'hunter2' AND id = 42").Scan(new(int)); err != nil {
			t.Error(err)
		}
		_, err := db.ExecContext(r.Context(), "UPDATE items SET a = 1")
		text = err.Error()
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	if !strings.Contains(text, "hunter2") {
		t.Errorf("the caller got %q", text)
	}

	got := spans()
	server, query, exec := spanNamed(t, got, "GET"), spanNamed(t, got, "SELECT items"), spanNamed(t, got, "UPDATE items")
	for _, s := range []tracetest.SpanStub{query, exec} {
		if s.Parent.SpanID() != server.SpanContext.SpanID() || s.SpanContext.TraceID() != server.SpanContext.TraceID() || s.SpanKind != trace.SpanKindClient {
			t.Errorf("%s: parent %v, kind %v", s.Name, s.Parent, s.SpanKind)
		}
	}
	want := map[string]any{
		"db.system.name": "other_sql", "db.namespace": "orders", "db.operation.name": "SELECT",
		"db.collection.name": "items", "db.query.summary": "SELECT items",
		"db.query.text": "SELECT id FROM items WHERE name = ? AND id = ?",
	}
	if a := attributes(query); !maps.Equal(a, want) {
		t.Errorf("attributes %v, want %v", a, want)
	}
	if query.Status.Code != codes.Unset || exec.Status.Code != codes.Error || attributes(exec)["error.type"] != "_OTHER" {
		t.Errorf("status %v and %v, %v", query.Status, exec.Status, attributes(exec))
	}
	if len(exec.Events) != 1 || !slices.Contains(exec.Events[0].Attributes, attribute.String("exception.message", "the server says ? Duplicate entry ? for key ?")) {
		t.Errorf("events %v", exec.Events)
	}
}

func TestTransactionIsInTheTraceOfItsBegin(t *testing.T) {
	tel, spans := collect(t, sdktrace.AlwaysSample())
	db, _ := openFake(tel, "orders", "all", "plain", nil)
	defer db.Close()
	ctx, up := tel.provider.Tracer("test").Start(t.Context(), "up")
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	up.End()
	got := spans()
	for _, name := range []string{"CONNECT", "BEGIN", "COMMIT"} {
		if s := spanNamed(t, got, name); s.Parent.SpanID() != up.SpanContext().SpanID() {
			t.Errorf("%s: parent %v", name, s.Parent)
		}
	}
}

// A declined statement leaves no span.
func TestSkippedStatementLeavesNoSpan(t *testing.T) {
	tel, spans := collect(t, sdktrace.AlwaysSample())
	db, _ := openFake(tel, "orders", "all", "plain", map[string][]error{"QueryContext": {driver.ErrSkip}})
	defer db.Close()
	ctx, up := tel.provider.Tracer("test").Start(t.Context(), "up")
	for range 3 {
		if err := db.QueryRowContext(ctx, "SELECT 1").Scan(new(int)); err != nil {
			t.Fatal(err)
		}
	}
	up.End()
	counts := map[string]int{}
	for _, s := range spans() {
		counts[s.Name]++
	}
	if want := map[string]int{"up": 1, "CONNECT": 1, "PREPARE": 3, "SELECT": 3}; !maps.Equal(counts, want) {
		t.Errorf("got %v, want %v", counts, want)
	}
}

// Drivers keep contexts: to cancel what runs, to close rows. Those of a
// request that ended, refused or sampled, stay what they were.
func TestContextOfAStatementOutlivesItsRequest(t *testing.T) {
	for name, sampler := range map[string]sdktrace.Sampler{"sampled": sdktrace.AlwaysSample(), "refused": sdktrace.NeverSample()} {
		t.Run(name, func(t *testing.T) {
			tel, _ := collect(t, sampler)
			var kept []context.Context
			f := &fake{newConn: func(f *fake) driver.Conn { return keeper{plainConn{f}, &kept} }, newStmt: fakeStmts["plain"]}
			db := tel.OpenDB(f, "orders")
			defer db.Close()
			type key struct{}
			ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
			h := tel.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for i := range 9 { // more than one chunk of spans
					if _, err := db.ExecContext(r.Context(), fmt.Sprint("UPDATE t", i)); err != nil {
						t.Error(err)
					}
				}
			}))
			for range 3 {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/", nil))
			}
			seen := map[trace.SpanID]bool{}
			for i, c := range kept {
				sc := trace.SpanContextFromContext(c)
				if !sc.IsValid() || seen[sc.SpanID()] || c.Value(key{}) != "value" || c.Err() != nil {
					t.Errorf("context %d: %v, value %v, %v", i, sc, c.Value(key{}), c.Err())
				}
				seen[sc.SpanID()] = true
				_, late := tel.provider.Tracer("test").Start(c, "late")
				if late.SpanContext().TraceID() != sc.TraceID() {
					t.Errorf("context %d: its child is in another trace", i)
				}
				late.End()
			}
			cancel()
			for i, c := range kept {
				if c.Err() != context.Canceled {
					t.Errorf("context %d: not canceled", i)
				}
			}
			if len(kept) != 27 {
				t.Errorf("%d contexts", len(kept))
			}
		})
	}
}

type keeper struct {
	plainConn
	kept *[]context.Context
}

func (k keeper) ExecContext(ctx context.Context, _ string, _ []driver.NamedValue) (driver.Result, error) {
	*k.kept = append(*k.kept, ctx)
	return driver.RowsAffected(1), nil
}

// A program that puts values into its statements costs no memory without end.
func TestStatementsAreBounded(t *testing.T) {
	tel := start(t, Config{MaxSeries: 20})
	d := newDatabase(tel, "orders", "other_sql")
	for i := range 4 * maxStatements {
		s := d.statement(fmt.Sprintf("SELECT %d", i))
		e := s.start(t.Context(), nil)
		e.end(nil, true)
	}
	d.statement(strings.Repeat("x", maxStatementText+1))
	if n := len(*d.statements.read.Load()); n != maxStatements {
		t.Errorf("%d statements are remembered, want %d", n, maxStatements)
	}
	for i := range 100 {
		e := d.statement("SELECT 1").start(t.Context(), nil)
		e.end(stateError(fmt.Sprintf("A%04d", i)), true)
	}
	if n := len(*d.found.read.Load()); n > 20 {
		t.Errorf("%d series are remembered, want at most 20", n)
	}
	if got := operations(t, tel, "orders"); got["SELECT"] != 4*maxStatements {
		t.Errorf("%v", got)
	}
}

func TestPoolsAreShown(t *testing.T) {
	tel := start(t, Config{})
	values := func() map[string]float64 {
		found := map[string]float64{}
		for _, name := range []string{"db_client_connection_count", "db_client_connection_max", "observe_db_client_connection_waits_total", "observe_db_client_connection_wait_seconds_total"} {
			for labels, m := range family(t, tel, name) {
				labels = strings.NewReplacer("db_client_connection_pool_name=", "", "db_client_connection_state=", "").Replace(labels)
				found[name+" "+labels] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
		return found
	}
	db, _ := openFake(tel, "orders", "all", "plain", nil)
	db.SetMaxOpenConns(2)
	a, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error)
	go func() { _, err := db.Conn(ctx); waiting <- err }()
	for db.Stats().WaitCount == 0 { // until the test's own deadline
		runtime.Gosched()
	}
	cancel()
	if err := <-waiting; err != context.Canceled {
		t.Fatal(err)
	}
	a.Close()

	s := db.Stats()
	want := map[string]float64{
		"db_client_connection_count orders idle":                 float64(s.Idle),
		"db_client_connection_count orders used":                 float64(s.InUse),
		"db_client_connection_max orders":                        2,
		"observe_db_client_connection_waits_total orders":        float64(s.WaitCount),
		"observe_db_client_connection_wait_seconds_total orders": s.WaitDuration.Seconds(),
	}
	if s.Idle != 1 || s.InUse != 1 || s.WaitCount != 1 {
		t.Errorf("stats %+v", s)
	}
	if got := values(); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}

	// A second pool of the name is added up; one without a limit hides it.
	twin, _ := openFake(tel, "orders", "all", "plain", nil)
	if err := twin.PingContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := values()
	if _, limited := got["db_client_connection_max orders"]; limited || got["db_client_connection_count orders idle"] != 2 {
		t.Errorf("two pools: %v", got)
	}
	twin.Close()

	// Names that are mended to one do not break the scrape.
	x, _ := openFake(tel, "\xff", "all", "plain", nil)
	y, _ := openFake(tel, "\xfe", "all", "plain", nil)
	if got := values(); len(got) != 9 {
		t.Errorf("mended names: %v", got)
	}
	x.Close()
	y.Close()
	b.Close()
	db.Close()
	got = values()
	for name := range got {
		if !strings.Contains(name, "_total ") { // a counter does not go back
			t.Errorf("after Close: %s", name)
		}
	}
	if got["observe_db_client_connection_waits_total orders"] != 1 {
		t.Errorf("after Close: %v", got)
	}
}

func TestNilTelemetryOpensAPlainDB(t *testing.T) {
	f := &fake{newConn: fakeConns["all"], newStmt: fakeStmts["plain"]}
	db := (*Telemetry)(nil).OpenDB(f, "orders")
	defer db.Close()
	c, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Raw(func(dc any) error {
		if _, wrapped := dc.(interface{ Unwrap() driver.Conn }); wrapped {
			t.Errorf("a nil Telemetry wraps a connection in a %T", dc)
		}
		return nil
	})
}

// closing is a connector that wants to be closed.
type closing struct {
	*fake
	closed int
}

func (c *closing) Close() error { c.closed++; return errBoom }

func TestConnectorIsClosed(t *testing.T) {
	tel := start(t, Config{})
	c := &closing{fake: &fake{newConn: fakeConns["all"]}}
	db := tel.OpenDB(c, "orders")
	if db.Driver() != driver.Driver(c.fake) {
		t.Errorf("Driver gives a %T", db.Driver())
	}
	if err := db.Close(); err != errBoom || c.closed != 1 {
		t.Errorf("%v, closed %d times", err, c.closed)
	}
}

// named is a driver that opens connectors.
type named struct {
	driver.Driver
	opened int
	err    error
}

func (n *named) OpenConnector(dsn string) (driver.Connector, error) {
	n.opened++
	if n.err != nil {
		return nil, n.err
	}
	return &fake{newConn: fakeConns["all"], newStmt: fakeStmts["plain"]}, nil
}

func TestConnectorOpensTheDriversOwn(t *testing.T) {
	n := &named{}
	db := sql.OpenDB(Connector(n, "dsn"))
	db.SetMaxIdleConns(0)
	for range 3 {
		if err := db.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	db.Close()
	if n.opened != 1 {
		t.Errorf("OpenConnector was called %d times", n.opened)
	}
	refused := Connector(&named{err: errBoom}, "dsn")
	if _, err := refused.Connect(t.Context()); err != errBoom {
		t.Errorf("Connect: %v", err)
	}
	plain := Connector(&fake{newConn: fakeConns["all"]}, "dsn")
	if c, err := plain.Connect(t.Context()); err != nil || c == nil {
		t.Errorf("Connect: %v, %v", c, err)
	}
}

func TestDatabaseSystem(t *testing.T) {
	for _, d := range []driver.Driver{nil, &fake{}, (*fake)(nil), closing{}.fake} {
		if got := databaseSystem(d); got != "other_sql" {
			t.Errorf("%T: %s", d, got)
		}
	}
}

// quick is a database whose every query has one row of one number, at no cost.
type quick struct{ plainConn }

func (quick) Connect(context.Context) (driver.Conn, error) { return quick{}, nil }
func (quick) Driver() driver.Driver                        { return nil }
func (quick) Close() error                                 { return nil }
func (quick) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	return &fakeRows{}, nil
}

func quickQuery(t testing.TB, db *sql.DB, ctx context.Context) func() {
	return func() {
		var id int64
		if err := db.QueryRowContext(ctx, "SELECT id FROM items WHERE id = ?", int64(42)).Scan(&id); err != nil || id != 42 {
			t.Fatal(id, err)
		}
	}
}

func TestQueryAllocations(t *testing.T) {
	bare := sql.OpenDB(quick{})
	defer bare.Close()
	allocs := func(db *sql.DB, ctx context.Context) float64 {
		query := quickQuery(t, db, ctx)
		query()
		return allocations(1000, query)
	}
	floor := allocs(bare, context.Background())
	for _, c := range []struct {
		name    string
		sampler sdktrace.Sampler
		request bool
		above   float64
	}{
		{"not sampled", sdktrace.NeverSample(), false, 0},
		{"not sampled in a request", sdktrace.NeverSample(), true, 0}, // a quarter: spans of a trace share memory
		{"sampled in a request", sdktrace.AlwaysSample(), true, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			tel := start(t, Config{Tracing: tracing.Config{Sampler: c.sampler, Exporter: discard{}}})
			db := tel.OpenDB(quick{}, "orders")
			defer db.Close()
			ctx := context.Background()
			if c.request {
				var up trace.Span
				ctx, up = tel.provider.Tracer("test").Start(ctx, "up")
				defer up.End()
			}
			if got := allocs(db, ctx) - floor; got > c.above {
				t.Errorf("%v allocations above bare, want at most %v", got, c.above)
			}
		})
	}
}

func BenchmarkQuery(b *testing.B) {
	run := func(name string, sampler sdktrace.Sampler, request bool) {
		b.Run(name, func(b *testing.B) {
			ctx, db := context.Background(), sql.OpenDB(quick{})
			h := func(next func(context.Context)) { next(ctx) }
			if sampler != nil {
				tel := start(b, Config{Tracing: tracing.Config{Sampler: sampler, Exporter: discard{}}})
				db = tel.OpenDB(quick{}, "orders")
				if request {
					r, w := httptest.NewRequest("GET", "/", nil), &quietWriter{http.Header{}}
					h = func(next func(context.Context)) {
						tel.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { next(r.Context()) })).ServeHTTP(w, r)
					}
				}
			}
			defer db.Close()
			b.ReportAllocs()
			for b.Loop() {
				h(func(ctx context.Context) { quickQuery(b, db, ctx)() })
			}
		})
	}
	run("bare", nil, false)
	run("notsampled", sdktrace.NeverSample(), false)
	run("sampled", sdktrace.AlwaysSample(), false)
	run("notsampled in a request", sdktrace.NeverSample(), true)
	run("sampled in a request", sdktrace.AlwaysSample(), true)
}

func TestOpenDBOfNoConnectorPanicsInWords(t *testing.T) {
	tel := start(t, Config{})
	if got, want := panicOf(func() { tel.OpenDB(nil, "orders") }), `observe: OpenDB of "orders": the connector is nil`; got != want {
		t.Errorf("got  %v\nwant %s", got, want)
	}
}
