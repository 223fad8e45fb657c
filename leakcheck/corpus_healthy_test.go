package leakcheck_test

import (
	"bytes"
	"container/list"
	"context"
	"database/sql"
	"io"
	"iter"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// Each healthy program has more of something than before for a while.
var corpusHealthy = []corpusProgram{
	{name: "worker pool", start: workerPool},
	{name: "pool that grows on demand to its cap", start: growingPool},
	{name: "websocket ramp with turnover", start: websocketRamp},
	{name: "websocket ramp to a plateau", start: websocketPlateau},
	{name: "long polls", start: longPolls},
	{name: "traffic ramp", start: trafficRamp},
	{name: "diurnal wave of sessions", start: diurnalSessions},
	{name: "autoscaled workers", start: autoscaledWorkers},
	{name: "back-pressure", start: backPressure},
	{name: "deploy warm-up", start: warmUp},
	{name: "jobs of twelve windows", start: longJobs},
	{name: "subscribers that come and go", start: subscribers},
	{name: "retries that give up", start: retriesThatEnd},
	{name: "queue behind a lock, drained in bursts", start: lockBursts},
	{name: "iterators, stopped later", start: iteratorsStopped},
	{name: "timeouts that fire", start: timeoutsThatFire},
	{name: "keep-alive connections", start: keepAlives},
	{name: "sql pool under load", start: sqlPool},
	{name: "rows that are read slowly", start: slowRows},
	{name: "rotated logs", start: rotatedLogs},
	{name: "uploads in progress", start: uploads},
	{name: "peers that hang up, connections closed a window later", start: hangUps},
	{name: "load follows requests, known load", start: knownLoad},
	{name: "cache that fills to its cap", heap: true, start: cacheToCap},
	{name: "LRU with random keys", heap: true, start: lruRandomKeys},
	{name: "LRU that fills slowly", heap: true, start: lruSlow},
	{name: "TTL cache", heap: true, start: ttlCache},
	{name: "batch saw-tooth", heap: true, start: batchSawTooth},
	{name: "tenants that come once", heap: true, start: tenantsOnce},
	{name: "sessions in memory by day and night", heap: true, start: sessionHeap},
	{name: "buffers that grow to their size", heap: true, start: growingBuffers},
	{name: "one big table, loaded late", heap: true, start: lateTable},
	{name: "ring of recent log lines", heap: true, start: logRing},
}

// wait starts a goroutine that waits until its end comes, and returns that.
func (e *env) wait(f func(chan struct{})) (end func()) {
	c := make(chan struct{})
	end = sync.OnceFunc(func() { close(c) })
	e.end(end)
	e.wg.Go(func() { f(c) })
	return end
}

func workerPool(e *env) func() {
	jobs := make(chan int)
	e.end(func() { close(jobs) })
	for range 16 {
		e.wg.Go(func() {
			for range jobs {
				time.Sleep(10 * time.Microsecond)
			}
		})
	}
	return e.steady(func() {
		for range 30 {
			jobs <- 1
		}
	})
}

func growingPool(e *env) func() {
	jobs := make(chan int)
	e.end(func() { close(jobs) })
	workers := 0
	return func() {
		if workers < 18 { // one more each window, until there are enough
			workers++
			e.wg.Go(func() {
				for range jobs {
					time.Sleep(10 * time.Microsecond)
				}
			})
		}
		for range 10 {
			jobs <- 1
		}
	}
}

func websocketRamp(e *env) func() {
	addr := e.peer(func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	return func() {
		for range e.poisson(math.Min(6, float64(e.window)/8)) {
			c, err := net.Dial("tcp", addr)
			e.must(err)
			hangUp := sync.OnceFunc(func() { c.Close() })
			e.end(hangUp)
			e.wg.Go(func() { _, _ = c.Read(make([]byte, 1)) }) // our side of it
			e.after(8+e.rnd.IntN(16), hangUp)
		}
	}
}

func websocketPlateau(e *env) func() {
	addr := e.peer(func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	n := 0
	return func() {
		for ; n < min(3*e.window, 54); n++ { // after 18 windows all are there
			c, err := net.Dial("tcp", addr)
			e.must(err)
			e.end(func() { c.Close() })
			out := make(chan []byte)
			e.end(func() { close(out) })
			e.wg.Go(func() { _, _ = c.Read(make([]byte, 1)) })
			e.wg.Go(func() {
				for m := range out {
					_, _ = c.Write(m)
				}
			})
		}
	}
}

func longPolls(e *env) func() {
	stop := make(chan struct{})
	news := make(chan struct{})
	var mu sync.Mutex
	current := func() chan struct{} { mu.Lock(); defer mu.Unlock(); return news }
	srv := e.server(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-current():
		case <-stop:
		case <-r.Context().Done():
		}
	})
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 50}}
	e.end(client.CloseIdleConnections)
	e.end(func() { close(stop) })
	return func() {
		for range 3 {
			e.wg.Go(func() {
				if resp, err := client.Get(srv.URL); err == nil {
					resp.Body.Close()
				}
			})
		}
		if e.window%6 == 0 {
			mu.Lock()
			close(news)
			news = make(chan struct{})
			mu.Unlock()
		}
	}
}

