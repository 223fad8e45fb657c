package observe

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/internal/span"
)

// OpenDB is sql.OpenDB with every operation measured and traced, and the pool
// watched until the DB is closed. Name tells the databases of a service apart
// ("orders", "orders-replica"); it is one of few, and pools of one name are
// added up. What the driver can do it still can, and its errors pass
// untouched. The text of statements is never a label; a span carries it with
// its literals replaced by "?".
//
// Besides the verbs of statements, operations are CONNECT, PING, PREPARE,
// BEGIN, COMMIT and ROLLBACK. What database/sql tries again, as it does after
// driver.ErrBadConn, counts each time.
//
// The connector of a driver that is known by name only is had with Connector.
// A nil connector panics. A nil Telemetry returns sql.OpenDB(c).
func (t *Telemetry) OpenDB(c driver.Connector, name string) *sql.DB {
	if t == nil {
		return sql.OpenDB(c)
	}
	if c == nil {
		panic("observe: OpenDB of " + strconv.Quote(name) + ": the connector is nil")
	}
	d := &database{tel: t, name: name, system: databaseSystem(c.Driver())}
	for _, f := range []struct {
		op   **statement
		name string
	}{
		{&d.connect, "CONNECT"}, {&d.ping, "PING"}, {&d.begin, "BEGIN"}, {&d.commit, "COMMIT"}, {&d.rollback, "ROLLBACK"},
	} {
		*f.op = &statement{db: d, operation: f.name}
	}
	db := sql.OpenDB(&connector{Connector: c, db: d})
	d.pool = t.pools.add(name, db)
	return db
}

// Connector returns the connector of a driver for a data source name, for
// drivers that do not give one themselves. A driver that is known by name only
// is found through database/sql:
//
//	plain, err := sql.Open("postgres", dsn)
//	if err != nil {
//		return err
//	}
//	plain.Close() // it was opened for its Driver
//	db := tel.OpenDB(observe.Connector(plain.Driver(), dsn), "orders")
//
// Where the driver refuses the name, Connect returns its error.
func Connector(d driver.Driver, dsn string) driver.Connector {
	c := dsnConnector{driver: d, dsn: dsn}
	if dc, ok := d.(driver.DriverContext); ok {
		own, err := dc.OpenConnector(dsn)
		if err == nil {
			return own
		}
		c.err = err
	}
	return c
}

type dsnConnector struct {
	driver driver.Driver
	dsn    string
	err    error // of OpenConnector
}

func (c dsnConnector) Connect(context.Context) (driver.Conn, error) {
	if c.err != nil {
		return nil, c.err
	}
	return c.driver.Open(c.dsn)
}

func (c dsnConnector) Driver() driver.Driver { return c.driver }

// database is what the connections of one OpenDB share.
type database struct {
	tel          *Telemetry
	name, system string
	pool         *pool
	found        cache[databaseKey, *timing]

	connect, ping, begin, commit, rollback *statement

	statements cache[string, *statement] // by text
	room       atomic.Int32              // taken in statements
}

type databaseKey struct{ operation, errorType string }

// Bounds on the statements that are remembered, 1 MiB a database at most. A
// program whose queries are written in its code has fewer; one that puts
// values into their text has them without number.
const (
	maxStatements    = 512
	maxStatementText = 2048
)

// statement is what the executions of one text have in common. It describes
// the span of each.
type statement struct {
	db        *database
	operation string
	text      string
	ok        atomic.Pointer[timing] // of executions that succeed

	once  sync.Once
	attrs []attribute.KeyValue
}

// statement returns that of a text. Known ones cost one look-up and no allocation.
func (d *database) statement(text string) *statement {
	s, ok := d.statements.get(text)
	if ok {
		return s
	}
	s = &statement{db: d, operation: operation(text), text: text}
	if len(text) <= maxStatementText && d.room.Load() < maxStatements && d.room.Add(1) <= maxStatements {
		s.text = strings.Clone(text) // not a part of something larger
		d.statements.add(s.text, s)
	}
	return s
}

// Describe gives the attributes of the span when somebody will read them;
// execution.end adds the error.
func (s *statement) Describe(attrs []attribute.KeyValue, ended bool) []attribute.KeyValue {
	if ended {
		return attrs
	}
	s.once.Do(func() {
		s.attrs = []attribute.KeyValue{
			attribute.String("db.system.name", s.db.system),
			attribute.String("db.namespace", text(s.db.name, maxHost)),
			attribute.String("db.operation.name", s.operation),
		}
		if s.text != "" {
			s.attrs = append(s.attrs, attribute.String("db.query.text", text(withoutLiterals(s.text), 2*maxAttribute)))
		}
	})
	return append(attrs, s.attrs...)
}

