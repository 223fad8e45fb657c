// Command leaky is a service that forgets: each GET /goroutine leaves a
// goroutine behind that nobody waits for, /heap 64 KiB in a map that is never
// pruned, /file a temporary file that is open and has no name, /hijack a
// connection that it took over and never closes. GET /sound does
// as much work and forgets nothing. It looks for leaks four times a second.
package main

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/loadline-go/loadline/leakcheck"
	"github.com/loadline-go/loadline/observe"
	"github.com/loadline-go/loadline/observe/capture"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "where the service listens")
	admin := flag.String("admin", "127.0.0.1:9464", "where the admin pages listen")
	flag.Parse()
	if err := run(context.Background(), *addr, *admin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, addr, admin string) error {
	tel, err := observe.Start(ctx, observe.Config{
		Service: "leaky", AdminAddr: admin, Captures: capture.Config{Dir: observe.Off},
		// So often there is no pause to spare in ten minutes for telling who started what.
		Leaks: leakcheck.Config{Interval: 250 * time.Millisecond, MaxPause: time.Minute},
	})
	if err != nil {
		return err
	}
	slog.SetDefault(slog.New(tel.LogHandler(slog.NewJSONHandler(os.Stderr, nil))))
	s := &service{seen: map[string][]byte{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /goroutine", s.goroutine)
	mux.HandleFunc("GET /heap", s.heap)
	mux.HandleFunc("GET /file", s.file)
	mux.HandleFunc("GET /hijack", s.hijack)
	mux.HandleFunc("GET /sound", s.sound)
	return tel.Serve(ctx, &http.Server{Addr: addr, Handler: tel.Handler(mux)})
}

type service struct {
	mu    sync.Mutex
	seen  map[string][]byte
	files []*os.File // or the collector would close them
	conns []net.Conn
}

// goroutine returns before its worker has an answer, which then has nobody to send it to.
func (s *service) goroutine(w http.ResponseWriter, r *http.Request) {
	answer := make(chan string)
	go compute(answer)
	select {
	case a := <-answer:
		fmt.Fprintln(w, a)
	case <-time.After(time.Millisecond):
		fmt.Fprintln(w, "later")
	}
}

func compute(answer chan<- string) {
	time.Sleep(5 * time.Millisecond)
	answer <- "done" // where they are stuck
}

// heap remembers each request for ever.
func (s *service) heap(w http.ResponseWriter, r *http.Request) {
	s.work()
	s.remember(r.URL.RawQuery)
	fmt.Fprintln(w, "remembered")
}

func (s *service) remember(query string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[query] = make([]byte, 64<<10) // what is never freed
}

func (s *service) file(w http.ResponseWriter, r *http.Request) {
	f, err := os.CreateTemp("", "leaky-upload-")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	os.Remove(f.Name())
	s.mu.Lock()
	s.files = append(s.files, f)
	s.mu.Unlock()
	fmt.Fprintln(w, "uploaded")
}

func (s *service) hijack(w http.ResponseWriter, r *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n")
	s.mu.Lock()
	s.conns = append(s.conns, conn)
	s.mu.Unlock()
}

// sound starts a goroutine, opens a file, allocates and gives all of it back.
func (s *service) sound(w http.ResponseWriter, r *http.Request) {
	answer := make(chan string, 1)
	go compute(answer)
	f, err := os.CreateTemp("", "leaky-sound-")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer f.Close()
	os.Remove(f.Name())
	s.work()
	fmt.Fprintln(w, <-answer)
}

// work makes garbage, so that there are collections to compare.
func (s *service) work() {
	garbage := make([]byte, 256<<10)
	_ = sha256.Sum256(garbage)
}
