package observe

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// writer returns the response writer for next. It has the optional methods of
// net/http's own writers where the one beneath has them: Flush, Hijack and
// ReadFrom over HTTP/1, Flush and Push over HTTP/2; http.ResponseController
// finds the rest through Unwrap. Each type is one pointer, so none allocates.
func (q *request) writer() http.ResponseWriter {
	w := writer{q}
	_, flush := q.w.(http.Flusher)
	_, hijack := q.w.(http.Hijacker)
	_, readFrom := q.w.(io.ReaderFrom)
	_, push := q.w.(http.Pusher)
	switch {
	case flush && hijack && readFrom:
		return http1Writer{hijackWriter{flushWriter{w}}}
	case flush && hijack:
		return hijackWriter{flushWriter{w}}
	case flush && push:
		return http2Writer{flushWriter{w}}
	case flush:
		return flushWriter{w}
	case push:
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
	if f, ok := w.q.w.(interface{ FlushError() error }); ok {
		return f.FlushError()
	}
	w.q.w.(http.Flusher).Flush()
	return nil
}

type hijackWriter struct{ flushWriter }

func (w hijackWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buf, err := w.q.w.(http.Hijacker).Hijack()
	if err == nil {
		w.q.hijacked = true
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
