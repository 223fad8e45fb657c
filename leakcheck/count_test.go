package leakcheck

import (
	"fmt"
	"iter"
	"maps"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func generic[T any](c chan T) { <-c }

// Both sources must name one group alike, or members seem to end whenever the
// other is read.
func TestCountsAndTracebacksAgree(t *testing.T) {
	Verify(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var (
		c       = make(chan int)
		strs    = make(chan string)
		end     = make(chan bool)
		mu      sync.Mutex
		rw      sync.RWMutex
		wg      sync.WaitGroup
		ended   sync.WaitGroup
		cond    = sync.NewCond(&sync.Mutex{})
		pulled  = make(chan func())
		stopped = false
	)
	mu.Lock()
	rw.Lock()
	wg.Add(1)
	for _, f := range map[string]func(){
		"chan send":         func() { c <- 1 },
		"chan receive":      func() { generic(strs) },
		"select":            func() { generic2(end, c) },
		"sync.Mutex.Lock":   func() { mu.Lock(); defer mu.Unlock() },
		"sync.RWMutex.Lock": func() { rw.Lock(); defer rw.Unlock() },
		"sync.RWMutex.RLock": func() {
			rw.RLock()
			defer rw.RUnlock()
		},
		"sync.WaitGroup.Wait": func() { wg.Wait() },
		"sync.Cond.Wait": func() {
			cond.L.Lock()
			for !stopped {
				cond.Wait()
			}
			cond.L.Unlock()
		},
		"IO wait": func() { _, _ = ln.Accept() },
		"coroutine": func() {
			next, stop := iter.Pull(iter.Seq[int](func(yield func(int) bool) { yield(1); yield(2) }))
			next()
			pulled <- stop
		},
	} {
		ended.Add(1)
		go func() {
			defer ended.Done()
			f()
		}()
	}
	stop := <-pulled
	defer func() {
		stop()
		ln.Close()
		mu.Unlock()
		rw.Unlock()
		wg.Done()
		cond.L.Lock()
		stopped = true
		cond.L.Unlock()
		cond.Broadcast()
		close(end) // first, because its select would send too
		<-c
		strs <- ""
		ended.Wait()
	}()

	here := func(all map[string]*tally) map[string]string {
		m := map[string]string{}
		for key, g := range all {
			if strings.Contains(key, "TestCountsAndTracebacksAgree") && !strings.HasPrefix(key, "wide\n") {
				s := g.about(0)
				m[key] = fmt.Sprintf("%v %v %v %s", g.size, g.stuck, s.Site, s.State)
			}
		}
		return m
	}
	var counter counter
	deadline := time.Now().Add(30 * time.Second)
	for {
		counts := here(counter.read(func(*goroutine) bool { return false }))
		gs, err := readTraceback()
		if err != nil {
			t.Fatal(err)
		}
		var all []*goroutine
		for i := range gs[1:] {
			all = append(all, &gs[1+i])
		}
		each := here(goroutineGroups(all))
		// The test's own goroutine has another line in each.
		for _, m := range []map[string]string{counts, each} {
			maps.DeleteFunc(m, func(_, v string) bool { return strings.HasSuffix(v, "running") })
		}
		if maps.Equal(counts, each) && len(counts) == 10 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("counts:\n%s\ntraceback:\n%s", pretty(counts), pretty(each))
		}
		runtime.Gosched()
	}
}

func pretty(m map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, "%s\n\t%s\n", strings.TrimSpace(k), m[k])
	}
	return b.String()
}

func generic2[T, U any](c chan T, d chan U) {
	select {
	case <-c:
	case d <- *new(U):
	}
}
