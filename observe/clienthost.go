package observe

import (
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/loadline-go/loadline/internal/span"
)

const (
	maxHost     = 255 // octets of a name in the DNS
	maxPort     = 5
	maxTemplate = 255
)

// hosts are the servers that requests go to, each with its series. Hosts come
// from users where a service follows their links, so they are bounded: those
// that have no series of their own share one record.
type hosts struct {
	client  *client
	aliases cache[hostAlias, *clientHost]
	recent  [64]atomic.Pointer[knownAlias] // by a few letters of the text
	rest    *clientHost                    // of the hosts beyond the bound

	mu  sync.Mutex
	all map[hostPortKey]*clientHost
}

// hostAlias is how a URL names a host.
type hostAlias struct {
	text   string
	scheme int
}

type knownAlias struct {
	hostAlias
	host *clientHost
}

type hostPortKey struct{ address, port string }

// clientHost is one server and what is known of the requests to it.
type clientHost struct {
	client        *client
	address, port string      // the labels
	number        int         // the port, 0 when it is none
	stats         *clientHost // that counts the connections: itself, or the one of the rest
	bounded       bool        // it is one of few and may be remembered
	party         *span.Party // nil where stats is another's

	known  cache[clientKey, *clientSeries]
	latest [16]atomic.Pointer[clientSeries]
	phases [len(phases)]atomic.Pointer[timing]
	life   atomic.Pointer[timing]
	uses   [2]level // of a connection: the first, and again
	resent atomic.Int64

	mu   sync.Mutex
	open map[*connection]struct{}
}

// The parts of a request that are measured apart.
const (
	phaseWait = iota
	phaseConnect
	phaseTLS
	phaseFirstByte
	phaseBody
)

var phases = [...]string{"wait", "connect", "tls", "first_byte", "body"}

// clientSeries is what requests to one host have in common that count together.
type clientSeries struct {
	key      clientKey
	duration *timing
	name     string // of the span
	pace     *span.Pace
	suspect  atomic.Bool // a body of these was never closed
}

type clientKey struct {
	template, errorType string
	method              uint8
	status              int16
}

func (hs *hosts) begin(c *client) {
	hs.client = c
	hs.all = map[hostPortKey]*clientHost{}
	hs.rest = newClientHost(c, other, other)
	hs.rest.party = c.tel.parties.named(span.Party{Kind: kindHTTP, Name: other})
	c.tel.metrics.register(clientConnections, hs)
}

func newClientHost(c *client, address, port string) *clientHost {
	h := &clientHost{client: c, address: address, port: port}
	if n, err := strconv.ParseUint(port, 10, 16); err == nil {
		h.number = int(n)
	}
	h.stats = h
	return h
}

func schemeIndex(s string) int {
	switch s {
	case "http":
		return 0
	case "https":
		return 1
	}
	return -1
}

// of returns the host that u names.
func (hs *hosts) of(u *url.URL) *clientHost {
	scheme, text := schemeIndex(u.Scheme), u.Host
	slot := len(text) * 7
	if len(text) > 2 {
		slot += int(text[0]) + 3*int(text[len(text)/2]) + 5*int(text[len(text)-1])
	}
	at := &hs.recent[(slot+scheme+1)%len(hs.recent)]
	if k := at.Load(); k != nil && k.scheme == scheme && k.text == text {
		return k.host
	}
	key := hostAlias{text, scheme}
	h, ok := hs.aliases.get(key)
	if !ok {
		h = hs.host(u.Hostname(), port(u))
		// Hosts that share a series by being clipped or mended are without number,
		// and so are schemes: what is remembered has a series of its own.
		if !h.bounded || scheme < 0 || !utf8.ValidString(text) {
			return h
		}
		key.text = strings.Clone(text) // not a part of the URL
		hs.aliases.add(key, h)
	}
	at.Store(&knownAlias{key, h})
	return h
}

