//go:build ignore

// record writes the recordings of this folder:
//
//	go run -trimpath testdata/record.go | gzip -9n >testdata/go1.26.trace.gz
//	GOTOOLCHAIN=go1.27.4 go run -trimpath testdata/record.go | gzip -9n >testdata/go1.27.trace.gz
//
// Each route waits in one way, for about 30 ms.
package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/trace"
	"sync"
	"syscall"
	"time"
)

const while = 30 * time.Millisecond

func main() {
	runtime.GOMAXPROCS(2)
	debug.SetGCPercent(-1)
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(while) }))
	defer slow.Close()
	http.Get(slow.URL) // its connection is there
	here, there := pipe()

	check(trace.Start(os.Stdout))
	serve("GET", "/running", "01", func(context.Context) { spin(while) })
	serve("GET", "/sleep", "02", func(context.Context) { time.Sleep(while) })
	serve("GET", "/syscall", "03", func(context.Context) {
		t := syscall.NsecToTimespec(int64(while))
		syscall.Nanosleep(&t, nil)
	})
	serve("GET", "/network", "04", func(context.Context) {
		go func() { time.Sleep(while); there.Write([]byte{1}) }()
		io.ReadFull(here, make([]byte, 1))
	})
	serve("GET", "/client", "05", func(ctx context.Context) {
		_, call := trace.NewTask(ctx, "GET upstream") // the span of the call, as package tracing makes it
		resp, err := http.Get(slow.URL)
		check(err)
		resp.Body.Close()
		call.End()
	})
	serve("GET", "/channel", "06", func(context.Context) {
		c := make(chan int)
		go answer(c)
		<-c
	})
	serve("GET", "/group", "07", func(context.Context) {
		var wg sync.WaitGroup
		wg.Go(func() { time.Sleep(while) })
		wg.Wait()
	})
	lock()
	ready()
	assist()
	open := make(chan bool)
	go serve("GET", "/open", "0a", func(context.Context) { <-open })
	time.Sleep(while)
	trace.Stop()
}

// serve does what package observe does with a request while a recording runs.
func serve(method, route, id string, f func(context.Context)) {
	ctx, task := trace.NewTask(context.Background(), method)
	defer task.End()
	trace.Log(ctx, "trace_id", "000000000000000000000000000000"+id)
	trace.WithRegion(ctx, route, func() { f(ctx) })
}

var mu sync.Mutex

// lock has one request hold the lock that another wants, whose route is known late.
func lock() {
	var wg sync.WaitGroup
	held := make(chan bool)
	wg.Go(func() {
		serve("POST", "/hold", "08", func(context.Context) {
			hold(held)
		})
	})
	<-held
	serve("GET", "unmatched", "09", func(ctx context.Context) {
		takeLock()
		trace.Log(ctx, "http_route", "/locked/{id}")
	})
	wg.Wait()
}

func hold(held chan bool) {
	mu.Lock()
	held <- true
	time.Sleep(while)
	letGo()
}

func letGo() { mu.Unlock() }

func takeLock() {
	mu.Lock()
	defer mu.Unlock()
}

// ready has a request wait for a processor that others keep busy.
func ready() {
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() { spin(2 * while) })
	}
	time.Sleep(5 * time.Millisecond) // until they all run
	serve("GET", "/ready", "0b", func(context.Context) {
		for range 3 {
			runtime.Gosched()
		}
	})
	wg.Wait()
}

var kept [][]byte

// assist allocates faster than the collector's own workers mark.
func assist() {
	debug.SetGCPercent(100)
	for range 1 << 15 {
		kept = append(kept, make([]byte, 512))
	}
	serve("GET", "/assist", "0c", func(context.Context) {
		for until := time.Now().Add(2 * while); time.Now().Before(until); {
			for i := range kept {
				kept[i] = make([]byte, 512)
			}
		}
	})
	debug.SetGCPercent(-1)
	kept = nil
}

func answer(c chan int) { time.Sleep(while); c <- 1 }

func spin(d time.Duration) {
	for until := time.Now().Add(d); time.Now().Before(until); {
	}
}

func pipe() (a, b net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	defer l.Close()
	go func() { b, err = l.Accept(); check(err); close(accepted) }()
	a, err2 := net.Dial("tcp", l.Addr().String())
	check(err2)
	<-accepted
	return a, b
}

var accepted = make(chan bool)

func check(err error) {
	if err != nil {
		panic(err)
	}
}
