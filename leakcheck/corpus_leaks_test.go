package leakcheck_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// Each leak has functions of its own, whose names tell the right site.
var corpusLeaks = []corpusProgram{
	{name: "lost context", site: "lostContext", start: lostContext},
	{name: "early return", site: "earlyReturn", start: earlyReturn},
	{name: "full channel", site: "fullChannel", start: fullChannel},
	{name: "range over a channel that is never closed", site: "rangeNeverClosed", start: rangeNeverClosed},
	{name: "registry of listeners", site: "listenerRegistry", start: startListenerRegistry},
	{name: "sleep loop", site: "sleepLoop", start: sleepLoop},
	{name: "ticker loop", site: "tickerLoop", start: tickerLoop},
	{name: "global lock never released", site: "lockNeverReleased", start: lockNeverReleased},
	{name: "read lock behind a writer that waits", site: "readLockStuck", start: readLockStuck},
	{name: "WaitGroup never done", site: "groupNeverDone", start: groupNeverDone},
	{name: "iterator never stopped", site: "iteratorNeverStopped", start: iteratorNeverStopped},
	{name: "retry forever", site: "retryForever", start: retryForever},
	{name: "silent peer", site: "silentPeer|to 127.0.0.1", start: silentPeer},
	{name: "background context in a handler", site: "backgroundContext|to 127.0.0.1|accepted on port", start: backgroundContext},
	{name: "one request in five stuck among others", site: "someStuck", start: someStuck},
	{name: "semaphore never released", site: "semaphoreLost", start: semaphoreLost},
	{name: "condition never signalled", site: "neverSignalled", start: neverSignalled},
	{name: "slow leak: two in three windows", site: "slowLeak", start: slowLeak},
	{name: "a transport for each request", site: "persistConn|to 127.0.0.1", start: transportEach},
	{name: "response bodies", site: "persistConn|response body|to 127.0.0.1", start: responseBodies},
	{name: "sql rows", site: "Rows", start: sqlRows},
	{name: "sql transactions", site: "Tx", start: sqlTransactions},
	{name: "files", site: "file", start: files},
	{name: "pipes", site: "pipe", start: pipes},
	{name: "close_wait sockets", site: "close_wait", start: closeWait},
	{name: "unbounded map", site: "unboundedMap", heap: true, start: unboundedMap},
	{name: "unbounded slice of callbacks", site: "callbackList", heap: true, start: startCallbackList},
	{name: "sub-slice retention", site: "subSlice", heap: true, start: subSlice},
	{name: "unbounded channel", site: "unboundedQueue", heap: true, start: startUnboundedQueue},
	{name: "chain of context values", site: "contextChain", heap: true, start: contextChain},
	{name: "timers", site: "timersPending", heap: true, start: timersPending},
	{name: "map that is cleaned of other keys", site: "wrongKeys", heap: true, start: wrongKeys},
}

func lostContext(e *env) func() {
	var cancels []func() // a real program would not even keep these
	e.end(func() {
		for _, cancel := range cancels {
			cancel()
		}
	})
	return e.steady(func() {
		for range 1 + e.poisson(1) {
			ctx, cancel := context.WithCancel(context.Background())
			cancels = append(cancels, cancel)
			e.wg.Go(func() { lostContextWait(ctx) })
		}
	})
}

func lostContextWait(ctx context.Context) { <-ctx.Done() }

func earlyReturn(e *env) func() {
	done := e.closer()
	fetch := func() error {
		result := make(chan int)
		e.wg.Go(func() {
			select { // the caller has given up, and nobody reads
			case result <- earlyReturnWork():
			case <-done: // only the end of the program
			}
		})
		return errors.New("too slow")
	}
	// The select above would be a wait on purpose; this one is not.
	send := func() {
		result := make(chan int)
		e.end(func() { <-result })
		e.wg.Go(func() { earlyReturnSend(result) })
	}
	return func() {
		if e.window%7 == 0 {
			_ = fetch()
		}
		for range e.poisson(2) {
			send()
		}
	}
}

func earlyReturnWork() int              { return 42 }
func earlyReturnSend(result chan<- int) { result <- earlyReturnWork() }

