package observe

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// scrapes renders an answer whole before any of it is sent, so that a client
// that does not read holds up nothing but its own copy. There are few copies:
// when one more is to be sent, the client that has taken longest is cut off. A
// scraper reads its answer within milliseconds and is not the one.
type scrapes struct {
	next    http.Handler
	cut     func() // told of each client that was cut off
	buffers sync.Pool

	mu      sync.Mutex
	sending []*rendering // the oldest first
}

// A rendering is an answer before it is sent.
type rendering struct {
	to     http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (s *rendering) Header() http.Header         { return s.to.Header() }
func (s *rendering) Write(b []byte) (int, error) { return s.body.Write(b) }
func (s *rendering) WriteHeader(status int) {
	if s.status == 0 {
		s.status = status
	}
}

// What a scrape of very many series took is not kept for the next one.
const keptBuffer = 4 << 20

func (s *scrapes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	one, _ := s.buffers.Get().(*rendering)
	if one == nil {
		one = new(rendering)
	}
	one.to, one.status = w, 0
	one.body.Reset()
	s.next.ServeHTTP(one, r)
	s.begin(one)
	w.Header().Set("Content-Length", strconv.Itoa(one.body.Len()))
	if one.status != 0 {
		w.WriteHeader(one.status)
	}
	w.Write(one.body.Bytes())
	s.end(one)
	one.to = nil
	if one.body.Cap() <= keptBuffer {
		s.buffers.Put(one)
	}
}

func (s *scrapes) begin(one *rendering) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sending) == maxScrapes {
		http.NewResponseController(s.sending[0].to).SetWriteDeadline(time.Unix(1, 0))
		s.sending = slices.Delete(s.sending, 0, 1)
		s.cut()
	}
	s.sending = append(s.sending, one)
}

// end is called before the writer is the connection's next request's: from then
// on nobody cuts it off.
func (s *scrapes) end(one *rendering) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.sending, one); i >= 0 {
		s.sending = slices.Delete(s.sending, i, i+1)
	}
}
