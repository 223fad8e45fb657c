package span

import (
	"math"
	"math/rand/v2"
	"sync"

	"go.opentelemetry.io/otel/trace"
)

// family is what is known in this process about one local root and the spans below it. A root without children has
// none.
type family struct {
	root *Span

	mu      sync.Mutex
	free    []Span // memory for the next children
	last    *Span  // the span that began last, linked by next; the ended ones wait here for the root's fate
	linked  int
	open    int32 // children that have not ended
	loose   int32 // children that are not linked because of the bounds
	lost    int32 // of those, the refused ones that ended before the root's fate was known
	waiting int32 // children under way that wait for somebody
	closed  bool
	fate    fate
	tally   *Tally // nil until asked for

	waits waitSums

	home         *shard // constant
	listed, gone bool   // in the table; or at rest, under home's lock as what follows
	older, newer *family
}

// fate is what became of a refused trace.
type fate uint8

const (
	undecided fate = iota
	kept
	forgotten
)

// chunk is how many children share an allocation after the first ones.
const chunk = 4

// newborn is the first allocation for a root that gets a child.
type newborn struct {
	family
	first [2]Span
}

// rooted is a root begun by a Tracer, whose family lives with it.
type rooted struct {
	Span
	family
}

// carve returns memory for a span below up.
func (p *Provider) carve(up trace.Span, newRoot bool) *Span {
	ours, _ := up.(*Span)
	if p.off || p.shell {
		return new(Span)
	}
	if ours == nil || newRoot || ours.mode&modeOff != 0 || ours.scope().p != p {
		r := new(rooted)
		r.root = &r.Span
		r.Span.family.Store(&r.family)
		r.home = p.families.home()
		return &r.Span
	}
	f := p.familyOf(ours)
	f.mu.Lock()
	if len(f.free) == 0 {
		f.free = make([]Span, chunk)
	}
	s := &f.free[0]
	f.free = f.free[1:]
	f.mu.Unlock()
	return s
}

// familyOf returns the family of a span, making it for a root.
func (p *Provider) familyOf(s *Span) *family {
	if f := s.family.Load(); f != nil {
		return f
	}
	n := new(newborn)
	n.root = s
	n.free = n.first[:]
	n.home = p.families.home()
	n.mu.Lock() // whoever finds the family waits until its fate is known
	if !s.family.CompareAndSwap(nil, &n.family) {
		return s.family.Load()
	}
	// Either the root's end comes after this and finds the family, or its fate can be read here.
	if m := s.marks.Load(); m&markJudged != 0 {
		n.closed, n.fate = true, forgotten
		if m&markKept != 0 {
			n.fate = kept
		}
	}
	n.mu.Unlock()
	p.families.add(&n.family)
	return &n.family
}

// join makes s a child in the family of ours.
func (p *Provider) join(s, ours *Span) {
	f := p.familyOf(ours)
	s.family.Store(f)
	f.mu.Lock()
	f.open++
	if waitsFor(s.kind) && !f.closed {
		s.mode |= modeWaits
		f.waiting++
		if f.waiting == 1 {
			f.waits.since = s.start.Sub(f.root.start)
		}
	}
	switch {
	case f.closed:
	case f.linked >= p.late.SpansPerTrace:
		f.loose++
		s.marks.Or(markLoose)
	default:
		s.next = f.last
		f.last = s
		f.linked++
		if f.linked == p.crowd+1 {
			f.root.marks.Or(markCrowded)
		}
	}
	f.mu.Unlock()
}

// settle is the end of every span: hooks, export, and the fate of its trace.
func (s *Span) settle(o *Outcome) {
	if s.mode&modeOff != 0 {
		return
	}
	p := s.scope().p
	if s.mode&modeShell != 0 {
		s.endShell(o)
		return
	}
	if s.mode&modeRoot != 0 {
		if s.descr == nil && p.onEnd != nil {
			p.onEnd(s)
		}
		if s.mode&modeSeen != 0 {
			p.emit(s, "", false, o.Detacher)
		}
		p.endRoot(s, o)
		return
	}
	var w Wait
	if s.descr == nil {
		if p.onEnd != nil {
			w = p.onEnd(s)
		}
	} else if s.mode&modeWaits != 0 && p.onWait != nil {
		w = p.onWait(s)
	}
	if s.mode&modeSeen != 0 {
		p.emit(s, "", false, o.Detacher)
	}
	p.endChild(s, w)
}

func (p *Provider) endChild(s *Span, w Wait) {
	f := s.family.Load()
	f.mu.Lock()
	s.marks.Or(markDone)
	f.open--
	if s.mode&modeWaits != 0 {
		f.waited(s, w)
	}
	late := f.fate == kept
	gone := f.closed && f.open == 0
	if f.fate == undecided && s.mode&modeSampled == 0 && s.marks.Load()&markLoose != 0 {
		f.lost++
	}
	f.mu.Unlock()
	if late && s.mode&modeSampled == 0 {
		p.emit(s, "", true, nil)
	}
	if gone {
		p.families.remove(f)
	}
}