func fullChannel(e *env) func() {
	events := make(chan int, 16) // whose consumer has returned
	e.drain(func() {
		select {
		case <-events:
		default:
		}
	})
	return func() {
		for range 3 {
			e.wg.Go(func() { fullChannelSend(events) })
		}
	}
}

func fullChannelSend(c chan<- int) { c <- 1 }

func rangeNeverClosed(e *env) func() {
	return e.steady(func() {
		jobs := make(chan int)
		e.end(func() { close(jobs) })
		e.wg.Go(func() { rangeNeverClosedWork(jobs) })
		jobs <- 1
	})
}

func rangeNeverClosedWork(jobs <-chan int) {
	for range jobs {
	}
}

type listenerRegistry struct {
	mu  sync.Mutex
	all map[int]chan string
}

func (r *listenerRegistry) add(id int) (c chan string) {
	c = make(chan string, 1)
	r.mu.Lock()
	r.all[id] = c
	r.mu.Unlock()
	return c
}

func (r *listenerRegistry) listen(c chan string) {
	for range c {
	}
}

var listeners = listenerRegistry{all: map[int]chan string{}}

func startListenerRegistry(e *env) func() {
	id := 0
	e.end(func() {
		listeners.mu.Lock()
		defer listeners.mu.Unlock()
		for id, c := range listeners.all {
			close(c)
			delete(listeners.all, id)
		}
	})
	return e.steady(func() {
		for range 2 {
			id++
			c := listeners.add(id)
			e.wg.Go(func() { listeners.listen(c) })
		}
		listeners.mu.Lock()
		for _, c := range listeners.all { // they do get their news
			select {
			case c <- "news":
			default:
			}
		}
		listeners.mu.Unlock()
	})
}

func sleepLoop(e *env) func() {
	var over atomic.Bool
	e.end(func() { over.Store(true) })
	return func() { e.wg.Go(func() { sleepLoopPoll(&over) }) }
}

func sleepLoopPoll(over *atomic.Bool) {
	for !over.Load() {
		time.Sleep(20 * time.Millisecond)
	}
}

func tickerLoop(e *env) func() {
	stop := e.closer()
	return e.steady(func() {
		for range e.poisson(2) {
			e.wg.Go(func() { tickerLoopRun(stop) })
		}
	})
}

func tickerLoopRun(stop chan struct{}) {
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-stop:
			return
		}
	}
}

func lockNeverReleased(e *env) func() {
	var mu sync.Mutex
	e.end(mu.Unlock)
	first := true
	return func() {
		if first {
			mu.Lock() // and return early
			first = false
		}
		for range e.poisson(4) {
			e.wg.Go(func() { lockNeverReleasedCall(&mu) })
		}
	}
}

func lockNeverReleasedCall(mu *sync.Mutex) {
	mu.Lock()
	defer mu.Unlock()
}

func readLockStuck(e *env) func() {
	var mu sync.RWMutex
	mu.RLock()
	e.end(mu.RUnlock)
	e.wg.Go(func() { mu.Lock(); defer mu.Unlock() })
	return func() {
		for range 2 {
			e.wg.Go(func() { readLockStuckGet(&mu) })
		}
	}
}

func readLockStuckGet(mu *sync.RWMutex) {
	mu.RLock()
	defer mu.RUnlock()
}

func groupNeverDone(e *env) func() {
	return func() {
		var wg sync.WaitGroup
		wg.Add(2)
		wg.Done() // the other returned early
		e.end(wg.Done)
		e.wg.Go(func() { groupNeverDoneWait(&wg) })
	}
}

func groupNeverDoneWait(wg *sync.WaitGroup) { wg.Wait() }

func iteratorNeverStopped(e *env) func() {
	return func() {
		next, stop := iter.Pull(iteratorNeverStoppedSeq)
		next()
		e.end(stop)
	}
}

func iteratorNeverStoppedSeq(yield func(int) bool) {
	for i := 0; yield(i); i++ {
	}
}

func retryForever(e *env) func() {
	// Nobody listens there.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	e.must(err)
	addr := ln.Addr().String()
	ln.Close()
	var over atomic.Bool
	e.end(func() { over.Store(true) })
	return e.steady(func() {
		for range 2 {
			e.wg.Go(func() { retryForeverDial(addr, &over) })
		}
	})
}

