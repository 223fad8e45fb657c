package span

import "sync"

// A Tally counts what the spans of one trace stand for. There is one only for a trace that has become large, so that an
// ordinary one pays nothing for it. Its methods may be called concurrently.
type Tally struct {
	mu     sync.Mutex
	counts map[any]tallied
}

type tallied struct {
	n    int
	next int // the count at which Add says so again
}

// maxTally is how many kinds of span are told apart in one trace.
const maxTally = 64

// Crowd has a Tally kept of every trace with more than n spans below its local root in this process, and ended called with
// it when that root ends, if any span was counted. Without it there is none. It must be called before the first span begins.
func (p *Provider) Crowd(n int, ended func(root *Span, t *Tally)) { p.crowd, p.onCrowd = n, ended }

// Tally counts s in the tally of its trace, under what kind returns for its Describer, nil for not at all; the first call
// counts the spans before it, too. It returns how many of the kind there are, and whether they have become more than limit
// now, or twice as many as when that was last said. It returns 0 while the trace is not large, and when the tally is full
// of other kinds.
func (s *Span) Tally(kind func(Describer) any, limit int) (n int, more bool) {
	f := s.family.Load()
	if f == nil || f.root.marks.Load()&markCrowded == 0 {
		return 0, false
	}
	f.mu.Lock()
	if f.tally == nil {
		f.tally = &Tally{counts: map[any]tallied{}}
		for c := f.last; c != nil; c = c.next {
			f.tally.add(c, kind)
		}
	}
	t := f.tally
	t.add(s, kind)
	f.mu.Unlock()
	k := kind(s.descr)
	t.mu.Lock()
	defer t.mu.Unlock()
	is := t.counts[k]
	if is.n > limit && is.n >= is.next {
		is.next = 2 * is.n
		t.counts[k] = is
		return is.n, true
	}
	return is.n, false
}

// add counts a span once.
func (t *Tally) add(s *Span, kind func(Describer) any) {
	k := kind(s.descr)
	if k == nil || s.marks.Or(markTallied)&markTallied != 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if is, known := t.counts[k]; known || len(t.counts) < maxTally {
		is.n++
		t.counts[k] = is
	}
}

// toll tells of the tally at the end of its local root.
func (p *Provider) toll(root *Span, f *family) {
	f.mu.Lock()
	t := f.tally
	f.mu.Unlock()
	if t != nil {
		p.onCrowd(root, t)
	}
}

// All calls f for every kind with its count.
func (t *Tally) All(f func(kind any, n int)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, is := range t.counts {
		f(k, is.n)
	}
}