func (p *Provider) endRoot(s *Span, o *Outcome) {
	w := o.Pace
	if w == nil {
		w = p.late.pace(routeOf(s, o))
	}
	reason := p.late.judge(w, s, o)
	show := p.recent.wants(w, s, o)
	mark := markDone | markJudged
	if reason != "" {
		mark |= markKept
	}
	s.marks.Or(mark)
	f := s.family.Load()
	if f == nil {
		if reason != "" {
			p.emit(s, reason, true, nil)
			p.late.kept.Add(1)
		}
		if show {
			p.recent.put(w, s, o, reason, nil, nil, 0)
		}
		return
	}
	if s.marks.Load()&markCrowded != 0 {
		p.toll(s, f)
	}
	var done, running []*Span
	f.mu.Lock()
	f.closed = true
	f.fate = forgotten
	if reason != "" {
		f.fate = kept
	}
	var open *Span
	linked := 0
	for c := f.last; c != nil; {
		next := c.next
		if c.marks.Load()&markDone != 0 {
			if show || reason != "" {
				done = append(done, c)
			}
			c.next = nil
		} else {
			if show {
				running = append(running, c)
			}
			c.next = open
			open = c
			linked++
		}
		c = next
	}
	f.last, f.linked = open, linked
	f.account(w, s, o)
	lost, loose := int(f.lost), int(f.loose)
	gone := f.open == 0
	f.mu.Unlock()

	if reason != "" {
		for i := len(done) - 1; i >= 0; i-- { // the list runs from the youngest
			if c := done[i]; c.mode&modeSampled == 0 {
				p.emit(c, "", true, nil)
			}
		}
		p.emit(s, reason, true, nil)
		p.late.kept.Add(1)
		if lost > 0 {
			p.lose(lost)
		}
	}
	if show {
		p.recent.put(w, s, o, reason, done, running, loose)
	}
	if gone {
		p.families.remove(f)
	}
}

// lose counts spans of a kept trace that had been let go because of the bounds.
func (p *Provider) lose(n int) {
	for _, l := range p.pipelines {
		l.lose(n, reasonTraceSize)
	}
}

// families is the table of the living, so that they can be listed and bounded. It is split so that two cores seldom
// meet.
type families struct {
	shards [16]shard
}

type shard struct {
	mu      sync.Mutex
	oldest  *family
	newest  *family
	n, max  int
	evicted int64
	_       [64]byte // apart from its neighbour's cache line
}

func (t *families) init(max int) {
	for i := range t.shards {
		t.shards[i].max = (max + len(t.shards) - 1) / len(t.shards)
	}
}

// home chooses a shard.
func (t *families) home() *shard { return &t.shards[rand.Uint32()%uint32(len(t.shards))] }

// add enters f; when its shard is full the oldest family there loses the spans it waits with.
func (t *families) add(f *family) {
	h := f.home
	var victim *family
	h.mu.Lock()
	if f.gone { // its other children were quicker than this
		h.mu.Unlock()
		return
	}
	f.listed = true
	if h.n >= h.max {
		victim = h.oldest
		h.unlink(victim)
		h.evicted++
	}
	f.older = h.newest
	if h.newest != nil {
		h.newest.newer = f
	} else {
		h.oldest = f
	}
	h.newest = f
	h.n++
	h.mu.Unlock()
	if victim != nil {
		victim.evict()
	}
}

// unlink takes f out, with the lock held.
func (h *shard) unlink(f *family) {
	if f.older != nil {
		f.older.newer = f.newer
	} else {
		h.oldest = f.newer
	}
	if f.newer != nil {
		f.newer.older = f.older
	} else {
		h.newest = f.older
	}
	f.older, f.newer, f.listed = nil, nil, false
	h.n--
}

func (t *families) remove(f *family) {
	h := f.home
	h.mu.Lock()
	f.gone = true
	if f.listed {
		h.unlink(f)
	}
	h.mu.Unlock()
}

// evict lets go of the spans that wait for the root's fate.
func (f *family) evict() {
	f.mu.Lock()
	for c := f.last; c != nil; {
		if m := c.marks.Or(markLoose); m&markDone != 0 && c.mode&modeSampled == 0 {
			f.lost++
		}
		c, c.next = c.next, nil
	}
	f.last = nil
	f.loose += int32(f.linked)
	f.linked = math.MaxInt // nothing is linked any more
	f.mu.Unlock()
}

// live returns how many local roots are known with children or by a Tracer, and how many were evicted.
func (t *families) live() (n, evicted int64) {
	for i := range t.shards {
		h := &t.shards[i]
		h.mu.Lock()
		n += int64(h.n)
		evicted += h.evicted
		h.mu.Unlock()
	}
	return n, evicted
}
