package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/loadline-go/loadline/observe"
)

// A product is what is sold.
type product struct {
	Name  string `json:"name"`
	Cents int    `json:"cents"`
}

// A cache keeps products for a while, so that the database is asked once and
// not by every visitor. The IDs are those of products that exist, so it is bounded.
type cache struct {
	watch *observe.Cache
	fetch func(ctx context.Context, id int) (product, error)
	keep  time.Duration

	mu   sync.Mutex
	kept map[int]entry

	hits, misses, expired atomic.Int64
}

type entry struct {
	product
	until time.Time
}

func newCache(tel *observe.Telemetry, keep time.Duration, fetch func(context.Context, int) (product, error)) *cache {
	c := &cache{fetch: fetch, keep: keep, kept: map[int]entry{}}
	c.watch = tel.Cache("products", c.stats)
	return c
}

// stats is asked every few seconds: a hit costs no more than a count.
func (c *cache) stats(context.Context) (observe.CacheStats, error) {
	c.mu.Lock()
	n := len(c.kept)
	c.mu.Unlock()
	return observe.CacheStats{Hits: c.hits.Load(), Misses: c.misses.Load(), Evictions: c.expired.Load(), Entries: int64(n)}, nil
}

// get returns what is kept, or else what fetch returns.
func (c *cache) get(ctx context.Context, id int) (product, error) {
	now := time.Now()
	c.mu.Lock()
	e, ok := c.kept[id]
	if ok && !now.Before(e.until) {
		delete(c.kept, id)
		c.expired.Add(1)
		ok = false
	}
	c.mu.Unlock()
	if ok {
		c.hits.Add(1)
		return e.product, nil
	}
	c.misses.Add(1)
	p, err := observe.Load(ctx, c.watch, id, func(ctx context.Context) (product, error) { return c.fetch(ctx, id) })
	if err != nil {
		return p, err
	}
	c.mu.Lock()
	c.kept[id] = entry{p, now.Add(c.keep)}
	c.mu.Unlock()
	return p, nil
}
