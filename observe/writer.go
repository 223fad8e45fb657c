package observe

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"unsafe"
)

// shape tells which of net/http's writers is beneath, by its optional methods.
// Zero: not known yet.
type shape uintptr

const (
	shapePlain shape = iota + 1
	shapeFlush
	shapePush
	shapeHijack
	shapeHTTP1
	shapeHTTP2
	shapeMask = 7
)

func shapeOf(w http.ResponseWriter) shape {
	_, flush := w.(http.Flusher)
	_, hijack := w.(http.Hijacker)
	_, readFrom := w.(io.ReaderFrom)
	_, push := w.(http.Pusher)
	switch {
	case flush && hijack && readFrom:
		return shapeHTTP1
	case flush && hijack:
		return shapeHijack
	case flush && push:
		return shapeHTTP2
	case flush:
		return shapeFlush
	case push:
		return shapePush
	}
	return shapePlain
}

// shapes remembers the shapes of the types of writers that come, which are one
// or two in a program: four questions for an optional method cost more than all
// that is counted of a request. A slot holds the first word of the interface,
// which stands for the dynamic type as long as the program runs, and in its low
// bits, which are zero there, the shape.
type shapes [4]atomic.Uintptr

func (s *shapes) of(w http.ResponseWriter) shape {
	table := *(*uintptr)(unsafe.Pointer(&w))
	slot := &s[table>>5%uintptr(len(s))]
	if known := slot.Load(); known&^shapeMask == table {
		return shape(known & shapeMask)
	}
	is := shapeOf(w)
	if table&shapeMask == 0 {
		slot.Store(table | uintptr(is))
	}
	return is
}

// writer returns the response writer for next. It has the optional methods of
// net/http's own writers where the one beneath has them: Flush, Hijack and
// ReadFrom over HTTP/1, Flush and Push over HTTP/2; http.ResponseController
// finds the rest through Unwrap. Each type is one pointer, so none allocates.
func (q *request) writer() http.ResponseWriter {
	w := writer{q}
	switch q.server.shapes.of(q.w) {
	case shapeHTTP1:
		return http1Writer{hijackWriter{flushWriter{w}}}
	case shapeHijack:
		return hijackWriter{flushWriter{w}}
	case shapeHTTP2:
		return http2Writer{flushWriter{w}}
	case shapeFlush:
		return flushWriter{w}
	case shapePush:
		return pushWriter{w}
	}
	return w
}

type writer struct{ q *request }

func (w writer) Header() http.Header         { return w.q.w.Header() }
func (w writer) Unwrap() http.ResponseWriter { return w.q.w }

func (w writer) WriteHeader(status int) {
	// Informational responses come before the real one; 101 is the real one.
	if w.q.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.q.status = int32(status)
	}
	w.q.w.WriteHeader(status)
}

func (w writer) wrote(n int64) {
	if w.q.status == 0 {
		w.q.status = http.StatusOK
	}
	w.q.written += n
}

func (w writer) Write(b []byte) (int, error) {
	n, err := w.q.w.Write(b)
	w.wrote(int64(n))
	return n, err
}

func (w writer) WriteString(s string) (int, error) {
	n, err := io.WriteString(w.q.w, s)
	w.wrote(int64(n))
	return n, err
}

type flushWriter struct{ writer }

func (w flushWriter) Flush() { w.FlushError() }

// FlushError is what http.ResponseController calls.
func (w flushWriter) FlushError() error {
	w.wrote(0)
	var err error
	if f, ok := w.q.w.(interface{ FlushError() error }); ok {
		err = f.FlushError()
	} else {
		w.q.w.(http.Flusher).Flush()
	}
	w.q.begun()
	return err
}

// begun notes when the client got the first bytes.
func (q *request) begun() {
	if q.first == 0 {
		q.first = max(q.span.Running(), 1)
		if q.hijacked || isEventStream(q.w.Header()) {
			q.streams()
		}
	}
}

type hijackWriter struct{ flushWriter }

func (w hijackWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buf, err := w.q.w.(http.Hijacker).Hijack()
	if err == nil {
		w.q.hijacked = true
		w.q.begun()
	}
	return conn, buf, err
}

type http1Writer struct{ hijackWriter }

// ReadFrom keeps sendfile for http.ServeContent and io.Copy.
func (w http1Writer) ReadFrom(r io.Reader) (int64, error) {
	n, err := w.q.w.(io.ReaderFrom).ReadFrom(r)
	w.wrote(n)
	return n, err
}

type http2Writer struct{ flushWriter }

func (w http2Writer) Push(target string, o *http.PushOptions) error {
	return w.q.w.(http.Pusher).Push(target, o)
}

type pushWriter struct{ writer }

func (w pushWriter) Push(target string, o *http.PushOptions) error {
	return w.q.w.(http.Pusher).Push(target, o)
}
