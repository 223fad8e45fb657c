package leakcheck_test

import (
	"bufio"
	"bytes"
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// The second half was written when the method was fixed, to see how it does
// on programs that it was not tuned to.
var corpusSecond = []corpusProgram{
	{name: "2: siblings of a failed task", site: "siblings", start: siblings},
	{name: "2: merged contexts", site: "mergedContexts", start: mergedContexts},
	{name: "2: reloads that do not stop the old", site: "reloads", start: reloads},
	{name: "2: handler that ignores its client", site: "ignoresClient|accepted on port", start: ignoresClient},
	{name: "2: pipe whose writer is gone", site: "pipeReader", start: pipeReaders},
	{name: "2: clients that never speak", site: "neverSpeak|to 127.0.0.1", start: neverSpeak},
	{name: "2: waiters of a limiter that falls behind", site: "limiterWait", start: limiterWaiters},
	{name: "2: once that never returns", site: "onceStuck", start: onceStuck},
	{name: "2: consumer that breaks out", site: "brokenOut", start: brokenOut},
	{name: "2: mailboxes of dead actors", site: "mailbox", start: mailboxes},
	{name: "2: nil channel", site: "nilChannel", start: nilChannels},
	{name: "2: udp sockets", site: "socket|udpAsk", start: udpSockets},
	{name: "2: accept loops", site: "acceptLoop", start: acceptLoops},
	{name: "2: pollers of finished jobs", site: "pollJob", start: pollers},
	{name: "2: statistics by user", site: "statsByUser", heap: true, start: statsByUser},
	{name: "2: sync.Map that is only filled", site: "syncMapFilled", heap: true, start: syncMapFilled},
	{name: "2: linked list of history", site: "history", heap: true, start: history},
	{name: "2: first field of long lines", site: "firstField", heap: true, start: firstField},
	{name: "2: slice of values that grows", site: "valueSlice", heap: true, start: valueSlice},
	{name: "2: leak that follows a wave of traffic", site: "waveLeak", heap: true, start: waveLeak},
	{name: "2: errors that keep their requests", site: "keptErrors", heap: true, start: keptErrors},
	{name: "2: temporary files, removed but open", site: "file", start: removedFiles},

	{name: "2: slow handlers", start: slowHandlers},
	{name: "2: cron with many tasks", start: cronTasks},
	{name: "2: connections with a maximum lifetime", start: lifetimes},
	{name: "2: workers replaced by new ones", start: replacedWorkers},
	{name: "2: shards added one by one", start: shards},
	{name: "2: reconnect storms", start: reconnectStorms},
	{name: "2: debounced writes", start: debounced},
	{name: "2: backlog that is worked off", start: backlog},
	{name: "2: convoy at a lock", start: convoy},
	{name: "2: files tailed", start: tailedFiles},
	{name: "2: random walk of sessions", start: randomWalk},
	{name: "2: fan-out with stragglers", start: stragglers},
	{name: "2: sliding sessions", heap: true, start: slidingSessions},
	{name: "2: memo of skewed keys", heap: true, start: skewedMemo},
	{name: "2: two generations", heap: true, start: twoGenerations},
	{name: "2: tumbling windows", heap: true, start: tumblingWindows},
	{name: "2: memtable flushed", heap: true, start: memtable},
	{name: "2: buffers in flight under a ramp", heap: true, start: buffersInFlight},
	{name: "2: templates at start, then churn", heap: true, start: templates},
	{name: "2: interned strings", heap: true, start: interned},
	{name: "2: cache resized at runtime", heap: true, start: resizedCache},
}

func siblings(e *env) func() {
	return func() {
		for range e.poisson(2) {
			results := make(chan error)
			for i := range 3 {
				e.wg.Go(func() { siblingsSend(results, i) })
			}
			if err := <-results; err != nil { // the other two are forgotten
				e.end(func() { <-results; <-results })
			}
		}
	}
}

func siblingsSend(c chan<- error, i int) { c <- fmt.Errorf("task %d failed", i) }

func mergedContexts(e *env) func() {
	base, stop := context.WithCancel(context.Background())
	e.end(stop)
	return e.steady(func() {
		for range 2 {
			request, answered := context.WithCancel(context.Background())
			e.end(answered)
			e.wg.Go(func() { mergedContextsWait(base, request) })
		}
	})
}

func mergedContextsWait(a, b context.Context) {
	select {
	case <-a.Done():
	case <-b.Done():
	}
}

func reloads(e *env) func() {
	stop := e.closer()
	return func() {
		if e.window%2 == 0 { // a new configuration
			e.wg.Go(func() { reloadsWatch(stop) })
		}
	}
}

func reloadsWatch(stop chan struct{}) {
	for {
		timer := time.NewTimer(15 * time.Millisecond)
		select {
		case <-timer.C:
		case <-stop:
			timer.Stop()
			return
		}
	}
}

func ignoresClient(e *env) func() {
	never := make(chan struct{})
	srv := e.server(func(http.ResponseWriter, *http.Request) { ignoresClientWait(never) })
	e.end(func() { close(never) })
	client := &http.Client{Timeout: 10 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}}
	return func() {
		for range 2 {
			if resp, err := client.Get(srv.URL); err == nil {
				resp.Body.Close()
			}
		}
	}
}