func trafficRamp(e *env) func() {
	return func() {
		for range e.poisson(float64(min(e.window, 60)) / 2) {
			e.after(1+e.rnd.IntN(4), e.wait(func(c chan struct{}) { <-c }))
		}
	}
}

func diurnalSessions(e *env) func() {
	return func() {
		for range e.poisson(4 * (1 + math.Sin(float64(e.window)/10))) {
			e.after(6+e.rnd.IntN(10), e.wait(func(c chan struct{}) {
				select {
				case <-c:
				case <-time.After(time.Hour):
				}
			}))
		}
	}
}

func autoscaledWorkers(e *env) func() {
	var ends []func()
	return func() {
		switch e.window % 60 {
		case 5, 15, 25:
			for range 6 {
				ends = append(ends, e.wait(func(c chan struct{}) { <-c }))
			}
		case 40, 50:
			for range min(8, len(ends)) {
				ends[0]()
				ends = ends[1:]
			}
		}
	}
}

func backPressure(e *env) func() {
	c := make(chan int)
	waiting := 0
	e.drain(func() {
		select {
		case <-c:
		default:
		}
	})
	return func() {
		for range e.poisson(6) {
			waiting++
			e.wg.Go(func() { c <- 1 })
		}
		// The consumer keeps up in the long run, not in each window.
		for take := e.poisson(6); waiting > 0 && (take > 0 || waiting > 25); take-- {
			<-c
			waiting--
		}
	}
}

func warmUp(e *env) func() {
	return e.steady(func() {
		for range e.poisson(12 * math.Exp(-float64(e.window)/6)) {
			e.wait(func(c chan struct{}) { <-c })
		}
	})
}

func longJobs(e *env) func() {
	return func() {
		for range 2 {
			e.after(10+e.rnd.IntN(5), e.wait(func(c chan struct{}) {
				for {
					select {
					case <-c:
						return
					case <-time.After(5 * time.Millisecond): // a step of the job
					}
				}
			}))
		}
	}
}

func subscribers(e *env) func() {
	topics := map[int]chan string{}
	e.end(func() {
		for _, c := range topics {
			close(c)
		}
	})
	n := 0
	return func() {
		for range e.poisson(3) {
			n++
			id := n
			c := make(chan string, 8)
			topics[id] = c
			e.wg.Go(func() {
				for range c {
				}
			})
			e.after(1+int(e.rnd.ExpFloat64()*8), func() { close(c); delete(topics, id) })
		}
		for _, c := range topics {
			select {
			case c <- "news":
			default:
			}
		}
	}
}

