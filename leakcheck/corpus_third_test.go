package leakcheck_test

import (
	"bufio"
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// The third set is of programs as they are found in services: hubs, groups,
// pools, pumps.
var corpusThird = []corpusProgram{
	{name: "3: limited group whose failed tasks keep their slot", site: "limitedGroup", start: limitedGroups},
	{name: "3: subscribers that stay busy", site: "hub", start: busySubscribers},
	{name: "3: write pumps of websockets whose read pump has ended", site: "writePump|accepted on port", start: writePumps},
	{name: "3: pool that loses connections on errors", site: "to 127.0.0.1|peer", start: losingPool},
	{name: "3: results after the deadline, in bursts", site: "lateResult", start: lateResults},
	{name: "3: encoders of a pipe whose reader has gone", site: "encodeInto", start: pipeEncoders},
	{name: "3: commands that nobody waits for", site: "pidfd", needs: hasPidfd, start: unwaitedCommands},
	{name: "3: contexts of a parent that lives on", site: "childContext", heap: true, start: childContexts},
	{name: "3: LRU that forgets the key, not the entry", site: "HalfLRU|halfLRU", heap: true, start: startHalfLRU},
	{name: "3: singleflight calls that are never forgotten", site: "flight", heap: true, start: flights},

	{name: "3: workers that scale with bursts and retire", start: burstWorkers},
	{name: "3: hub with churn", start: hubWithChurn},
	{name: "3: chat whose connections last long", start: chat},
	{name: "3: client pool that grows to its cap under use", start: usedPool},
	{name: "3: group with retries and backoff", start: retryingGroup},
	{name: "3: scheduled jobs, each a sleeping goroutine", start: sleepingJobs},
	{name: "3: LRU with a time to live and singleflight", heap: true, start: ttlLRU},
	{name: "3: metrics by label, more and more seldom new", heap: true, start: labelSets},
}

// A limitedGroup runs so many tasks at once.
type limitedGroup struct{ slots chan struct{} }

func (g *limitedGroup) run(e *env, task func() error) {
	e.wg.Go(func() {
		g.slots <- struct{}{}
		if task() == nil {
			<-g.slots
		} // else the slot is never given back
	})
}

func limitedGroups(e *env) func() {
	g := &limitedGroup{make(chan struct{}, 8)}
	e.end(func() { // all that wait for a slot have one, and can give it back
		for len(g.slots) > 0 {
			<-g.slots
		}
		go func() {
			for {
				select {
				case g.slots <- struct{}{}:
				case <-g.slots:
				case <-e.t.Context().Done():
					return
				}
			}
		}()
	})
	return func() {
		for range e.poisson(4) {
			fails := e.rnd.IntN(4) == 0
			g.run(e, func() error {
				if fails {
					return errors.New("failed")
				}
				return nil
			})
		}
	}
}

// A hub hands each message to all who subscribed.
type hub struct {
	mu   sync.Mutex
	subs map[int]chan string
	next int
}

func (h *hub) subscribe(e *env, got func(string)) (unsubscribe func()) {
	c := make(chan string, 16)
	h.mu.Lock()
	id := h.next
	h.next++
	h.subs[id] = c
	h.mu.Unlock()
	e.wg.Go(func() {
		for m := range c {
			got(m)
		}
	})
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.subs[id] != nil {
			delete(h.subs, id)
			close(c)
		}
	}
}

func (h *hub) publish(m string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.subs {
		select {
		case c <- m:
		default:
		}
	}
}

func busySubscribers(e *env) func() {
	h := &hub{subs: map[int]chan string{}}
	return e.steady(func() {
		for range e.poisson(1.5) { // a request for a stream, whose client soon goes away
			e.end(h.subscribe(e, func(string) {}))
		}
		for i := range 10 {
			h.publish(fmt.Sprint("message ", i))
		}
	})
}

func hubWithChurn(e *env) func() {
	h := &hub{subs: map[int]chan string{}}
	return func() {
		for range 2 + e.window/20 {
			unsubscribe := h.subscribe(e, func(string) {})
			e.end(unsubscribe)
			e.after(6+e.rnd.IntN(8), unsubscribe)
		}
		h.publish("message")
	}
}

// socketServer upgrades each connection and gives it to serve.
func socketServer(e *env, serve func(net.Conn, *bufio.ReadWriter)) (addr string) {
	srv := e.server(func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
		rw.Flush()
		serve(c, rw)
	})
	return srv.Listener.Addr().String()
}

