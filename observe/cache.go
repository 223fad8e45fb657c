package observe

import (
	"context"
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/loadline-go/loadline/internal/span"
)

// CacheStats is the state of a cache at one moment. A field that is zero, and
// always has been, is taken for one that is not known, and shows nothing. The
// counts are totals that only grow.
type CacheStats struct {
	Hits, Misses int64
	Evictions    int64 // entries that had to go to make room
	Entries      int64 // now
	Bytes        int64 // that the entries take, now
	Capacity     int64 // how many entries there may be
}

// A Cache is a watched cache. A nil Cache does nothing.
type Cache struct {
	tel   *Telemetry
	kind  *cacheKind
	stats *source[CacheStats] // nil: none
	seed  maphash.Seed

	mu      sync.Mutex
	loading map[uint64]int // by the hash of their key
}

// maxLoading bounds the loads that are compared with each other. Each is a
// goroutine that waits, which takes a hundred times as much memory.
const maxLoading = 1 << 16

// Cache watches a cache: stats is called as the function that is given to
// Queue is, and what is said there holds here. Name is one of few; caches of
// one name are added up. A nil stats is for a cache whose loads alone are
// watched. A nil Telemetry returns a nil Cache.
//
//	prices := tel.Cache("prices", func(context.Context) (observe.CacheStats, error) {
//		s := lru.Stats()
//		return observe.CacheStats{Hits: s.Hits, Misses: s.Misses, Evictions: s.Evictions, Entries: int64(lru.Len())}, nil
//	})
//	price, err := observe.Load(ctx, prices, id, fetch) // on a miss
func (t *Telemetry) Cache(name string, stats func(context.Context) (CacheStats, error)) *Cache {
	if t == nil {
		return nil
	}
	c := &Cache{tel: t, kind: t.caches.named(name), seed: maphash.MakeSeed(), loading: map[uint64]int{}}
	if stats != nil {
		c.stats = &source[CacheStats]{kind: "cache", name: c.kind.name, read: stats}
		c.kind.mu.Lock()
		c.kind.sources = append(c.kind.sources, c.stats)
		c.kind.mu.Unlock()
		t.sources.add(c.stats)
	}
	return c
}

// Close ends the watch; loads are still measured. A second call does nothing.
func (c *Cache) Close() {
	if c == nil || c.stats == nil {
		return
	}
	c.tel.sources.remove(c.stats)
	c.kind.mu.Lock()
	defer c.kind.mu.Unlock()
	c.kind.sources = slices.DeleteFunc(c.kind.sources, func(s *source[CacheStats]) bool { return s == c.stats })
}

// Load calls load, which is to fetch what the cache did not have: its time and
// result are measured, and a load that begins while another of the same key is
// under way counts as a stampede. Each of them is work for nothing, and they
// come when it hurts most: when an entry that everybody wants expires. It only
// counts; to let one load serve all, call singleflight around it.
//
// What load returns is returned as it is; a load that does not return is
// counted under error_type "panic", and its panic goes on. Keys are compared by
// a hash and not kept. A nil Cache just calls load.
func Load[K comparable, V any](ctx context.Context, c *Cache, key K, load func(context.Context) (V, error)) (v V, err error) {
	if c == nil {
		return load(ctx)
	}
	start := time.Now()
	hash, ok := hashOf(c.seed, key)
	ok = ok && c.begin(hash)
	returned := false
	defer func() {
		if ok {
			c.end(hash)
		}
		class := panicked
		if returned {
			class = classOf(err)
		}
		end := time.Now()
		c.kind.load(c.tel.caches, class).observeFor(end.Sub(start), end, exemplar(span.FromContext(ctx)))
	}()
	v, err = load(ctx)
	returned = true
	return v, err
}

// hashOf is not ok for a key that is an interface which holds what cannot be
// compared: a map would panic, and observing does not.
func hashOf[K comparable](seed maphash.Seed, key K) (hash uint64, ok bool) {
	defer func() { recover() }()
	return maphash.Comparable(seed, key), true
}

// begin notes a load, and reports whether there was room for it.
func (c *Cache) begin(hash uint64) bool {
	c.mu.Lock()
	others, known := c.loading[hash]
	ok := known || len(c.loading) < maxLoading
	if ok {
		c.loading[hash] = others + 1
	}
	c.mu.Unlock()
	if known {
		c.kind.stampedes.Inc()
	}
	return ok
}