// host returns the record of a server.
func (hs *hosts) host(address, port string) *clientHost {
	h := newClientHost(hs.client, clip(address, maxHost), clip(port, maxPort))
	if len(address) > maxHost || len(port) > maxPort || !utf8.ValidString(address) || !utf8.ValidString(port) {
		h.stats = hs.rest
		return h
	}
	key := hostPortKey{address, port}
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if known := hs.all[key]; known != nil {
		return known
	}
	// As many hosts as the metric with most series of each may have; a full one is counted and logged there.
	wait, exact := hs.client.phase.with(address, port, phases[phaseWait])
	if !exact {
		h.stats = hs.rest
		return h
	}
	h.address, h.port = strings.Clone(address), strings.Clone(port)
	h.phases[phaseWait].Store(wait)
	h.bounded = true
	h.party = hs.client.tel.parties.named(span.Party{Kind: kindHTTP, Name: hostName(h.address, h.port)})
	hs.all[hostPortKey{h.address, h.port}] = h
	return h
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	switch u.Scheme {
	case "http":
		return "80"
	case "https":
		return "443"
	}
	return ""
}

// series returns the series that o counts in.
func (h *clientHost) series(o *outgoing) *clientSeries {
	key := clientKey{o.template, o.errorType, o.method, o.status}
	at := &h.latest[(int(key.method)+int(key.status)+len(key.template))&15]
	if s := at.Load(); s != nil && s.key == key {
		return s
	}
	s, ok := h.known.get(key)
	if !ok {
		s = &clientSeries{key: key, name: methods[key.method]}
		if key.template != "" {
			s.name += " " + text(key.template, maxTemplate)
		}
		s.pace = h.client.tel.provider.Pace(s.name)
		status := ""
		if key.status != 0 {
			status = statusText(int(key.status))
		}
		var exact bool
		s.duration, exact = h.client.duration.with(methods[key.method], h.address, h.port, status, key.errorType, clip(key.template, maxTemplate))
		// See hosts.of for what is not remembered.
		if !exact || !h.bounded || len(key.template) > maxTemplate || !utf8.ValidString(key.template) {
			return s
		}
		s.key.template = strings.Clone(key.template)
		h.known.add(s.key, s)
	}
	at.Store(s)
	return s
}

// observe records how long a part of a request took.
func (h *clientHost) observe(phase int, took time.Duration, on processor) {
	h = h.stats
	t := h.phases[phase].Load()
	if t == nil {
		t, _ = h.client.phase.with(h.address, h.port, phases[phase])
		h.phases[phase].Store(t)
	}
	t.own.observe(took.Seconds(), on)
}

// observeLife records how long a connection was open.
func (h *clientHost) observeLife(took time.Duration) {
	t := h.life.Load()
	if t == nil {
		t, _ = h.client.lifetime.with(h.address, h.port)
		h.life.Store(t)
	}
	t.own.observe(took.Seconds(), currentProcessor())
}

// got records how a request came by its connection.
func (h *clientHost) got(o *outgoing, k *hooks, answered bool, on processor) {
	known, conn := k.result()
	if !known {
		return
	}
	reused := 0
	if k.reused {
		reused = 1
	}
	h.stats.uses[reused].add(1, on)
	if k.waited > 0 { // no idle one was at hand
		h.observe(phaseWait, k.waited, on)
	}
	if answered {
		h.observe(phaseFirstByte, o.headed-k.waited, on)
	}
	o.conn = conn
}

// known returns the hosts that have series of their own, and the rest.
func (hs *hosts) known() []*clientHost {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	all := make([]*clientHost, 0, len(hs.all)+1)
	for _, h := range hs.all {
		all = append(all, h)
	}
	return append(all, hs.rest)
}

// Describe implements prometheus.Collector.
func (hs *hosts) Describe(ch chan<- *prometheus.Desc) {
	ch <- desc(clientConnections)
	ch <- desc(clientUses)
}

// Collect implements prometheus.Collector.
func (hs *hosts) Collect(ch chan<- prometheus.Metric) {
	hs.client.bodies.look(time.Now())
	open, uses := desc(clientConnections), desc(clientUses)
	for _, h := range hs.known() {
		if first, again := h.uses[0].value(), h.uses[1].value(); first+again > 0 {
			ch <- prometheus.MustNewConstMetric(uses, prometheus.CounterValue, float64(first), h.address, h.port, "false")
			ch <- prometheus.MustNewConstMetric(uses, prometheus.CounterValue, float64(again), h.address, h.port, "true")
		}
		if active, idle, ever := h.connections(); ever {
			ch <- prometheus.MustNewConstMetric(open, prometheus.GaugeValue, float64(active), "active", h.address, h.port)
			ch <- prometheus.MustNewConstMetric(open, prometheus.GaugeValue, float64(idle), "idle", h.address, h.port)
		}
	}
}
