package console

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// maxPages bounds the streams: each costs a goroutine and a connection.
	maxPages = 256
	// A page that takes no bytes for so long is cut off. Its browser connects
	// again, and is told everything anew.
	writeTimeout = 5 * time.Second
	// A comment now and then finds connections that are dead.
	quietFor = 15 * time.Second
)

// pages are the pages that are open.
type pages struct {
	mu   sync.Mutex
	open map[*page]struct{}

	making sync.Mutex
	seq    uint64
	state  State
	frames map[frameKey][]byte // of the sample seq
}

type page struct{ woken chan struct{} }

type frameKey struct {
	over time.Duration
	full bool
}

// wake tells the pages that there is something new. One that is still busy
// with what was before will find the newest then.
func (p *pages) wake() {
	p.mu.Lock()
	for page := range p.open {
		select {
		case page.woken <- struct{}{}:
		default:
		}
	}
	none := len(p.open) == 0
	p.mu.Unlock()
	// What the last page was told need not be kept for nobody. While it is being
	// made for somebody this does not wait.
	if none && p.making.TryLock() {
		p.frames = nil
		p.making.Unlock()
	}
}

func (p *pages) add() *page {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.open) >= maxPages {
		return nil
	}
	page := &page{woken: make(chan struct{}, 1)}
	p.open[page] = struct{}{}
	return page
}

func (p *pages) remove(page *page) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, page)
}

// Open returns how many pages are open.
func (c *Console) Open() int {
	c.pages.mu.Lock()
	defer c.pages.mu.Unlock()
	return len(c.pages.open)
}

// shared returns the frame of the last sample, made once for all pages.
func (c *Console) shared(ctx context.Context, key frameKey) []byte {
	p := &c.pages
	p.making.Lock()
	defer p.making.Unlock()
	c.mu.Lock()
	seq := c.seq
	c.mu.Unlock()
	if p.frames == nil || p.seq != seq {
		p.seq, p.frames = seq, map[frameKey][]byte{}
		p.state = c.state(context.WithoutCancel(ctx)) // for all pages, not for this one alone
	}
	if p.frames[key] == nil {
		p.frames[key] = c.frame(key.over, key.full, p.state)
	}
	return p.frames[key]
}

// rangeOf is the time range that a request asks for: ?range=300 in seconds,
// rounded to what can be told, five minutes by default.
func (c *Console) rangeOf(r *http.Request) time.Duration {
	over := 5 * time.Minute
	if s, err := strconv.ParseFloat(r.FormValue("range"), 64); err == nil && s > 0 && s < 1e9 {
		over = time.Duration(s * float64(time.Second))
	}
	slot := c.config.Keep / slots
	return slot * time.Duration(slotsOf(over, c.config.Keep))
}

// serveEvents is the stream: everything once, then each sample as it comes.
func (c *Console) serveEvents(w http.ResponseWriter, r *http.Request) {
	page := c.pages.add()
	if page == nil {
		w.Header().Set("Retry-After", "10")
		http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		return
	}
	defer c.pages.remove(page)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	out := http.NewResponseController(w)
	// send writes the frame as it is, which all pages share.
	send := func(before string, frame []byte) bool {
		out.SetWriteDeadline(time.Now().Add(writeTimeout)) // not every writer can
		for _, part := range [][]byte{[]byte(before), frame, []byte("\n\n")} {
			if _, err := w.Write(part); err != nil {
				return false
			}
		}
		return out.Flush() == nil
	}
	key := frameKey{c.rangeOf(r), true}
	if !send("retry: 3000\n\nevent: frame\ndata: ", c.shared(r.Context(), key)) {
		return
	}
	key.full = false
	quiet := time.NewTimer(quietFor)
	defer quiet.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-page.woken:
			if !send("event: frame\ndata: ", c.shared(r.Context(), key)) {
				return
			}
		case <-quiet.C:
			if !send(": quiet", nil) {
				return
			}
		}
		quiet.Reset(quietFor)
	}
}
