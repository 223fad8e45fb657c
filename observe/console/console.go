package console

import (
	"context"
	"iter"
	"math"
	"sync"
	"time"

	"github.com/loadline-go/loadline/observe/doctor"
	"github.com/loadline-go/loadline/runtimemetrics"
)

const (
	// DefaultKeep is Config.Keep's default: the time that somebody who was called
	// needs to look, and still sees how it began.
	DefaultKeep = 15 * time.Minute
	// MaxRoutes is how many routes are kept apart.
	MaxRoutes = 500

	points    = 180 // of a ring: 5 s apart with DefaultKeep
	diagnoses = 90  // of a ring of diagnoses: 10 s apart with DefaultKeep
	slots     = 15  // of histograms: a minute each with DefaultKeep
	perSlot   = points / slots
)

// Config says whose figures are shown.
type Config struct {
	Service, Version string
	Started          time.Time

	// Keep is how long figures are kept. Default: DefaultKeep.
	Keep time.Duration

	// State tells what is true now; it is called while a page is open, once for
	// each sample. Default: nothing is told.
	State func(context.Context) State
}

var nan = float32(math.NaN())

// State is what is known of the process besides its figures.
type State struct {
	Ready    bool     `json:"ready"`
	Draining bool     `json:"draining,omitempty"`
	Failed   []string `json:"failed,omitempty"` // readiness checks, with what they said
	Leaks    int      `json:"leaks"`            // suspects
	Armed    string   `json:"armed,omitempty"`
	NoCPU    string   `json:"no_cpu,omitempty"` // why the CPU of routes is not known
	SLOs     []SLO    `json:"slos,omitempty"`
	// Inside tells of a route in which spans the time of its slowest and its
	// failed traces was spent, the largest first.
	Inside map[string][]Inside `json:"inside,omitempty"`
}

// Inside is a span's part of the time of its route's traces.
type Inside struct {
	Name  string  `json:"name"`
	Share float64 `json:"share"`
	Call  bool    `json:"call,omitempty"` // of somebody else
}

// SLO is how an objective fares in this process.
type SLO struct {
	Name      string   `json:"name"`
	Route     string   `json:"route,omitempty"` // empty: all
	Objective float64  `json:"objective"`
	Within    float64  `json:"within,omitempty"` // seconds; 0: any time
	Good      uint64   `json:"good"`             // since the start, like Bad
	Bad       uint64   `json:"bad"`
	Left      *float64 `json:"left"`  // of the budget that the requests since the start allow, below 0 when it is overspent; nil without requests
	Short     float64  `json:"short"` // burn rate of the last 5 minutes
	Long      float64  `json:"long"`  // of the last hour
	Burning   bool     `json:"burning,omitempty"`
}

// Sample is what was read of the process at one time.
type Sample struct {
	Runtime  runtimemetrics.Delta
	InFlight float64 // requests under way
	// Routes yields each route with its counts since the start of the process.
	// It is called before Sample returns.
	Routes iter.Seq[Route]
	// CPU is how many seconds of CPU profiles have told apart by route since the
	// start of the process, those of no route among them. NaN: there was none yet.
	CPU float64
	// Own are the program's own metrics.
	Own []Own
}

// Route is what was counted of one route since the start of the process.
type Route struct {
	Name     string // "GET /orders/{id}"
	Cells    []uint64
	Errors   uint64
	Seconds  float64
	Requests uint64
	CPU      float64 // seconds, see Sample.CPU
}

// Own is one series of a metric that the program defined.
type Own struct {
	Name, Help, Unit string
	Labels           string  // "country=de, kind=gift"
	Value            float64 // of a counter and of a histogram, since the start
	Rate             bool    // what is of interest is how fast it grows
	Sum              float64 // of a histogram
}