func (c *Cache) end(hash uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loading[hash]--; c.loading[hash] == 0 {
		delete(c.loading, hash)
	}
}

// caches shows the last known states at the scrape.
type caches struct {
	names     *vec[*cacheKind]
	loads     *vec[*timing]
	stampedes *vec[prometheus.Counter]

	mu  sync.Mutex
	all map[string]*cacheKind

	requests, evictions, entries, bytes, capacity *prometheus.Desc
}

// cacheKind is all that was registered under one name.
type cacheKind struct {
	name      string
	stampedes prometheus.Counter
	ok        once[*timing]

	mu      sync.Mutex
	sources []*source[CacheStats]
	seen    CacheStats // what was ever not zero
}

func newCaches(t *Telemetry) *caches {
	c := &caches{
		all: map[string]*cacheKind{}, loads: t.metrics.histogram(cacheLoad), stampedes: t.metrics.counter(cacheStampedes),
		requests: desc(cacheRequests), evictions: desc(cacheEvictions), entries: desc(cacheEntries), bytes: desc(cacheBytes), capacity: desc(cacheCapacity),
	}
	c.names = newVec(t.metrics, cacheEntries, c.add)
	t.metrics.register(cacheEntries, c)
	return c
}

// named finds a cache by name. Names without number share the one called "other".
func (c *caches) named(name string) *cacheKind {
	k, _ := c.names.with(clip(name, maxName))
	return k
}

// add makes the cache of a name that has been admitted.
func (c *caches) add(names ...string) *cacheKind {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.all[names[0]]
	if !ok {
		k = &cacheKind{name: names[0]}
		k.stampedes, _ = c.stampedes.with(k.name)
		c.all[k.name] = k
	}
	return k
}

// load returns the durations of loads with this result.
func (k *cacheKind) load(c *caches, class string) *timing {
	with := func() (*timing, bool) { return c.loads.with(k.name, class) }
	if class == success {
		return k.ok.get(with)
	}
	t, _ := with()
	return t
}

// state adds up what is known; ok is false when nothing is. Seen tells which
// fields mean something.
func (k *cacheKind) state() (sum, seen CacheStats, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.sources {
		if d, known := s.value(); known {
			ok = true
			sum.Hits += d.Hits
			sum.Misses += d.Misses
			sum.Evictions += d.Evictions
			sum.Entries += d.Entries
			sum.Bytes += d.Bytes
			sum.Capacity += d.Capacity
		}
	}
	k.seen.Hits |= sum.Hits
	k.seen.Misses |= sum.Misses
	k.seen.Evictions |= sum.Evictions
	k.seen.Entries |= sum.Entries
	k.seen.Bytes |= sum.Bytes
	k.seen.Capacity |= sum.Capacity
	return sum, k.seen, ok
}

// answered is when the last state came.
func (k *cacheKind) answered() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return newest(k.sources)
}

func (c *caches) list() []*cacheKind {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Values(c.all))
}

// known returns a cache by name, nil where there is none.
func (c *caches) known(name string) *cacheKind {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all[name]
}

// Describe implements prometheus.Collector.
func (c *caches) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.requests, c.evictions, c.entries, c.bytes, c.capacity} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *caches) Collect(ch chan<- prometheus.Metric) {
	for _, k := range c.list() {
		s, seen, ok := k.state()
		if !ok {
			continue
		}
		send := func(d *prometheus.Desc, kind prometheus.ValueType, v, seen int64, labels ...string) {
			if seen != 0 {
				ch <- prometheus.MustNewConstMetric(d, kind, float64(v), append([]string{k.name}, labels...)...)
			}
		}
		send(c.requests, prometheus.CounterValue, s.Hits, seen.Hits|seen.Misses, "hit")
		send(c.requests, prometheus.CounterValue, s.Misses, seen.Hits|seen.Misses, "miss")
		send(c.evictions, prometheus.CounterValue, s.Evictions, seen.Evictions)
		send(c.entries, prometheus.GaugeValue, s.Entries, seen.Entries)
		send(c.bytes, prometheus.GaugeValue, s.Bytes, seen.Bytes)
		send(c.capacity, prometheus.GaugeValue, s.Capacity, seen.Capacity)
	}
}