func retryForeverDial(addr string, over *atomic.Bool) {
	for !over.Load() {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return
		}
		time.Sleep(3 * time.Millisecond)
	}
}

func silentPeer(e *env) func() {
	addr := e.peer(func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	return e.steady(func() {
		for range 2 {
			c, err := net.Dial("tcp", addr)
			e.must(err)
			e.end(func() { c.Close() })
			e.wg.Go(func() { silentPeerRead(c) })
		}
	})
}

func silentPeerRead(c net.Conn) { _, _ = c.Read(make([]byte, 1)) }

func backgroundContext(e *env) func() {
	stop := e.closer()
	hangs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	}))
	client := &http.Client{Transport: &http.Transport{}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		backgroundContextCall(client, hangs.URL)
	}))
	e.ends = append([]func(){func() { srv.CloseClientConnections(); srv.Close(); hangs.Close(); client.CloseIdleConnections() }}, e.ends...)
	return func() {
		for range 2 {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			req, _ := http.NewRequestWithContext(ctx, "GET", srv.URL, nil)
			if resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req); err == nil {
				resp.Body.Close()
			}
			cancel()
		}
	}
}

func backgroundContextCall(client *http.Client, url string) {
	req, _ := http.NewRequestWithContext(context.Background(), "GET", url, nil)
	if resp, err := client.Do(req); err == nil {
		resp.Body.Close()
	}
}

func someStuck(e *env) func() {
	stop := e.closer()
	return e.steady(func() {
		for i := range 10 {
			answered := make(chan bool)
			e.wg.Go(func() { someStuckHandle(answered, stop) })
			if i%5 != 0 {
				e.after(1+e.rnd.IntN(2), func() { close(answered) })
			}
		}
	})
}

func someStuckHandle(answered chan bool, stop chan struct{}) {
	select {
	case <-answered:
	case <-stop:
	}
}

func semaphoreLost(e *env) func() {
	slots := make(chan bool, 3)
	e.drain(func() {
		select {
		case <-slots:
		default:
		}
	})
	return func() {
		for range e.poisson(3) {
			e.wg.Go(func() { semaphoreLostTake(slots) })
		}
	}
}

func semaphoreLostTake(slots chan<- bool) { slots <- true } // and an early return before <-slots

func neverSignalled(e *env) func() {
	var mu sync.Mutex
	over := false
	cond := sync.NewCond(&mu)
	e.end(func() { mu.Lock(); over = true; mu.Unlock(); cond.Broadcast() })
	return e.steady(func() {
		e.wg.Go(func() { neverSignalledWait(cond, &over) })
	})
}

func neverSignalledWait(c *sync.Cond, over *bool) {
	c.L.Lock()
	defer c.L.Unlock()
	for !*over {
		c.Wait()
	}
}

func slowLeak(e *env) func() {
	return func() {
		if e.window%3 == 0 {
			return
		}
		c := make(chan int)
		e.end(func() { <-c })
		e.wg.Go(func() { slowLeakSend(c) })
	}
}

func slowLeakSend(c chan<- int) { c <- 1 }

func answerOK(w http.ResponseWriter, _ *http.Request) {
	_, _ = w.Write(bytes.Repeat([]byte("x"), 64<<10))
}

// server starts a server, which is closed after what the program does at its end.
func (e *env) server(h http.HandlerFunc) *httptest.Server {
	srv := httptest.NewServer(h)
	e.end(func() { srv.CloseClientConnections(); srv.Close() })
	return srv
}

func transportEach(e *env) func() {
	srv := e.server(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })
	return func() {
		for range 2 {
			t := &http.Transport{}
			e.end(t.CloseIdleConnections)
			resp, err := (&http.Client{Transport: t}).Get(srv.URL)
			e.must(err)
			resp.Body.Close()
		}
	}
}