// Console keeps the last minutes and shows them. A nil Console keeps nothing.
type Console struct {
	config Config
	step   time.Duration

	mu       sync.Mutex
	seq      uint64 // samples so far
	times    [points]int64
	sampled  time.Time
	before   time.Time // the sample before the first one: the rings begin there
	starts   [slots + 1]time.Time
	routes   map[string]*route
	rest     rest
	total    *route
	tick     [Cells]uint32 // of all routes, since the last sample
	hasCPU   bool
	inFlight [points]float32
	runtime  [][points]float32
	sched    [points][schedRows]uint8
	last     runtimemetrics.Delta

	diagnosed uint64
	whens     [diagnoses]int64
	groups    []*group
	own       *group
	since     map[string]Own // what own's counts were at the last sample
	report    *doctor.Report
	still     []doctor.Finding // active, and not in the report

	pages pages
}

// New returns a Console that has no figures yet.
func New(config Config) *Console {
	if config.Keep <= 0 {
		config.Keep = DefaultKeep
	}
	c := &Console{
		config: config, step: config.Keep / points,
		routes: map[string]*route{}, total: newRoute(""), runtime: make([][points]float32, len(runtimeFields)),
		own: newGroup("own", "value", "rate", "mean"), since: map[string]Own{},
	}
	for _, g := range groupFields {
		c.groups = append(c.groups, newGroup(g.name, g.fields...))
	}
	c.pages.open = map[*page]struct{}{}
	return c
}

// Due tells whether a Sample at now is wanted: one that comes sooner than a
// point's time after the last would shorten what the rings hold. A sampler's
// jitter is let pass.
func (c *Console) Due(now time.Time) bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sampled.IsZero() || now.Sub(c.sampled) > c.step*9/10
}

// Sample adds one sample to the rings and tells the pages that are open. The
// first one is counted from the start of the process.
func (c *Console) Sample(s Sample) {
	if c == nil {
		return
	}
	c.mu.Lock()
	c.sample(s)
	c.mu.Unlock()
	c.pages.wake()
}

func (c *Console) sample(s Sample) {
	at := int(c.seq % points)
	now := s.Runtime.Time
	switch {
	case c.seq == 0:
		c.before = c.config.Started
		if c.before.IsZero() || c.before.After(now) {
			c.before = now.Add(-s.Runtime.Interval)
		}
		c.starts[0] = c.before
	case c.seq%perSlot == 0:
		c.nextSlot()
	}
	c.times[at] = now.UnixMilli()
	c.sampled = now
	c.last = s.Runtime
	for i, f := range runtimeFields {
		c.runtime[i][at] = float32(f.of(&s.Runtime))
	}
	c.sched[at] = schedHeat(&s.Runtime.Sched)
	c.total.clear(at)
	for _, r := range c.routes {
		r.clear(at)
	}
	c.tick = [Cells]uint32{}
	if s.CPU > 0 { // false where it is not known
		c.total.spent(s.CPU)
		c.hasCPU = true
	}
	if s.Routes != nil {
		c.rest = rest{sum: Route{Name: MoreRoutes}}
		for in := range s.Routes {
			c.route(in, at)
		}
		if c.rest.sum.Requests > 0 {
			c.rest.sum.Cells = c.rest.cells[:]
			c.route(c.rest.sum, at)
		}
	}
	c.inFlight[at] = float32(s.InFlight)
	if each := c.interval(c.seq); each > 0 { // what is under way at one moment is chance; those that never end are nowhere else
		c.inFlight[at] = max(c.inFlight[at], c.total.seconds[at]/float32(each))
	}
	if n := uint64(c.total.requests[at]); n > 0 {
		c.total.quantiles[at] = quantilesOf(&c.tick, n)
	}
	c.sampleOwn(s, at)
	c.seq++
}

// interval is the seconds between a sample and the one before.
func (c *Console) interval(seq uint64) float64 {
	at := c.times[seq%points]
	if seq == 0 {
		return float64(at-c.before.UnixMilli()) / 1000
	}
	return float64(at-c.times[(seq-1)%points]) / 1000
}
