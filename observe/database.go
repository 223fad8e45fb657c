package observe

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/internal/span"
)

// OpenDB is sql.OpenDB with every operation measured and traced, and the pool
// watched. Name tells the databases of a service apart ("orders",
// "orders-replica"); it is one of few. What the driver can do it still can,
// and its errors pass untouched. The text of statements is never a label; a
// span carries it with its literals replaced by "?".
//
// The connector of a driver that is known by name only:
//
//	plain, err := sql.Open("postgres", dsn)
//	connector := observe.Connector(plain.Driver(), dsn)
//
// A nil Telemetry returns sql.OpenDB(c).
func (t *Telemetry) OpenDB(c driver.Connector, name string) *sql.DB {
	if t == nil {
		return sql.OpenDB(c)
	}
	d := &database{tel: t, name: name, system: databaseSystem(c.Driver())}
	db := sql.OpenDB(&connector{Connector: c, db: d})
	t.pools.add(name, db)
	return db
}

// Connector returns the connector of a driver for a data source name, for
// drivers that do not give one themselves.
func Connector(d driver.Driver, dsn string) driver.Connector {
	return dsnConnector{d, dsn}
}

type dsnConnector struct {
	driver driver.Driver
	dsn    string
}

func (c dsnConnector) Connect(ctx context.Context) (driver.Conn, error) {
	if d, ok := c.driver.(driver.DriverContext); ok {
		inner, err := d.OpenConnector(c.dsn)
		if err != nil {
			return nil, err
		}
		return inner.Connect(ctx)
	}
	return c.driver.Open(c.dsn)
}

func (c dsnConnector) Driver() driver.Driver { return c.driver }

// database is what the connections of one OpenDB share.
type database struct {
	tel          *Telemetry
	name, system string
	found        cache[databaseKey, *timing]
}

type databaseKey struct{ operation, errorType string }

// statement is one operation under way: its span and record.
type statement struct {
	span      span.Span
	db        *database
	operation string
	query     string
	errorType string
	start     time.Time
}

func (d *database) begin(ctx context.Context, operation, query string) *statement {
	s := &statement{db: d, operation: operation, query: query, start: time.Now()}
	d.tel.provider.Begin(&s.span, ctx, span.Options{
		Name: operation, Kind: trace.SpanKindClient, Start: s.start, Describer: s, Scope: d.tel.scope,
	})
	return s
}

// end records the operation. driver.ErrSkip says that there was none:
// database/sql goes on to do it in another way.
func (s *statement) end(err error, returned bool) {
	if err == driver.ErrSkip {
		s.span.Discard()
		return
	}
	end := time.Now()
	switch {
	case !returned:
		s.errorType = "panic"
	case err != nil:
		s.errorType = errorType(err)
		s.span.RecordError(err)
	}
	d := s.db
	key := databaseKey{s.operation, s.errorType}
	timing, ok := d.found.get(key)
	if !ok {
		var exact bool
		timing, exact = d.tel.databaseDuration.with(d.system, d.name, s.operation, s.errorType)
		if exact {
			d.found.add(key, timing)
		}
	}
	s.span.Finish(span.Outcome{End: end, Failed: s.errorType != "", Panicked: !returned})
	timing.observeFor(end.Sub(s.start), end, exemplar(&s.span))
}

// Describe gives the attributes of the span when somebody will read them.
func (s *statement) Describe(attrs []attribute.KeyValue, ended bool) []attribute.KeyValue {
	if ended {
		if s.errorType != "" {
			attrs = append(attrs, attribute.String("error.type", s.errorType))
		}
		return attrs
	}
	attrs = append(attrs,
		attribute.String("db.system.name", s.db.system),
		attribute.String("db.namespace", s.db.name),
		attribute.String("db.operation.name", s.operation),
	)
	if s.query != "" {
		attrs = append(attrs, attribute.String("db.query.text", clip(withoutLiterals(s.query), 2*maxAttribute)))
	}
	return attrs
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
	} {
		if strings.Contains(path, known.part) {
			return known.system
		}
	}
	return "other_sql"
}

// pools collects the state of connection pools at the scrape.
type pools struct {
	mu    sync.Mutex
	order []string
	dbs   map[string]*sql.DB

	connections, max, waits, waitSeconds *prometheus.Desc
}

func newPools() *pools {
	return &pools{dbs: map[string]*sql.DB{}, connections: desc(dbConnections), max: desc(dbConnectionsMax), waits: desc(dbWaits), waitSeconds: desc(dbWaitSeconds)}
}

func desc(d Description) *prometheus.Desc { return prometheus.NewDesc(d.Name, d.Help, d.Labels, nil) }

// add watches db; of two pools with one name the later is shown.
func (p *pools) add(name string, db *sql.DB) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.dbs[name]; !ok {
		p.order = append(p.order, name)
	}
	p.dbs[name] = db
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
	defer p.mu.Unlock()
	for _, name := range p.order {
		s := p.dbs[name].Stats()
		label := strings.ToValidUTF8(name, "�")
		gauge := func(d *prometheus.Desc, v int, more ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), append([]string{label}, more...)...)
		}
		gauge(p.connections, s.Idle, "idle")
		gauge(p.connections, s.InUse, "used")
		if s.MaxOpenConnections > 0 {
			gauge(p.max, s.MaxOpenConnections)
		}
		ch <- prometheus.MustNewConstMetric(p.waits, prometheus.CounterValue, float64(s.WaitCount), label)
		ch <- prometheus.MustNewConstMetric(p.waitSeconds, prometheus.CounterValue, s.WaitDuration.Seconds(), label)
	}
}

var _ io.Closer = (*connector)(nil)
