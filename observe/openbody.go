package observe

import (
	"cmp"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// forgotten is how long a body may be open with nobody reading it before it is
// taken for one that will never be closed. It is nginx's send_timeout: a server
// gives up a client that takes nothing for that long.
const forgotten = time.Minute

// bodies are the responses whose bodies are open. Those that nobody reads any
// more are counted and let go of; a list of places tells who opened them.
type bodies struct {
	client *client
	shards [maxShards]openBodies

	mu     sync.Mutex
	places map[placeKey]*opener
}

// maxPlaces bounds the places that are told apart.
const maxPlaces = 100

type placeKey struct{ method, address, port, template, route string }

// opener is where bodies are opened and not closed.
type opener struct {
	placeKey
	total, open int64 // ever, and those that are still open
	first, last time.Time
	stack       []uintptr // of the RoundTrip of one of them, once one was caught
}

// openBodies is a list, the one that was looked at longest ago in front.
type openBodies struct {
	mu          sync.Mutex
	first, last *outgoing
	_           [64 - 24]byte // a cache line each
}

// watched is what the list keeps in the body of a response.
type watched struct {
	reads      atomic.Uint32 // twice the number of reads, and one more while one is under way
	seen       uint32        // under openBodies.mu, like the rest: the reads when it was looked at
	shard      int8
	listed     bool
	found      bool          // taken off the list by look, and not yet counted by forgot
	at         time.Duration // when it was looked at, from the start of the request
	prev, next *outgoing
	lost       *lostBody // nil for all but a few
}

// lostBody is what is known of a body that is forgotten, or may be.
type lostBody struct {
	stack []uintptr
	place *opener // under bodies.mu; nil: not forgotten
}

func (b *bodies) begin(c *client) {
	b.client = c
	b.places = map[placeKey]*opener{}
}

// open notes a body that is handed to the program.
func (b *bodies) open(o *outgoing, on processor) {
	w := &o.watched
	w.at, w.shard = o.headed, int8(int(on)%maxShards)
	if o.series.suspect.Load() {
		w.lost = &lostBody{stack: callers()}
	}
	l := &b.shards[w.shard]
	l.mu.Lock()
	l.push(o)
	var now time.Time
	due := false
	if l.first != o { // there is somebody to look after
		now = o.span.StartTime().Add(o.headed)
		due = l.due(now)
	}
	l.mu.Unlock()
	if due {
		b.look(now)
	}
}

// done notes that a body was closed or read to its end, and reports whether
// this was the first time.
func (b *bodies) done(o *outgoing) bool {
	w := &o.watched
	l := &b.shards[w.shard]
	l.mu.Lock()
	first := w.listed || w.found
	if w.listed {
		l.remove(o)
	}
	w.found = false
	l.mu.Unlock()
	if first {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if w.lost == nil || w.lost.place == nil {
		return false
	}
	w.lost.place.open-- // after all
	w.lost.place = nil
	return true
}

// due reports whether it is time to look at the first body of the list.
func (l *openBodies) due(now time.Time) bool {
	return l.first != nil && now.Sub(l.first.span.StartTime())-l.first.watched.at >= forgotten
}

func (l *openBodies) push(o *outgoing) {
	w := &o.watched
	w.listed, w.prev, w.next = true, l.last, nil
	if l.last != nil {
		l.last.watched.next = o
	} else {
		l.first = o
	}
	l.last = o
}

func (l *openBodies) remove(o *outgoing) {
	w := &o.watched
	if w.prev != nil {
		w.prev.watched.next = w.next
	} else {
		l.first = w.next
	}
	if w.next != nil {
		w.next.watched.prev = w.prev
	} else {
		l.last = w.prev
	}
	w.listed, w.prev, w.next = false, nil, nil
}

// look finds the bodies that are forgotten. One is looked at once a minute, so
// that it is found in its second minute at the latest.
func (b *bodies) look(now time.Time) {
	var found []*outgoing
	for i := range b.shards {
		l := &b.shards[i]
		l.mu.Lock()
		for l.due(now) {
			o := l.first
			l.remove(o)
			w := &o.watched
			if reads := w.reads.Load(); reads != w.seen || reads%2 == 1 {
				w.seen, w.at = reads, now.Sub(o.span.StartTime())
				l.push(o)
				continue
			}
			w.found = true
			found = append(found, o)
		}
		l.mu.Unlock()
	}
	for _, o := range found {
		b.forgot(o, now)
	}
}

// forgot counts a body that is forgotten, unless it has ended after all.
func (b *bodies) forgot(o *outgoing, now time.Time) {
	h, template := o.host, clip(o.template, maxTemplate)
	key := placeKey{methods[o.method], h.address, h.port, template, ""}
	if root := o.span.LocalRoot(); root != o.span {
		key.route = root.Name()
	}
	count, _ := b.client.unclosed.with(h.address, h.port, template) // before the lock: it may log
	b.mu.Lock()
	defer b.mu.Unlock()
	w := &o.watched
	l := &b.shards[w.shard]
	l.mu.Lock()
	ended := !w.found
	w.found = false
	l.mu.Unlock()
	if ended {
		return
	}
	p := b.places[key]
	if p == nil && len(b.places) >= maxPlaces {
		key = placeKey{other, other, other, other, other}
		p = b.places[key]
	}
	if p == nil {
		p = &opener{placeKey: key, first: now}
		b.places[key] = p
	}
	p.total++
	p.open++
	p.last = now
	count.Inc()
	if w.lost == nil {
		w.lost = &lostBody{}
	}
	w.lost.place = p
	if p.stack == nil {
		p.stack = w.lost.stack
	}
	o.series.suspect.Store(p.stack == nil) // so that the next one tells who opened it
}

// callers are those of http.RoundTripper.RoundTrip.
func callers() []uintptr {
	pcs := make([]uintptr, 32)
	return pcs[:runtime.Callers(5, pcs)]
}

// An unclosedBody is a place where the program opens response bodies and leaves
// them neither read to the end nor closed, for a minute at least.
type unclosedBody struct {
	Method, Address, Port, Template string
	Route                           string    // what the program was serving; empty: nothing that is traced
	Total, Open                     int64     // ever, and those that are still open
	First, Last                     time.Time // when the first and the last one was found
	Stack                           []uintptr // of one of the calls; nil until a second one was found
}

// unclosed lists the places, those with most open bodies first.
func (b *bodies) unclosed(now time.Time) []unclosedBody {
	b.look(now)
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []unclosedBody
	for _, p := range b.places {
		all = append(all, unclosedBody{
			Method: p.method, Address: p.address, Port: p.port, Template: p.template, Route: text(p.route, maxHost),
			Total: p.total, Open: p.open, First: p.first, Last: p.last, Stack: p.stack,
		})
	}
	slices.SortFunc(all, func(a, b unclosedBody) int {
		return cmp.Or(cmp.Compare(b.Open, a.Open), cmp.Compare(b.Total, a.Total), cmp.Compare(a.Address, b.Address), cmp.Compare(a.Route, b.Route))
	})
	return all
}