func dialSocket(e *env, addr string) net.Conn {
	c, err := net.Dial("tcp", addr)
	e.must(err)
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
	_, err = bufio.NewReaderSize(c, 16).ReadString('\n')
	e.must(err)
	return c
}

func writePumps(e *env) func() {
	stop := e.closer()
	addr := socketServer(e, func(c net.Conn, rw *bufio.ReadWriter) {
		send := make(chan []byte, 8)
		e.wg.Go(func() { writePump(c, send, stop) })
		e.wg.Go(func() { // the read pump ends with its client, and tells nobody
			io.Copy(io.Discard, rw)
		})
	})
	return func() {
		for range 1 + e.rnd.IntN(2) {
			dialSocket(e, addr).Close()
		}
	}
}

func writePump(c net.Conn, send <-chan []byte, stop <-chan struct{}) {
	defer c.Close()
	ping := time.NewTicker(time.Hour)
	defer ping.Stop()
	for {
		select {
		case m := <-send:
			c.Write(m)
		case <-ping.C:
			c.Write([]byte("ping"))
		case <-stop:
			return
		}
	}
}

func chat(e *env) func() {
	stop := e.closer()
	addr := socketServer(e, func(c net.Conn, rw *bufio.ReadWriter) {
		send, gone := make(chan []byte, 8), make(chan struct{})
		e.wg.Go(func() {
			defer c.Close()
			for {
				select {
				case m := <-send:
					c.Write(m)
				case <-gone:
					return
				case <-stop:
					return
				}
			}
		})
		e.wg.Go(func() { io.Copy(io.Discard, rw); close(gone) })
	})
	return func() {
		for range e.poisson(3) {
			c := dialSocket(e, addr)
			leave := sync.OnceFunc(func() { c.Close() })
			e.end(leave)
			e.after(int(1+e.rnd.ExpFloat64()*12), leave)
		}
	}
}

// A connPool makes connections up to a cap and keeps them.
type connPool struct {
	addr string
	idle []net.Conn
}

func (p *connPool) get(e *env) net.Conn {
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return c
	}
	c, err := net.Dial("tcp", p.addr)
	e.must(err)
	e.end(func() { c.Close() })
	return c
}

func (p *connPool) put(c net.Conn) { p.idle = append(p.idle, c) }

func echo(c net.Conn) { io.Copy(c, c) }

func ask(e *env, c net.Conn) {
	_, err := c.Write([]byte("ping\n"))
	e.must(err)
	_, err = io.ReadFull(c, make([]byte, 5))
	e.must(err)
}

func losingPool(e *env) func() {
	p := &connPool{addr: e.peer(echo)}
	return func() {
		var taken []net.Conn
		for range 4 { // at the same time
			taken = append(taken, p.get(e))
		}
		for i, c := range taken {
			ask(e, c)
			if i == 0 && e.rnd.IntN(3) > 0 {
				continue // an error of the caller, who returns early
			}
			p.put(c)
		}
	}
}

func usedPool(e *env) func() {
	p := &connPool{addr: e.peer(echo)}
	return func() {
		n := min(2+e.window/2, 24) + e.rnd.IntN(2) // the morning
		var taken []net.Conn
		for range n {
			taken = append(taken, p.get(e))
		}
		for _, c := range taken {
			ask(e, c)
			p.put(c)
		}
	}
}

func lateResults(e *env) func() {
	return func() {
		if e.window%3 != 0 {
			return
		}
		for range 5 + e.rnd.IntN(10) { // a burst
			results := make(chan int)
			late := e.rnd.IntN(4) == 0
			e.wg.Go(func() { lateResult(results) })
			if late { // the deadline has passed
				e.end(func() { <-results })
				continue
			}
			<-results
		}
	}
}

func lateResult(c chan<- int) { c <- 1 }

func pipeEncoders(e *env) func() {
	return e.steady(func() {
		if e.rnd.IntN(2) == 0 {
			r, w := io.Pipe()
			e.wg.Go(func() { encodeInto(w) })
			bufio.NewReaderSize(r, 16).ReadByte() // enough to see that it is no use
			e.end(func() { r.Close() })
		}
	})
}

func encodeInto(w *io.PipeWriter) {
	for i := range 100 {
		if _, err := fmt.Fprintf(w, `{"item": %d, "name": "something that is long"}`, i); err != nil {
			return
		}
	}
	w.Close()
}

// hasPidfd reports whether package os keeps a descriptor of a command until it
// was waited for, which not every kernel allows.
func hasPidfd() bool {
	cmd := exec.Command("true")
	if cmd.Start() != nil {
		return false
	}
	defer cmd.Wait()
	fds, _ := filepath.Glob("/proc/self/fd/*")
	return slices.ContainsFunc(fds, func(fd string) bool {
		to, _ := os.Readlink(fd)
		return to == "anon_inode:[pidfd]"
	})
}

