package observe

import (
	"database/sql"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// pools collects the state of connection pools at the scrape.
type pools struct {
	wait     *vec[*timing]
	timeouts *vec[prometheus.Counter]

	mu    sync.Mutex
	open  []*pool
	ended map[string]poolTotals // of pools that were closed: counters do not go back

	connections, max, idleMax, pending, waits, waitSeconds, closed, unclosed *prometheus.Desc
}

// pool is the pool of one OpenDB.
type pool struct {
	name     string
	db       *sql.DB
	database *database
	wait     *timing
	peek     peek

	handed atomic.Int64 // connections on their way to a goroutine that waits

	mu     sync.Mutex
	waited int64         // waits that were told to the histogram
	time   time.Duration // what they took
}

// poolTotals are what only grows.
type poolTotals struct {
	waits                             int64
	waited                            time.Duration
	maxIdle, maxIdleTime, maxLifetime int64
}

func (a poolTotals) plus(s sql.DBStats) poolTotals {
	return poolTotals{a.waits + s.WaitCount, a.waited + s.WaitDuration,
		a.maxIdle + s.MaxIdleClosed, a.maxIdleTime + s.MaxIdleTimeClosed, a.maxLifetime + s.MaxLifetimeClosed}
}

func newPools(m *metrics) *pools {
	return &pools{
		wait: m.histogram(dbWaitTime), timeouts: m.counter(dbTimeouts), ended: map[string]poolTotals{},
		connections: desc(dbConnections), max: desc(dbConnectionsMax), idleMax: desc(dbIdleMax), pending: desc(dbPending),
		waits: desc(dbWaits), waitSeconds: desc(dbWaitSeconds), closed: desc(dbClosed), unclosed: desc(dbUnclosed),
	}
}

func desc(d Description) *prometheus.Desc {
	return prometheus.V2.NewDesc(d.Name, d.Help, prometheus.UnconstrainedLabels(d.Labels), nil, prometheus.WithUnit(unitSuffix(d)))
}

// maxPools bounds the names whose counters outlive their pools.
const maxPools = 100

// add watches db until remove.
func (p *pools) add(name string, db *sql.DB, d *database) *pool {
	one := &pool{name: strings.ToValidUTF8(name, "\uFFFD"), db: db, database: d, peek: peekAt(db)}
	one.wait, _ = p.wait.with(name)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = append(p.open, one)
	return one
}

func (p *pools) remove(one *pool) {
	one.look()
	last := one.db.Stats()
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.open)
	p.open = slices.DeleteFunc(p.open, func(o *pool) bool { return o == one })
	if _, known := p.ended[one.name]; len(p.open) < n && (known || len(p.ended) < maxPools) {
		p.ended[one.name] = p.ended[one.name].plus(last)
	}
}

func (p *pools) list() []*pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.open)
}

// look tells the histogram the waits that have ended since the last look.
// database/sql gives their number and the sum of their times: the mean of those
// between two looks is told as often as there were. Count and sum are exact;
// how the waits between two looks differ from their mean is not seen. A look is
// taken at each scrape, and whenever a connection goes from one goroutine to
// one that waited for it, which makes it one wait a look while a pool is short.
func (p *pool) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	pending, _ := p.peek.pending() // before Stats: a wait that begins between the two is not one that ended
	s := p.db.Stats()
	n, took := s.WaitCount-pending-p.handed.Load()-p.waited, s.WaitDuration-p.time
	if n <= 0 || took <= 0 {
		return // a wait adds its time a moment after its end
	}
	p.waited, p.time = p.waited+n, p.time+took
	mean := (took / time.Duration(n)).Seconds()
	for range n {
		p.wait.own.observe(mean, 0)
	}
}

// Describe implements prometheus.Collector.
func (p *pools) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{p.connections, p.max, p.idleMax, p.pending, p.waits, p.waitSeconds, p.closed, p.unclosed} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (p *pools) Collect(ch chan<- prometheus.Metric) {
	type sum struct {
		poolTotals
		open                                bool
		idle, used, max, idleMax, rows, txs int
		pending                             int64
		unlimited, unlimitedIdle, noPending bool
	}
	sums := map[string]sum{}
	p.mu.Lock()
	for name, ended := range p.ended {
		sums[name] = sum{poolTotals: ended}
	}
	open := slices.Clone(p.open)
	p.mu.Unlock()
	now := time.Now()
	for _, one := range open {
		one.look()
		pending, known := one.peek.pending()
		idleMax, limited := one.peek.idleMax()
		s, total := one.db.Stats(), sums[one.name]
		total.poolTotals = total.plus(s)
		total.open = true
		total.idle += s.Idle
		total.used += s.InUse
		total.max += s.MaxOpenConnections
		total.pending += pending
		total.idleMax += idleMax
		total.unlimited = total.unlimited || s.MaxOpenConnections <= 0
		total.unlimitedIdle = total.unlimitedIdle || !limited
		total.noPending = total.noPending || !known
		for _, u := range one.database.unclosed(now) {
			if u.Kind == "rows" {
				total.rows++
			} else {
				total.txs++
			}
		}
		sums[one.name] = total
	}
	for name, s := range sums {
		gauge := func(d *prometheus.Desc, v int, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
		}
		counter := func(d *prometheus.Desc, v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
		}
		counter(p.waits, float64(s.waits), name)
		counter(p.waitSeconds, s.waited.Seconds(), name)
		counter(p.closed, float64(s.maxIdle), name, "max_idle")
		counter(p.closed, float64(s.maxIdleTime), name, "idle_time")
		counter(p.closed, float64(s.maxLifetime), name, "lifetime")
		if !s.open {
			continue
		}
		gauge(p.connections, s.idle, name, "idle")
		gauge(p.connections, s.used, name, "used")
		if !s.unlimited {
			gauge(p.max, s.max, name)
		}
		if !s.unlimitedIdle {
			gauge(p.idleMax, s.idleMax, name)
		}
		if !s.noPending {
			gauge(p.pending, int(s.pending), name)
		}
		gauge(p.unclosed, s.rows, name, "rows")
		gauge(p.unclosed, s.txs, name, "transaction")
	}
}
