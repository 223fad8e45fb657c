package span

import (
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// A Party is somebody outside whom spans wait for: a host, a database, the server of a queue. It is told from others by
// its address in memory.
type Party struct{ Kind, Name string }

// Wait is whom an ended span waited for, and how long. The zero Wait says that it is not known whom.
type Wait struct {
	Party  *Party
	Failed bool
	Took   time.Duration // zero: as long as the span took
	Behind time.Duration // of Took, what lies behind Answered, up to the end of the span
}

// waitSums are what a local root has waited for so far, under family.mu. Times count from the root's start.
type waitSums struct {
	since   time.Duration // when the first of those under way began to wait
	edge    time.Duration // the end of what is covered
	covered time.Duration // the time in which at least one waited, but for those under way
	parts   [2]waitPart   // few roots wait for more than two parties
	more    *moreParts    // the others
	pace    *Pace         // of the root that has ended; nil: it is in no account
}

type waitPart struct {
	party         *Party
	took          time.Duration
	calls, failed int32
}

// moreParts are lent to a family until its root ends.
type moreParts [14]waitPart

var partsPool = sync.Pool{New: func() any { return new(moreParts) }}

// waitsFor reports whether a span of this kind stands for waiting: not for work inside, nor for being called.
func waitsFor(kind uint8) bool {
	return kind == uint8(trace.SpanKindClient) || kind == uint8(trace.SpanKindProducer)
}

// cover counts a time in which at least one waited, as far as it is not counted yet.
func (w *waitSums) cover(from, to time.Duration) {
	if from = max(from, w.edge); to > from {
		w.covered += to - from
		w.edge = to
	}
}

// unwait ends the wait of one child.
func (f *family) unwait(at time.Duration) {
	if f.waiting--; f.waiting == 0 {
		f.waits.cover(f.waits.since, at)
	}
}

// Answered says that nobody waits for the span any more, though it goes on, from some time after its start: a response's
// header has come and the caller reads its body when it pleases. Wait.Behind tells later what it waited for that.
func (s *Span) Answered(after time.Duration) {
	if s.mode&modeWaits == 0 {
		return
	}
	f := s.family.Load()
	f.mu.Lock()
	if !f.closed {
		s.marks.Or(markAnswered)
		f.unwait(s.start.Sub(f.root.start) + after)
	}
	f.mu.Unlock()
}

// waited is the end of a child that waits.
func (f *family) waited(s *Span, w Wait) {
	began := s.start.Sub(f.root.start)
	took := w.Took
	if took == 0 {
		took = s.took
	}
	sums := &f.waits
	if f.closed { // nobody waited longer than the root
		if took = min(took, f.root.took-began); took > 0 && sums.pace != nil && w.Party != nil {
			failed := int32(0)
			if w.Failed {
				failed = 1
			}
			sums.pace.account.add(waitPart{w.Party, took, 1, failed})
		}
		return
	}
	end := began + s.took
	switch {
	case s.marks.Load()&markAnswered == 0:
		f.unwait(end)
	case w.Behind <= 0:
	case f.waiting > 0:
		sums.since = min(sums.since, end-w.Behind)
	default:
		sums.cover(end-w.Behind, end)
	}
	if w.Party == nil {
		return
	}
	p := sums.part(w.Party)
	p.took += took
	p.calls++
	if w.Failed {
		p.failed++
	}
}

// part returns the sums of a party. Those beyond the bound are added up under the last of them.
func (w *waitSums) part(party *Party) *waitPart {
	for i := range w.parts {
		if p := &w.parts[i]; p.party == party || p.party == nil {
			p.party = party
			return p
		}
	}
	if w.more == nil {
		w.more = partsPool.Get().(*moreParts)
	}
	for i := range w.more {
		if p := &w.more[i]; p.party == party || p.party == nil {
			p.party = party
			return p
		}
	}
	last := &w.more[len(w.more)-1]
	last.party = OtherParty
	return last
}

// account enters what a root that has ended waited for under its route.
func (f *family) account(w *Pace, s *Span, o *Outcome) {
	if f.waiting > 0 {
		f.waits.cover(f.waits.since, s.took)
	}
	sums := &f.waits
	if !o.Stream && !w.shared {
		sums.pace = w
		if sums.covered > 0 {
			w.account.covered.Add(int64(min(sums.covered, s.took)))
		}
		for i := range sums.parts {
			if sums.parts[i].party == nil {
				break
			}
			w.account.add(sums.parts[i])
		}
	}
	if more := sums.more; more != nil {
		for i := range more {
			if more[i].party != nil && sums.pace != nil {
				w.account.add(more[i])
			}
			more[i] = waitPart{}
		}
		sums.more = nil
		partsPool.Put(more)
	}
}

// An account adds up what the local roots of one route waited for.
type account struct {
	covered atomic.Int64
	parties atomic.Pointer[[]*Waited]
	mu      sync.Mutex // writers of parties
}

// Waited is how often and how long the local roots of one route waited for one party.
type Waited struct {
	Party               *Party
	calls, failed, took atomic.Int64
}

// Totals returns the sums since the start. Waits beside each other count in each.
func (w *Waited) Totals() (calls, failed int64, took time.Duration) {
	return w.calls.Load(), w.failed.Load(), time.Duration(w.took.Load())
}

// maxParties bounds the parties of one route; OtherParty stands for those beyond.
const maxParties = 32

// OtherParty stands for parties for which there was no room.
var OtherParty = &Party{Kind: "other", Name: "other"}

func (a *account) add(p waitPart) {
	w := a.of(p.party)
	w.calls.Add(int64(p.calls))
	w.took.Add(int64(p.took))
	if p.failed > 0 {
		w.failed.Add(int64(p.failed))
	}
}

func (a *account) of(p *Party) *Waited {
	if w := a.find(p); w != nil {
		return w
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if w := a.find(p); w != nil {
		return w
	}
	var all []*Waited
	if old := a.parties.Load(); old != nil {
		all = append(all, *old...)
	}
	if len(all) >= maxParties-1 && p != OtherParty {
		p = OtherParty
		if w := a.find(p); w != nil {
			return w
		}
	}
	w := &Waited{Party: p}
	all = append(all, w)
	a.parties.Store(&all)
	return w
}

func (a *account) find(p *Party) *Waited {
	if all := a.parties.Load(); all != nil {
		for _, w := range *all {
			if w.Party == p {
				return w
			}
		}
	}
	return nil
}

// Waited returns what the local roots of the route have waited for since the start: the time in which at least one span
// below them waited, and the parties, which nobody may change. It reports false for a route that shares its Pace with
// others, and for a nil Pace. Streams do not count.
func (w *Pace) Waited() (covered time.Duration, parties []*Waited, ok bool) {
	if w == nil || w.shared {
		return 0, nil, false
	}
	if all := w.account.parties.Load(); all != nil {
		parties = *all
	}
	return time.Duration(w.account.covered.Load()), parties, true
}
