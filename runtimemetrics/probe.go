package runtimemetrics

import (
	"math/rand/v2"
	"time"
)

// A probe decides when to wake up next, to see how late that will be.
type probe struct {
	mean         time.Duration // 0 is off
	began, until time.Time     // of the present dense time, or the last
}

const (
	// lateProbe is what a healthy process stays under: an idle Linux timer fires
	// within 0.1 ms, and a full turn of a busy Go processor is 10 ms.
	lateProbe = 10 * time.Millisecond
	// denseFor keeps the probe dense after the last late one, long enough to see
	// the end of an illness that comes in bursts, as throttling does every 100 ms.
	denseFor = 2 * time.Second
	// denseMost and denseRest bound what is spent on a process that is always
	// late, and least needs more work: a dense time ends after 10 s, and is
	// followed by nine times as much that is sparse.
	denseMost = 10 * time.Second
	denseRest = 9
	denser    = 5 // times
)

// next returns when to wake up, and how many probes that one stands for. A
// sparse probe counts as many times as dense ones would have come in its place,
// so that the distribution is that of time, and not of the bad times that are
// looked at more closely.
func (p *probe) next(now time.Time) (wake time.Time, weight uint64) {
	if now.Before(p.until) {
		return now.Add(jitter(p.mean / denser)), 1
	}
	return now.Add(jitter(p.mean)), denser
}

func (p *probe) woke(now time.Time, late time.Duration) {
	if late <= lateProbe {
		return
	}
	if !now.Before(p.until) {
		if now.Before(p.until.Add(denseRest * p.until.Sub(p.began))) {
			return
		}
		p.began = now
	}
	p.until = now.Add(denseFor)
	if most := p.began.Add(denseMost); p.until.After(most) {
		p.until = most
	}
}

// jitter returns d give or take a half, so that probes do not beat with work
// that comes at regular times.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(max(d, 1)) }