func ignoresClientWait(c chan struct{}) { <-c }

func pipeReaders(e *env) func() {
	return func() {
		r, w := io.Pipe()
		e.end(func() { w.Close() })
		e.wg.Go(func() { pipeReader(r) })
		fmt.Fprintln(w, "a line") // and an early return before w.Close
	}
}

func pipeReader(r io.Reader) {
	for s := bufio.NewScanner(r); s.Scan(); {
	}
}

func neverSpeak(e *env) func() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	e.must(err)
	e.end(func() { ln.Close() })
	e.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			e.wg.Go(func() { neverSpeakServe(c) })
		}
	})
	return func() {
		for range 2 {
			c, err := net.Dial("tcp", ln.Addr().String())
			e.must(err)
			e.end(func() { c.Close() })
		}
	}
}

func neverSpeakServe(c net.Conn) {
	defer c.Close()
	_, _ = bufio.NewReader(c).ReadString('\n') // without a deadline
}

func limiterWaiters(e *env) func() {
	stop := e.closer()
	return e.steady(func() {
		for i := range 5 {
			slot := make(chan struct{})
			e.wg.Go(func() { limiterWait(slot, stop) })
			if i < 3 { // five come, three go
				e.after(1, func() { close(slot) })
			}
		}
	})
}

func limiterWait(slot, stop chan struct{}) {
	select {
	case <-slot:
	case <-stop:
	}
}

func onceStuck(e *env) func() {
	var once sync.Once
	stop := e.closer()
	return func() {
		for range 2 {
			e.wg.Go(func() { onceStuckDo(&once, stop) })
		}
	}
}

func onceStuckDo(once *sync.Once, stop chan struct{}) { once.Do(func() { <-stop }) }

func brokenOut(e *env) func() {
	return func() {
		for range 1 + e.poisson(1) {
			lines := make(chan string)
			e.wg.Go(func() { brokenOutProduce(lines) })
			for line := range lines {
				if line == "b" {
					break
				}
			}
			e.end(func() {
				for range lines {
				}
			})
		}
	}
}

func brokenOutProduce(lines chan<- string) {
	defer close(lines)
	for _, l := range []string{"a", "b", "c", "d"} {
		lines <- l
	}
}

type mailbox[T any] struct{ c chan T }

func (m mailbox[T]) tell(v T) { m.c <- v }

func mailboxes(e *env) func() {
	return func() {
		m := mailbox[int]{make(chan int, 2)} // its actor has panicked
		for i := range 3 {
			e.wg.Go(func() { m.tell(i) })
		}
		e.end(func() { <-m.c })
	}
}

