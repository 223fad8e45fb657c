package observe

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// Clients that ask and never read take the scrapes of nobody else, over real
// connections whose buffers they fill.
func TestClientsThatDoNotReadKeepNobodyFromScraping(t *testing.T) {
	const size = 16 << 20 // beyond what the kernel takes for a connection (net.ipv4.tcp_wmem, 4 MiB)
	piece := []byte(strings.Repeat("x", 1<<20))
	var rendered, cut atomic.Int64
	s := &scrapes{
		cut: func() { cut.Add(1) },
		next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for range size / len(piece) {
				w.Write(piece)
			}
			rendered.Add(1)
		}),
	}
	srv := httptest.NewServer(s)
	defer srv.Close()
	const stalled = 2 * maxScrapes
	for range stalled {
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.(*net.TCPConn).SetReadBuffer(4096)
		io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	eventually(t, "all are rendered", func() bool { return rendered.Load() == stalled })
	eventually(t, "all but the last are cut off", func() bool { return cut.Load() == stalled-maxScrapes })
	resp, err := srv.Client().Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if n != size || err != nil || resp.ContentLength != size {
		t.Errorf("a client that reads got %d of %d bytes: %v", n, resp.ContentLength, err)
	}
	if want := int64(stalled - maxScrapes + 1); cut.Load() != want {
		t.Errorf("%d were cut off, want %d: the reader took the place of one, too", cut.Load(), want)
	}
}

// A connection whose scrape has ended is not cut off in its next request.
func TestScrapeThatHasEndedIsNotCutOff(t *testing.T) {
	s := &scrapes{cut: func() { t.Error("cut off") }, next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		w.WriteHeader(http.StatusOK)
		io.WriteString(w, r.URL.Path)
	})}
	for _, path := range strings.SplitAfter("/a/b/c/d/e/f/g", "/") {
		w := do(s, "GET", "/"+path)
		if w.Code != http.StatusTeapot || w.Body.String() != "/"+path {
			t.Error(w.Code, w.Body)
		}
	}
	if len(s.sending) != 0 {
		t.Errorf("%d are kept", len(s.sending))
	}
}