func unwaitedCommands(e *env) func() {
	return func() {
		cmd := exec.Command("true")
		e.must(cmd.Start())
		e.end(func() { cmd.Wait() })
	}
}

func childContexts(e *env) func() {
	app, stop := context.WithCancel(context.Background())
	e.end(stop)
	return func() {
		for range 400 {
			childContext(app)
		}
	}
}

func childContext(app context.Context) {
	type key struct{}
	ctx, cancel := context.WithCancel(context.WithValue(app, key{}, make([]byte, 200))) // forgotten
	_ = cancel
	<-time.After(0)
	_ = ctx
}

// A halfLRU drops the key of what is oldest, and keeps it in its list.
type halfLRU struct {
	byKey map[string]*list.Element
	order *list.List
	cap   int
}

func (l *halfLRU) add(key string, v []byte) {
	l.byKey[key] = l.order.PushFront(v)
	if len(l.byKey) > l.cap {
		for old := range l.byKey {
			delete(l.byKey, old)
			break
		}
	}
}

func startHalfLRU(e *env) func() {
	l := &halfLRU{byKey: map[string]*list.Element{}, order: list.New(), cap: 100}
	n := 0
	return e.steady(func() {
		for range 200 {
			n++
			l.add(fmt.Sprint("key", n), make([]byte, 1000))
		}
	})
}

// A flight is one call for all who ask at the same time.
type flight struct {
	done   chan struct{}
	result []byte
}

func flights(e *env) func() {
	calls := map[string]*flight{}
	n := 0
	return func() {
		for range 150 {
			n++
			key := fmt.Sprint("user/", n)
			f := &flight{done: make(chan struct{})}
			calls[key] = f
			f.fill()
			if n%3 == 0 { // only these
				delete(calls, key)
			}
		}
	}
}

func (f *flight) fill() { f.result = make([]byte, 2000); close(f.done) }

func burstWorkers(e *env) func() {
	type worker struct {
		work chan struct{}
		idle int
	}
	var workers []*worker
	e.end(func() {
		for _, w := range workers {
			close(w.work)
		}
	})
	return func() {
		want := 3
		if e.window%6 == 0 {
			want = 10 + e.window/3 + e.rnd.IntN(10) // each burst is greater
		}
		for len(workers) < want {
			w := &worker{work: make(chan struct{})}
			workers = append(workers, w)
			e.wg.Go(func() {
				for range w.work {
				}
			})
		}
		kept := workers[:0]
		for i, w := range workers {
			if i < want {
				w.idle = 0
				w.work <- struct{}{}
			} else if w.idle++; w.idle > 3 {
				close(w.work)
				continue
			}
			kept = append(kept, w)
		}
		workers = kept
	}
}

func retryingGroup(e *env) func() {
	return func() {
		for range 6 {
			done := make(chan struct{})
			end := sync.OnceFunc(func() { close(done) })
			e.wg.Go(func() { <-done })
			e.end(end)
			tries := 0
			for e.rnd.IntN(3) == 0 && tries < 5 {
				tries++
			}
			e.after(1<<tries-1, end) // 1, 3, 7, 15, 31
		}
	}
}

func sleepingJobs(e *env) func() {
	return e.steady(func() {
		for range e.poisson(2) {
			wake := make(chan struct{})
			end := sync.OnceFunc(func() { close(wake) })
			e.wg.Go(func() { <-wake })
			e.end(end)
			e.after(1+e.rnd.IntN(14), end)
		}
	})
}

func ttlLRU(e *env) func() {
	type entry struct {
		v    []byte
		born int
	}
	cache := map[int]*entry{}
	return e.steady(func() {
		for range 300 {
			key := int(e.rnd.ExpFloat64() * 400)
			if c := cache[key]; c == nil || e.window-c.born > 10 {
				cache[key] = &entry{make([]byte, 2000), e.window}
			}
		}
		for key, c := range cache {
			if e.window-c.born > 15 {
				delete(cache, key)
			}
		}
	})
}

func labelSets(e *env) func() {
	series := map[string][]float64{}
	return func() {
		for range 500 {
			key := fmt.Sprint("route", int(e.rnd.ExpFloat64()*e.rnd.ExpFloat64()*300), e.rnd.IntN(3))
			if series[key] == nil {
				series[key] = make([]float64, 300)
			}
			series[key][e.rnd.IntN(300)]++
		}
	}
}