func nilChannels(e *env) func() {
	// Nothing ends a receive from a nil channel, so it is one of many cases.
	stop := e.closer()
	return e.steady(func() {
		for range 2 {
			e.wg.Go(func() { nilChannelWait(nil, stop) })
		}
	})
}

func nilChannelWait(c, stop chan struct{}) {
	select {
	case <-c:
	case <-stop:
	}
}

func udpSockets(e *env) func() {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	e.must(err)
	e.end(func() { server.Close() })
	return func() { e.end(udpAsk(e, server.LocalAddr().String())) }
}

func udpAsk(e *env, addr string) (closeIt func()) {
	c, err := net.Dial("udp", addr)
	e.must(err)
	_, _ = c.Write([]byte("?"))
	return func() { c.Close() }
}

func acceptLoops(e *env) func() {
	return func() {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		e.must(err)
		e.end(func() { ln.Close() })
		e.wg.Go(func() { acceptLoop(ln) })
	}
}

func acceptLoop(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		c.Close()
	}
}

func pollers(e *env) func() {
	stop := e.closer()
	return e.steady(func() {
		for range e.poisson(1.5) {
			e.wg.Go(func() { pollJob(stop) })
		}
	})
}

func pollJob(stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
			time.Sleep(8 * time.Millisecond)
		}
	}
}

type userStats struct {
	name   string
	counts [120]int64
}

func statsByUser(e *env) func() {
	stats := map[string]*userStats{}
	e.end(func() { clear(stats) })
	n := 0
	return func() {
		for range 1500 {
			n++
			name := fmt.Sprint("user-", n)
			s := &userStats{name: name}
			s.counts[n%len(s.counts)]++
			stats[name] = s
		}
	}
}

func syncMapFilled(e *env) func() {
	var m sync.Map
	e.end(m.Clear)
	n := 0
	return func() {
		for range 10 + e.poisson(10) {
			n++
			m.Store(n, make([]byte, 80<<10))
		}
	}
}

func history(e *env) func() {
	l := list.New()
	e.end(func() { l.Init() })
	return func() {
		for range 25 {
			l.PushBack(bytes.Clone(make([]byte, 60<<10)))
			_ = make([]byte, 60<<10)
		}
	}
}

func firstField(e *env) func() {
	var names []string
	e.end(func() { names = nil })
	return func() {
		for i := range 12 {
			line := fmt.Sprint(i, " ", strings.Repeat("x", 120<<10))
			names = append(names, strings.Fields(line)[0])
		}
	}
}

func valueSlice(e *env) func() {
	var all [][16]int64
	e.end(func() { all = nil })
	return func() {
		for range 12000 {
			all = append(all, [16]int64{})
		}
	}
}

func waveLeak(e *env) func() {
	e.load = true
	var kept [][]byte
	e.end(func() { kept = nil })
	return func() {
		n := 20 + int(12*math.Sin(float64(e.window)/3))
		e.requests += n
		for range n {
			kept = append(kept, make([]byte, 72<<10))
		}
	}
}

type requestError struct {
	err  error
	body []byte
}

func (r *requestError) Error() string { return r.err.Error() }

func keptErrors(e *env) func() {
	var recent []error
	e.end(func() { recent = nil })
	return func() {
		for range e.poisson(14) {
			recent = append(recent, &requestError{errors.New("bad request"), make([]byte, 96<<10)})
		}
	}
}

func removedFiles(e *env) func() {
	dir := e.t.TempDir()
	return func() {
		for range 2 {
			f, err := os.CreateTemp(dir, "spill")
			e.must(err)
			e.must(os.Remove(f.Name()))
			e.end(func() { f.Close() })
		}
	}
}

// hold starts a goroutine for so many windows.
func (e *env) hold(windows int) { e.after(windows, e.wait(func(c chan struct{}) { <-c })) }