// timing returns the series of the executions that ended with errorType.
func (s *statement) timing(errorType string) *timing {
	if errorType == "" {
		if t := s.ok.Load(); t != nil {
			return t
		}
	}
	d := s.db
	key := databaseKey{s.operation, errorType}
	t, ok := d.found.get(key)
	if !ok {
		var exact bool
		t, exact = d.tel.databaseDuration.with(d.system, d.name, s.operation, errorType)
		if !exact {
			return t
		}
		d.found.add(key, t)
	}
	if errorType == "" {
		s.ok.Store(t)
	}
	return t
}

// execution is one operation under way. It is not on the heap: its span is in
// the memory of the trace.
type execution struct {
	*statement
	span  *span.Span
	start time.Time
}

func (s *statement) start(ctx context.Context) execution {
	e := execution{statement: s, start: time.Now()}
	e.span = s.db.tel.beginSpan(ctx, span.Options{
		Name: s.operation, Kind: trace.SpanKindClient, Start: e.start, Describer: s, Scope: s.db.tel.scope,
	})
	return e
}

// end records the operation. driver.ErrSkip says that there was none:
// database/sql goes on to do it in another way.
func (e execution) end(err error, returned bool) {
	class := ""
	switch {
	case !returned:
		class = "panic"
	case err == driver.ErrSkip:
		e.span.Discard()
		return
	case err != nil:
		class = errorType(err)
		recordError(e.span, err, withoutLiterals) // servers quote the statement and its values
		if code := databaseCode(err); code != "" {
			e.span.SetAttributes(attribute.String("db.response.status_code", code))
		}
	}
	finishSpan(e.span, e.timing(class), e.start, class, !returned)
}

// databaseSystem guesses db.system.name from the package of the driver.
func databaseSystem(d driver.Driver) string {
	typ := reflect.TypeOf(d)
	for typ != nil && typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if typ == nil {
		return "other_sql"
	}
	path := strings.ToLower(typ.PkgPath())
	for _, known := range []struct{ part, system string }{
		{"pgx", "postgresql"}, {"lib/pq", "postgresql"}, {"postgres", "postgresql"},
		{"mysql", "mysql"}, {"mariadb", "mariadb"}, {"sqlite", "sqlite"},
		{"mssql", "microsoft.sql_server"}, {"sqlserver", "microsoft.sql_server"},
		{"godror", "oracle.db"}, {"go-ora", "oracle.db"}, {"clickhouse", "clickhouse"},
		{"spanner", "gcp.spanner"}, {"trino", "trino"}, {"firebird", "firebirdsql"}, {"go_ibm_db", "ibm.db2"},
	} {
		if strings.Contains(path, known.part) {
			return known.system
		}
	}
	return "other_sql"
}

// pools collects the state of connection pools at the scrape.
type pools struct {
	mu   sync.Mutex
	open []*pool

	connections, max, waits, waitSeconds *prometheus.Desc
}

type pool struct {
	name string
	db   *sql.DB
}

func newPools() *pools {
	return &pools{connections: desc(dbConnections), max: desc(dbConnectionsMax), waits: desc(dbWaits), waitSeconds: desc(dbWaitSeconds)}
}

func desc(d Description) *prometheus.Desc {
	return prometheus.V2.NewDesc(d.Name, d.Help, prometheus.UnconstrainedLabels(d.Labels), nil, prometheus.WithUnit(unitSuffix(d)))
}

// add watches db until remove.
func (p *pools) add(name string, db *sql.DB) *pool {
	one := &pool{name: strings.ToValidUTF8(name, "\uFFFD"), db: db}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = append(p.open, one)
	return one
}

func (p *pools) remove(one *pool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = slices.DeleteFunc(p.open, func(o *pool) bool { return o == one })
}

// Describe implements prometheus.Collector.
func (p *pools) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{p.connections, p.max, p.waits, p.waitSeconds} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (p *pools) Collect(ch chan<- prometheus.Metric) {
	p.mu.Lock()
	open := slices.Clone(p.open)
	p.mu.Unlock()

	type sum struct {
		sql.DBStats
		unlimited bool
	}
	sums := map[string]sum{}
	for _, one := range open {
		s, total := one.db.Stats(), sums[one.name]
		total.Idle += s.Idle
		total.InUse += s.InUse
		total.MaxOpenConnections += s.MaxOpenConnections
		total.WaitCount += s.WaitCount
		total.WaitDuration += s.WaitDuration
		total.unlimited = total.unlimited || s.MaxOpenConnections <= 0
		sums[one.name] = total
	}
	for name, s := range sums {
		gauge := func(d *prometheus.Desc, v int, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
		}
		gauge(p.connections, s.Idle, name, "idle")
		gauge(p.connections, s.InUse, name, "used")
		if !s.unlimited {
			gauge(p.max, s.MaxOpenConnections, name)
		}
		ch <- prometheus.MustNewConstMetric(p.waits, prometheus.CounterValue, float64(s.WaitCount), name)
		ch <- prometheus.MustNewConstMetric(p.waitSeconds, prometheus.CounterValue, s.WaitDuration.Seconds(), name)
	}
}