func responseBodies(e *env) func() {
	srv := e.server(answerOK)
	t := &http.Transport{}
	client := &http.Client{Transport: t}
	return func() {
		for i := range 4 {
			resp, err := client.Get(srv.URL)
			e.must(err)
			if i%2 == 0 {
				e.end(func() { resp.Body.Close(); t.CloseIdleConnections() })
				continue // the error path
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}
}

func sqlRows(e *env) func() {
	db := sql.OpenDB(corpusDriver{})
	ctx, cancel := context.WithCancel(context.Background())
	e.end(func() { cancel(); db.Close() })
	return func() {
		for range 2 {
			rows, err := db.QueryContext(ctx, "SELECT")
			e.must(err)
			rows.Next() // and return on the first row
		}
	}
}

func sqlTransactions(e *env) func() {
	db := sql.OpenDB(corpusDriver{})
	ctx, cancel := context.WithCancel(context.Background())
	e.end(func() { cancel(); db.Close() })
	return func() {
		for i := range 3 {
			tx, err := db.BeginTx(ctx, nil)
			e.must(err)
			if i == 0 {
				continue // the error path without Rollback
			}
			e.must(tx.Commit())
		}
	}
}

func files(e *env) func() {
	dir := e.t.TempDir()
	return func() {
		for range 1 + e.poisson(1) {
			f, err := os.CreateTemp(dir, "upload")
			e.must(err)
			e.end(func() { f.Close() })
		}
		if f, err := os.Open(filepath.Join(dir)); err == nil { // most are closed
			f.Close()
		}
	}
}

func pipes(e *env) func() {
	return func() {
		r, w, err := os.Pipe()
		e.must(err)
		e.end(func() { r.Close(); w.Close() })
	}
}

func closeWait(e *env) func() {
	addr := e.peer(func(c net.Conn) { c.Close() })
	return func() {
		for range 2 {
			c, err := net.Dial("tcp", addr)
			e.must(err)
			_, _ = c.Read(make([]byte, 1)) // EOF, and nobody closes
			e.end(func() { c.Close() })
		}
	}
}

func unboundedMap(e *env) func() {
	seen := map[int][]byte{}
	e.end(func() { clear(seen) })
	return func() {
		for range 12 + e.poisson(8) {
			seen[len(seen)] = make([]byte, 64<<10)
			_ = bytes.Repeat([]byte{1}, 100<<10)
		}
	}
}

type callbackList struct{ all []func() int }

func (l *callbackList) add() {
	buffer := make([]byte, 200<<10)
	l.all = append(l.all, func() int { return len(buffer) })
}

func startCallbackList(e *env) func() {
	l := &callbackList{}
	e.end(func() { l.all = nil })
	return func() {
		for range e.poisson(6) {
			l.add()
		}
	}
}

func subSlice(e *env) func() {
	var headers [][]byte
	e.end(func() { headers = nil })
	return func() {
		for range 10 {
			message := bytes.Repeat([]byte("x"), 128<<10)
			headers = append(headers, message[:16]) // keeps all of it
		}
	}
}

type unboundedQueue struct {
	mu    sync.Mutex
	items [][]byte
}

func (q *unboundedQueue) put() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.items = append(q.items, make([]byte, 100<<10))
}

func (q *unboundedQueue) take() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.items = q.items[1:]
}

func startUnboundedQueue(e *env) func() {
	q := &unboundedQueue{}
	e.end(func() { q.items = nil })
	return func() {
		for range 30 {
			q.put()
		}
		for range 18 {
			q.take()
		}
	}
}

type contextKey int

func contextChain(e *env) func() {
	ctx := context.Background()
	e.end(func() { ctx = nil })
	return func() {
		for range 20 { // each request is derived from the last
			ctx = context.WithValue(ctx, contextKey(1), make([]byte, 50<<10))
		}
	}
}

func timersPending(e *env) func() {
	var timers []*time.Timer
	e.end(func() {
		for _, t := range timers {
			t.Stop()
		}
		timers = nil
	})
	return func() {
		for range 15 {
			session := make([]byte, 80<<10)
			timers = append(timers, time.AfterFunc(24*time.Hour, func() { session[0]++ }))
		}
	}
}

func wrongKeys(e *env) func() {
	requests := map[[2]int][]byte{}
	e.end(func() { clear(requests) })
	n := 0
	return func() {
		for range 20 {
			n++
			requests[[2]int{n, 1}] = make([]byte, 70<<10)
			if n%4 != 0 {
				delete(requests, [2]int{n, 1})
			}
			delete(requests, [2]int{n, 2}) // one in four has another key
		}
		for range 6 {
			n++
			requests[[2]int{n, 3}] = make([]byte, 200<<10)
		}
	}
}
