package benchmarks

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"
)

var itemRoute = map[string]http.HandlerFunc{"GET /items/{id}": item}

var itemBody = []byte(`{"id":42,"name":"plimsoll"}`)

func item(w http.ResponseWriter, r *http.Request) {
	if r.PathValue("id") == "" {
		panic("no id")
	}
	w.Header()["Content-Type"] = jsonType
	w.Header()["Content-Length"] = itemLength
	w.Write(itemBody)
}

// As slices, so that the handler allocates nothing of its own.
var (
	jsonType   = []string{"application/json"}
	itemLength = []string{strconv.Itoa(len(itemBody))}
)

// BenchmarkServer is one request through the middleware and the ServeMux,
// without a network.
func BenchmarkServer(b *testing.B) {
	for _, p := range peers {
		b.Run(p.name, func(b *testing.B) { measure(b, newServed(p.handler(b, itemRoute))) })
	}
}

// BenchmarkServerParallel is BenchmarkServer on all processors at once: -cpu 1,2.
func BenchmarkServerParallel(b *testing.B) {
	for _, p := range peers {
		b.Run(p.name, func(b *testing.B) {
			h := p.handler(b, itemRoute)
			measureParallel(b, func() func() { return newServed(h) })
		})
	}
}

// newServed returns the serving of one request, again and again.
func newServed(h http.Handler) func() {
	r := itemRequest()
	w := &response{header: http.Header{}}
	return func() {
		clear(w.header)
		h.ServeHTTP(w, r)
		if w.written != len(itemBody) {
			panic("the handler was not reached")
		}
		w.written = 0
	}
}

// itemRequest is what a service inside a mesh gets: with the caller's trace.
func itemRequest() *http.Request {
	r := httptest.NewRequest("GET", "/items/42", nil)
	r.Header.Set("User-Agent", "benchmarks/1.0")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	return r
}

// response has the methods of net/http's own writer for HTTP/1, which
// middleware looks for.
type response struct {
	header  http.Header
	written int
}

func (w *response) Header() http.Header                 { return w.header }
func (w *response) WriteHeader(int)                     {}
func (w *response) Write(p []byte) (int, error)         { w.written += len(p); return len(p), nil }
func (w *response) WriteString(s string) (int, error)   { w.written += len(s); return len(s), nil }
func (w *response) Flush()                              {}
func (w *response) FlushError() error                   { return nil }
func (w *response) SetReadDeadline(time.Time) error     { return nil }
func (w *response) SetWriteDeadline(time.Time) error    { return nil }
func (w *response) EnableFullDuplex() error             { return nil }
func (w *response) ReadFrom(r io.Reader) (int64, error) { return io.Copy(io.Discard, r) }
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, http.ErrNotSupported
}

// BenchmarkLoopback is one request over a kept-alive connection. The client is
// a few lines, so that nearly all of the CPU time is the server's.
func BenchmarkLoopback(b *testing.B) {
	for _, p := range peers {
		b.Run(p.name, func(b *testing.B) {
			srv := httptest.NewServer(p.handler(b, itemRoute))
			b.Cleanup(srv.Close)
			measure(b, newExchange(b, srv.Listener.Addr().String()))
		})
	}
}

func newExchange(b *testing.B, addr string) func() {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	r := itemRequest()
	request := "GET /items/42 HTTP/1.1\r\nHost: " + addr + "\r\n"
	for name := range r.Header {
		request += name + ": " + r.Header.Get(name) + "\r\n"
	}
	request += "\r\n"
	send := []byte(request)

	// The first response tells how long every one is: the date has a fixed width.
	if _, err := conn.Write(send); err != nil {
		b.Fatal(err)
	}
	first := &counter{r: conn}
	resp, err := http.ReadResponse(bufio.NewReaderSize(first, 1), r)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
		b.Fatal(resp.Status, err)
	}
	receive := make([]byte, first.n)
	return func() {
		if _, err := conn.Write(send); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(conn, receive); err != nil {
			b.Fatal(err)
		}
	}
}

// counter counts what is read through it.
type counter struct {
	r io.Reader
	n int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}