func retriesThatEnd(e *env) func() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	e.must(err)
	addr := ln.Addr().String()
	ln.Close()
	return e.steady(func() {
		for range e.poisson(2) {
			var over atomic.Bool
			e.end(func() { over.Store(true) })
			e.after(4+e.rnd.IntN(5), func() { over.Store(true) })
			e.wg.Go(func() {
				for !over.Load() {
					if c, err := net.Dial("tcp", addr); err == nil {
						c.Close()
					}
					time.Sleep(2 * time.Millisecond)
				}
			})
		}
	})
}

func lockBursts(e *env) func() {
	var mu sync.Mutex
	held := false
	e.end(func() {
		if held {
			mu.Unlock()
		}
	})
	return func() {
		switch e.window % 11 {
		case 1:
			mu.Lock() // a migration of eight windows
			held = true
		case 9:
			mu.Unlock()
			held = false
		}
		for range 3 {
			e.wg.Go(func() { mu.Lock(); defer mu.Unlock() })
		}
	}
}

func iteratorsStopped(e *env) func() {
	return e.steady(func() {
		for range e.poisson(2) {
			next, stop := iter.Pull(func(yield func(int) bool) {
				for i := 0; yield(i); i++ {
				}
			})
			next()
			e.end(stop)
			e.after(1+e.rnd.IntN(6), stop)
		}
	})
}

func timeoutsThatFire(e *env) func() {
	return e.steady(func() {
		for range 5 {
			ctx, cancel := context.WithTimeout(context.Background(), 6*time.Millisecond)
			e.end(cancel)
			e.wg.Go(func() { <-ctx.Done() })
		}
	})
}

func keepAlives(e *env) func() {
	srv := e.server(answerOK)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 40}}
	e.end(client.CloseIdleConnections)
	return func() {
		var wg sync.WaitGroup
		for range min(2+e.window/2, 12) { // as many connections as requests at once
			wg.Go(func() {
				resp, err := client.Get(srv.URL)
				if err != nil {
					e.t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			})
		}
		wg.Wait()
	}
}

