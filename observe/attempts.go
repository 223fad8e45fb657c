package observe

import (
	"hash/maphash"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
)

const (
	// retryWithin is how long after a failure a request can be its retry: the
	// back-off of the usual clients ends at 30 seconds.
	retryWithin = time.Minute
	// maxAttempts bounds the failures that are remembered. In a storm with more,
	// some retries go unseen, and the storm does not.
	maxAttempts = 1024
)

// attempts remember the requests that failed, to know their retries. A program
// whose requests succeed pays one look at a number.
type attempts struct {
	last atomic.Int64 // when the last one failed, nanoseconds of Unix time; 0: none did
	seed maphash.Seed

	mu     sync.Mutex
	failed map[attemptKey]attempt
}

// attemptKey tells the attempts of one call from other calls: the same method
// and URL, of one span or, outside of any, of one *http.Request.
type attemptKey struct {
	trace  trace.TraceID
	span   trace.SpanID
	url    *url.URL // which http.Client keeps, where it copies the request
	method string
	text   uint64 // a hash of the URL
}

type attempt struct {
	at        int64
	count     int32 // of resendings
	errorType string
}

// key returns what the attempts of o's call have in common.
func (a *attempts) key(o *outgoing, r *http.Request) attemptKey {
	u := &o.url
	var text maphash.Hash
	text.SetSeed(a.seed)
	for _, part := range []string{u.Scheme, u.Host, u.Path, u.RawQuery} {
		text.WriteString(part)
		text.WriteByte(0)
	}
	k := attemptKey{method: methods[o.method] + o.original, text: text.Sum64()}
	if in := trace.SpanContextFromContext(r.Context()); in.IsValid() && !in.IsRemote() {
		k.trace, k.span = in.TraceID(), in.SpanID()
	} else {
		k.url = r.URL
	}
	return k
}

// resending returns the how manieth sending of the same request o is, behind
// the first, and counts it when it is a retry.
func (c *client) resending(o *outgoing, r *http.Request, start time.Time) int32 {
	redirects := int32(0)
	for p := r.Response; p != nil && redirects < 100; redirects++ { // http.Client follows ten
		if p.Request == nil {
			break
		}
		p = p.Request.Response
	}
	a := &c.attempts
	now := start.UnixNano()
	if now-a.last.Load() > int64(retryWithin) {
		return redirects
	}
	key := a.key(o, r)
	a.mu.Lock()
	before, ok := a.failed[key]
	delete(a.failed, key)
	a.mu.Unlock()
	if !ok || now-before.at > int64(retryWithin) {
		return redirects
	}
	h := o.host.stats
	count, _ := c.retried.with(h.address, h.port, before.errorType)
	count.Inc()
	h.resent.Add(1)
	return max(before.count+1, redirects)
}

// note remembers o when it failed in a way that is worth another attempt.
func (a *attempts) note(o *outgoing, r *http.Request) {
	switch o.status {
	case 0, http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
	default:
		if o.status < 500 {
			return
		}
	}
	now := o.span.StartTime().Add(o.headed).UnixNano()
	key := a.key(o, r)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last.Store(now)
	if a.failed == nil {
		a.failed = map[attemptKey]attempt{}
	}
	for k := range a.failed {
		if len(a.failed) < maxAttempts {
			break
		}
		delete(a.failed, k) // any one
	}
	a.failed[key] = attempt{now, o.resend, o.errorType}
}
