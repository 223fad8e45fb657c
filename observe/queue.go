package observe

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
)

// queue measures how long requests waited before their handler, from the time
// that the proxy in front wrote into a header.
type queue struct {
	header  string // canonical
	took    *timing
	ignored *vec[prometheus.Counter]
}

func newQueue(m *metrics, header string) *queue {
	q := &queue{header: http.CanonicalHeaderKey(header), ignored: m.counter(serverQueueIgnored)}
	q.took, _ = m.histogram(serverQueue).with()
	for _, reason := range []string{"garbage", "future", "old"} {
		q.ignored.with(reason)
	}
	return q
}

// queued measures the queue of a request that has just begun. Inlined, it would
// cost 40 instructions where there is no queue: the frame of ServeHTTP grows.
//
//go:noinline
func (q *request) queued() { q.server.queue.observe(q.r.Header, q.span.StartTime()) }

func (q *queue) observe(h http.Header, now time.Time) {
	values := h[q.header]
	if len(values) == 0 {
		return
	}
	waited, implausible := queueTime(values[0], now)
	if implausible != "" {
		n, _ := q.ignored.with(implausible)
		n.Inc()
		return
	}
	q.took.observeFor(waited, now, trace.SpanContext{})
}

const (
	// Clocks of two machines that follow one time server agree to some
	// milliseconds, and proxies write whole ones.
	clockSkew = 10 * time.Millisecond
	// A minute is the time after which proxies give up by default (nginx'
	// proxy_read_timeout); what is older is a header that a client replays, or a
	// clock that is wrong.
	longestQueue = time.Minute
)

// queueTime returns how long before now the time in a header is: seconds,
// milliseconds, microseconds or nanoseconds since 1970, with "t=" in front or
// not, the first where several proxies wrote theirs. Which of the units it is
// its size tells: seconds since 1970 have 10 digits until the year 2286, each
// smaller unit has three more.
func queueTime(text string, now time.Time) (waited time.Duration, implausible string) {
	text, _, _ = strings.Cut(text, ",")
	text = strings.TrimPrefix(strings.TrimSpace(text), "t=")
	if len(text) > 32 || text == "" || strings.Trim(text, "0123456789.") != "" {
		return 0, "garbage"
	}
	at, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, "garbage"
	}
	switch {
	case at >= 1e17:
		at /= 1e9
	case at >= 1e14:
		at /= 1e6
	case at >= 1e11:
		at /= 1e3
	}
	seconds := float64(now.UnixNano())/1e9 - at
	switch {
	case seconds < -clockSkew.Seconds():
		return 0, "future"
	case seconds > longestQueue.Seconds():
		return 0, "old"
	}
	return time.Duration(math.Max(seconds, 0) * 1e9), ""
}