func sqlPool(e *env) func() {
	db := sql.OpenDB(corpusDriver{})
	db.SetMaxOpenConns(20)
	db.SetMaxIdleConns(20)
	e.end(func() { db.Close() })
	return func() {
		var wg sync.WaitGroup
		for range min(e.window, 30) {
			wg.Go(func() {
				var id int
				if err := db.QueryRow("SELECT").Scan(&id); err != nil {
					e.t.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

func slowRows(e *env) func() {
	db := sql.OpenDB(corpusDriver{})
	ctx, cancel := context.WithCancel(context.Background())
	e.end(func() { cancel(); db.Close() })
	return func() {
		for range e.poisson(2) {
			rows, err := db.QueryContext(ctx, "SELECT")
			e.must(err)
			rows.Next()
			e.end(func() { rows.Close() })
			e.after(1+e.rnd.IntN(5), func() { rows.Close() })
		}
	}
}

func rotatedLogs(e *env) func() {
	dir := e.t.TempDir()
	var open []*os.File
	e.end(func() {
		for _, f := range open {
			f.Close()
		}
	})
	return func() {
		if e.window%2 == 0 {
			f, err := os.CreateTemp(dir, "log")
			e.must(err)
			open = append(open, f)
		}
		if len(open) > 7 { // the last seven are kept
			open[0].Close()
			open = open[1:]
		}
	}
}

func uploads(e *env) func() {
	dir := e.t.TempDir()
	return e.steady(func() {
		for range e.poisson(3) {
			f, err := os.Create(filepath.Join(dir, "upload"))
			e.must(err)
			done := sync.OnceFunc(func() { f.Close() })
			e.end(done)
			e.after(1+e.rnd.IntN(9), done)
		}
	})
}

func hangUps(e *env) func() {
	addr := e.peer(func(c net.Conn) { c.Close() })
	return func() {
		for range 3 {
			c, err := net.Dial("tcp", addr)
			e.must(err)
			_, _ = c.Read(make([]byte, 1))
			done := sync.OnceFunc(func() { c.Close() })
			e.end(done)
			e.after(1+e.rnd.IntN(2), done)
		}
	}
}

func knownLoad(e *env) func() {
	e.load = true
	var ends []func()
	return func() {
		// The morning: thirty windows in which everything rises in proportion.
		load := 20 + 4*min(e.window, 30)
		e.requests += 100 * load
		e.inFlight = load
		for len(ends) < load {
			ends = append(ends, e.wait(func(c chan struct{}) { <-c }))
		}
	}
}

func cacheToCap(e *env) func() {
	cache := map[int][]byte{}
	e.end(func() { clear(cache) })
	n := 0
	return func() {
		for range 16 {
			if n++; len(cache) >= 256 {
				delete(cache, n-256)
			}
			cache[n] = make([]byte, 100<<10)
		}
	}
}

// lru returns a cache of so many entries that is asked for random keys.
func lru(e *env, entries, keys, asks int) func() {
	var (
		order = list.New()
		index = map[int]*list.Element{}
	)
	type entry struct {
		key   int
		value []byte
	}
	e.end(func() { order.Init(); clear(index) })
	return func() {
		for range asks {
			k := e.rnd.IntN(keys)
			if el := index[k]; el != nil {
				order.MoveToFront(el)
				continue
			}
			index[k] = order.PushFront(&entry{k, make([]byte, 64<<10)})
			if order.Len() > entries {
				el := order.Back()
				delete(index, el.Value.(*entry).key)
				order.Remove(el)
			}
		}
	}
}

func lruRandomKeys(e *env) func() { return lru(e, 400, 600, 60) }
func lruSlow(e *env) func()       { return lru(e, 1200, 1500, 50) }

func ttlCache(e *env) func() {
	cache := map[int][]byte{}
	e.end(func() { clear(cache) })
	n := 0
	return func() {
		for range 10 + e.poisson(4) {
			n++
			id := n
			cache[id] = make([]byte, 80<<10)
			e.after(15, func() { delete(cache, id) })
		}
	}
}

func batchSawTooth(e *env) func() {
	var batch [][]byte
	e.end(func() { batch = nil })
	return func() {
		for range 20 {
			batch = append(batch, make([]byte, 70<<10))
		}
		if e.window%14 == 0 {
			batch = nil // written out
		}
	}
}

func tenantsOnce(e *env) func() {
	tenants := map[int][]byte{}
	e.end(func() { clear(tenants) })
	return func() {
		for range 40 { // of 120, the busy ones more often
			id := int(math.Pow(e.rnd.Float64(), 3) * 120)
			if tenants[id] == nil {
				tenants[id] = make([]byte, 200<<10)
			}
		}
	}
}

func sessionHeap(e *env) func() {
	sessions := map[int][]byte{}
	e.end(func() { clear(sessions) })
	n := 0
	return func() {
		for range e.poisson(12 * (1 + math.Sin(float64(e.window)/9))) {
			n++
			id := n
			sessions[id] = make([]byte, 100<<10)
			e.after(5+e.rnd.IntN(8), func() { delete(sessions, id) })
		}
	}
}

func growingBuffers(e *env) func() {
	buffers := make([]bytes.Buffer, 8)
	e.end(func() { clear(buffers) })
	return func() {
		for i := range buffers { // messages of up to 4 MiB, most of them small
			buffers[i].Reset()
			buffers[i].Write(make([]byte, min(int(math.Exp(e.rnd.ExpFloat64()*2+9)), 4<<20)))
		}
	}
}

func lateTable(e *env) func() {
	var table [][]byte
	e.end(func() { table = nil })
	return func() {
		if e.window >= 20 && e.window < 28 {
			for range 8 {
				table = append(table, make([]byte, 512<<10))
			}
		}
	}
}

func logRing(e *env) func() {
	ring := make([][]byte, 300)
	e.end(func() { clear(ring) })
	n := 0
	return func() {
		for range 20 {
			n++
			ring[n%len(ring)] = make([]byte, 64<<10)
		}
	}
}
