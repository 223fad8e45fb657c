package observe

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/loadline-go/loadline/internal/span"
)

// OpenDB is sql.OpenDB with every operation measured and traced, and the pool
// watched until the DB is closed. Name tells the databases of a service apart
// ("orders", "orders-replica"); it is one of few, and pools of one name are
// added up. What the driver can do it still can, and its errors pass
// untouched. The text of statements is never a label: their summary is, the
// verb with its tables; a span and the record of a slow query carry the text
// with its literals replaced by "?".
//
// Besides the verbs of statements, operations are CONNECT, PING, PREPARE,
// BEGIN, COMMIT and ROLLBACK. What database/sql tries again, as it does after
// driver.ErrBadConn, counts each time.
//
// A statement outside of any trace that the sampler refuses has a span only
// when it turns out slow or failed; the driver gets the caller's context then.
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
	d := newDatabase(t, name, databaseSystem(c.Driver()))
	db := sql.OpenDB(&connector{Connector: c, db: d})
	d.pool = t.pools.add(name, db, d)
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
	party        *span.Party
	pool         *pool
	slow         slowLog

	created, used                          *timing
	committed, rolledBack, abandoned       *timing
	undecided                              *timing // transactions whose end failed
	connect, ping, begin, commit, rollback *statement
	prepare                                *query
	timeouts                               prometheus.Counter

	statements cache[string, *statement] // by text
	queries    cache[string, *query]     // by summary
	recent     [64]atomic.Pointer[statement]
	room       atomic.Int32 // taken in statements
	found      cache[timingKey, *timing]

	mu    sync.Mutex
	conns map[*conn]struct{}
	extra map[opened]struct{} // rows and transactions beside the first of a connection
	made  int                 // connections so far
}

func newDatabase(t *Telemetry, name, system string) *database {
	d := &database{tel: t, name: name, system: system, party: t.parties.named(span.Party{Kind: kindDatabase, Name: or(name, system)}), conns: map[*conn]struct{}{}, extra: map[opened]struct{}{}}
	for _, f := range []struct {
		op   **statement
		name string
	}{
		{&d.connect, "CONNECT"}, {&d.ping, "PING"}, {&d.begin, "BEGIN"}, {&d.commit, "COMMIT"}, {&d.rollback, "ROLLBACK"},
	} {
		*f.op = &statement{query: newQuery(d, f.name, "", "")}
	}
	d.prepare = newQuery(d, "PREPARE", "", "")
	d.timeouts, _ = t.pools.timeouts.with(name)
	d.slow = slowLog{tel: t, above: t.config.SlowQuery}
	m := t.databases
	d.created, _ = m.create.with(name)
	d.used, _ = m.use.with(name)
	for _, f := range []struct {
		t      **timing
		result string
	}{{&d.committed, "commit"}, {&d.rolledBack, "rollback"}, {&d.abandoned, "abandoned"}, {&d.undecided, "error"}} {
		*f.t, _ = m.transactions.with(system, name, f.result)
	}
	return d
}

// databases are the instruments that all OpenDBs share.
type databases struct {
	operations, rows, transactions *vec[*timing]
	create, use                    *vec[*timing]
	repeated                       *vec[prometheus.Counter]
	repeats                        repeats
}

func newDatabases(m *metrics) *databases {
	return &databases{
		operations: m.histogram(dbDuration), rows: m.histogram(dbRows), transactions: m.histogram(dbTransactions),
		create: m.histogram(dbCreateTime), use: m.histogram(dbUseTime),
		repeated: m.counter(dbRepeated),
	}
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