func slowHandlers(e *env) func() {
	slow := make(chan chan struct{}, 100)
	stop := make(chan struct{})
	srv := e.server(func(_ http.ResponseWriter, r *http.Request) {
		c := make(chan struct{})
		slow <- c
		select {
		case <-c:
		case <-stop: // also of a request that the transport sent a second time
		}
	})
	client := &http.Client{Transport: &http.Transport{}}
	e.end(client.CloseIdleConnections)
	e.end(func() { close(stop) })
	return func() {
		for range e.poisson(3) {
			e.wg.Go(func() {
				if resp, err := client.Get(srv.URL); err == nil {
					resp.Body.Close()
				}
			})
			c := <-slow
			answer := sync.OnceFunc(func() { close(c) })
			e.end(answer)
			e.after(1+e.rnd.IntN(4), answer)
		}
	}
}

func cronTasks(e *env) func() {
	return e.steady(func() {
		if e.window%10 == 3 {
			for range 30 {
				e.hold(2 + e.rnd.IntN(6))
			}
		}
	})
}

func lifetimes(e *env) func() {
	addr := e.peer(func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	var pool []func()
	return func() {
		for range 2 {
			c, err := net.Dial("tcp", addr)
			e.must(err)
			done := sync.OnceFunc(func() { c.Close() })
			e.end(done)
			pool = append(pool, done)
		}
		for len(pool) > 25 {
			pool[0]()
			pool = pool[1:]
		}
	}
}

func replacedWorkers(e *env) func() {
	var old []func()
	return e.steady(func() {
		if e.window%9 == 1 {
			var fresh []func()
			for range 10 {
				fresh = append(fresh, e.wait(func(c chan struct{}) { <-c }))
			}
			for _, end := range old {
				end()
			}
			old = fresh
		}
	})
}

func shards(e *env) func() {
	return func() {
		if e.window%2 == 0 && e.window <= 20 {
			for range 3 {
				e.hold(1000)
			}
		}
	}
}

func reconnectStorms(e *env) func() {
	addr := e.peer(func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	var conns []func()
	return func() {
		if e.window%25 == 0 {
			for _, hangUp := range conns {
				hangUp()
			}
			conns = nil
		}
		for range min(4, 40-len(conns)) {
			c, err := net.Dial("tcp", addr)
			e.must(err)
			hangUp := sync.OnceFunc(func() { c.Close() })
			e.end(hangUp)
			conns = append(conns, hangUp)
			e.wg.Go(func() { _, _ = c.Read(make([]byte, 1)) })
		}
	}
}

func debounced(e *env) func() {
	return e.steady(func() {
		for range 20 {
			t := time.AfterFunc(time.Hour, func() {})
			e.end(func() { t.Stop() })
			e.after(1+e.rnd.IntN(3), func() { t.Stop() })
		}
		for range e.poisson(4) {
			e.hold(1 + e.rnd.IntN(3))
		}
	})
}

func backlog(e *env) func() {
	c := make(chan int)
	waiting := 0
	e.drain(func() {
		select {
		case <-c:
		default:
		}
	})
	return func() {
		// Every forty windows, more comes than goes for seven.
		if e.window%40 < 7 {
			for range 4 {
				waiting++
				e.wg.Go(func() { c <- 1 })
			}
		}
		for range min(2, waiting) {
			<-c
			waiting--
		}
	}
}

func convoy(e *env) func() {
	var mu sync.Mutex
	return func() {
		n := e.poisson(8)
		var inside sync.WaitGroup
		mu.Lock()
		for range n {
			inside.Add(1)
			e.wg.Go(func() { defer inside.Done(); mu.Lock(); defer mu.Unlock() })
		}
		mu.Unlock()
		inside.Wait()
	}
}

func tailedFiles(e *env) func() {
	dir := e.t.TempDir()
	n := 0
	return func() {
		for ; n < min(e.window/2, 9); n++ {
			f, err := os.CreateTemp(dir, "log")
			e.must(err)
			e.end(func() { f.Close() })
		}
	}
}

func randomWalk(e *env) func() {
	var ends []func()
	return e.steady(func() {
		for range e.rnd.IntN(7) {
			ends = append(ends, e.wait(func(c chan struct{}) { <-c }))
		}
		for range min(e.rnd.IntN(7), len(ends)) {
			i := e.rnd.IntN(len(ends))
			ends[i]()
			ends = append(ends[:i], ends[i+1:]...)
		}
	})
}

func stragglers(e *env) func() {
	return e.steady(func() {
		for range 12 {
			e.hold(1 + int(math.Exp(e.rnd.ExpFloat64()*0.7)))
		}
	})
}

func slidingSessions(e *env) func() {
	type session struct {
		data []byte
		seen int
	}
	sessions := map[int]*session{}
	e.end(func() { clear(sessions) })
	return func() {
		for range 20 {
			id := e.rnd.IntN(200)
			if sessions[id] == nil {
				sessions[id] = &session{data: make([]byte, 90<<10)}
			}
			sessions[id].seen = e.window
		}
		for id, s := range sessions {
			if e.window-s.seen > 9 {
				delete(sessions, id)
			}
		}
	}
}

func skewedMemo(e *env) func() {
	memo := map[int][]byte{}
	e.end(func() { clear(memo) })
	return func() {
		for range 100 {
			k := int(math.Exp(e.rnd.Float64() * math.Log(600)))
			if memo[k] == nil {
				memo[k] = make([]byte, 64<<10)
			}
		}
	}
}

func twoGenerations(e *env) func() {
	young, old := map[int][]byte{}, map[int][]byte{}
	e.end(func() { clear(young); clear(old) })
	return func() {
		for range 15 {
			young[len(young)] = make([]byte, 80<<10)
		}
		if e.window%8 == 0 {
			young, old = map[int][]byte{}, young
		}
		_ = old
	}
}

func tumblingWindows(e *env) func() {
	var all [][]byte
	e.end(func() { all = nil })
	return func() {
		for range 10 + e.poisson(10) {
			all = append(all, make([]byte, 64<<10))
		}
		if e.window%16 == 0 {
			all = nil
		}
	}
}

func memtable(e *env) func() {
	var active, frozen [][]byte
	e.end(func() { active, frozen = nil, nil })
	return func() {
		for range 10 + e.poisson(6) {
			active = append(active, make([]byte, 100<<10))
		}
		frozen = frozen[:max(len(frozen)-40, 0)]
		if len(active) > 140 {
			active, frozen = nil, active
		}
	}
}

func buffersInFlight(e *env) func() {
	buffers := map[int][]byte{}
	e.end(func() { clear(buffers) })
	n := 0
	return func() {
		for range e.poisson(float64(min(e.window, 50)) / 2) {
			n++
			id := n
			buffers[id] = make([]byte, 100<<10)
			e.after(1+e.rnd.IntN(4), func() { delete(buffers, id) })
		}
	}
}

func templates(e *env) func() {
	var loaded [12][]byte
	parts := map[int][]byte{}
	e.end(func() { clear(loaded[:]); clear(parts) })
	return func() {
		if e.window <= len(loaded) {
			loaded[e.window-1] = make([]byte, 1<<20)
		}
		for range 10 {
			parts[e.rnd.IntN(60)] = make([]byte, 64<<10)
		}
	}
}

func interned(e *env) func() {
	words := map[string][]byte{}
	e.end(func() { clear(words) })
	return func() {
		for range 60 {
			w := fmt.Sprint("word-", int(math.Abs(e.rnd.NormFloat64())*60))
			if words[w] == nil {
				words[w] = make([]byte, 128<<10)
			}
		}
	}
}

func resizedCache(e *env) func() {
	var cache [][]byte
	e.end(func() { cache = nil })
	return func() {
		size := 100
		if e.window > 30 {
			size = 200
		}
		for range 20 {
			cache = append(cache, make([]byte, 70<<10))
		}
		if len(cache) > size {
			cache = append([][]byte(nil), cache[len(cache)-size:]...)
		}
	}
}
