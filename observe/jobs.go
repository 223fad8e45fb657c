package observe

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/loadline-go/loadline/internal/span"
)

// jobs is what all Runs of one Telemetry share. It is a collector for what is
// known of each job between its runs.
type jobs struct {
	duration, wait *vec[*timing]
	retries        *vec[prometheus.Counter]
	states         *vec[*jobState]
	found          cache[string, *jobState]
	messages       *messages

	mu                               sync.Mutex
	all                              map[string]*jobState
	active, success, every, overdues *prometheus.Desc
}

// jobState is one job, or all for which there was no room.
type jobState struct {
	name     string // as a label
	spanName string
	route    string // under which late sampling compares its durations
	active   level

	wait    once[*timing]
	retries once[prometheus.Counter]
	ok      once[*timing]
	failed  cache[string, *timing] // by error_type

	last, since, every atomic.Int64 // last success and first expectation in Unix nanoseconds, interval in nanoseconds
}

// once holds an instrument that is made when it is first needed, so that what
// does not happen has no series.
type once[T any] struct{ p atomic.Pointer[T] }

// get returns the instrument. One that is not exact is asked for again each
// time, so that each event in "other" is counted as such.
func (o *once[T]) get(make func() (v T, exact bool)) T {
	if p := o.p.Load(); p != nil {
		return *p
	}
	v, exact := make()
	if exact {
		o.p.Store(&v)
	}
	return v
}

func newJobs(t *Telemetry) *jobs {
	m := t.metrics
	j := &jobs{
		duration: m.histogram(jobDuration), wait: m.histogram(jobWait), retries: m.counter(jobRetries),
		messages: newMessages(t), all: map[string]*jobState{},
		active: desc(jobActive), success: desc(jobSuccess), every: desc(jobInterval), overdues: desc(jobOverdue),
	}
	j.states = newVec(m, jobActive, j.add)
	m.register(jobActive, j)
	return j
}

// state finds a job by name. Names without number, as they may come from
// outside, share the state called "other".
func (j *jobs) state(name string) *jobState {
	if s, ok := j.found.get(name); ok {
		return s
	}
	s, exact := j.states.with(name)
	if exact && utf8.ValidString(name) { // see calls.timing
		j.found.add(strings.Clone(name), s)
	}
	return s
}

// add makes the state of a name that has been admitted.
func (j *jobs) add(names ...string) *jobState {
	j.mu.Lock()
	defer j.mu.Unlock()
	s, ok := j.all[names[0]]
	if !ok {
		name := strings.Clone(names[0])
		s = &jobState{name: name, spanName: name, route: "job " + name}
		j.all[name] = s
	}
	return s
}

// ran returns the durations of a job's runs with this result.
func (j *jobs) ran(s *jobState, class string) *timing {
	if class == success {
		return s.ok.get(func() (*timing, bool) { return j.duration.with(s.name, class) })
	}
	if t, ok := s.failed.get(class); ok {
		return t
	}
	t, exact := j.duration.with(s.name, class)
	if exact {
		s.failed.add(class, t)
	}
	return t
}

// succeeded notes a success. Runs end in any order; the last one counts.
func (s *jobState) succeeded(at time.Time) {
	n := at.UnixNano()
	for {
		old := s.last.Load()
		if old >= n || s.last.CompareAndSwap(old, n) {
			return
		}
	}
}

// overdue is by how much a success is late.
func (s *jobState) overdue(now time.Time) time.Duration {
	due := max(s.last.Load(), s.since.Load()) + s.every.Load()
	return time.Duration(max(0, now.UnixNano()-due))
}

func (j *jobs) list() []*jobState {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Collect(maps.Values(j.all))
}

// Describe implements prometheus.Collector.
func (j *jobs) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{j.active, j.success, j.every, j.overdues} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (j *jobs) Collect(ch chan<- prometheus.Metric) {
	now := time.Now()
	for _, s := range j.list() {
		send := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, s.name)
		}
		send(j.active, float64(s.active.value()))
		if last := s.last.Load(); last != 0 {
			send(j.success, float64(last)/1e9)
		}
		if every := s.every.Load(); every > 0 {
			send(j.every, time.Duration(every).Seconds())
			send(j.overdues, s.overdue(now).Seconds())
		}
	}
}

// messages is what all jobs that are messages share.
type messages struct {
	sending, processing   *vec[*timing]
	sentCount, takenCount *vec[prometheus.Counter]
	parties               *parties
	found                 cache[destination, *messageSeries]
	room                  atomic.Int64 // left in found
}

// destination is a queue of a messaging system.
type destination struct{ system, queue string }

// messageSeries are the series of one destination.
type messageSeries struct {
	all                   *messages
	party                 *span.Party
	system, queue         string // as labels
	processName, sendName string // of spans

	ok    once[*timing] // processed without an error
	taken once[prometheus.Counter]
	sent  once[delivery] // without an error
}

// delivery is one result of sending.
type delivery struct {
	duration *timing
	count    prometheus.Counter
}

func newMessages(t *Telemetry) *messages {
	m := &messages{
		parties: &t.parties,
		sending: t.dependencies.messaging, processing: t.dependencies.consumed,
		sentCount: t.metrics.counter(messagesSent), takenCount: t.metrics.counter(messagesConsumed),
	}
	m.room.Store(int64(t.metrics.max))
	return m
}

// of finds the series of a job's destination. Destinations without number, as
// they may come from outside, get series that are not kept, and the metrics
// put them under "other".
func (m *messages) of(j *Job) *messageSeries {
	key := destination{j.System, j.Queue}
	if s, ok := m.found.get(key); ok {
		return s
	}
	s := &messageSeries{all: m, party: m.parties.named(span.Party{Kind: kindMessaging, Name: or(key.queue, key.system)}), system: text(key.system, maxName), queue: text(key.queue, maxName), processName: "process", sendName: "send"}
	if key.queue != "" {
		s.processName, s.sendName = "process "+s.queue, "send "+s.queue
	}
	if m.room.Load() > 0 && m.room.Add(-1) >= 0 {
		m.found.add(destination{strings.Clone(key.system), strings.Clone(key.queue)}, s)
	}
	return s
}

func (s *messageSeries) processed(class string) *timing {
	with := func() (*timing, bool) { return s.all.processing.with(s.system, "process", s.queue, class) }
	if class == success {
		return s.ok.get(with)
	}
	t, _ := with() // failures may take their time
	return t
}

func (s *messageSeries) consumed() prometheus.Counter {
	return s.taken.get(func() (prometheus.Counter, bool) { return s.all.takenCount.with(s.system, "process", s.queue) })
}

func (s *messageSeries) delivered(class string) delivery {
	with := func() (delivery, bool) {
		d, exact := s.all.sending.with(s.system, "send", s.queue, class)
		n, too := s.all.sentCount.with(s.system, "send", s.queue, class)
		return delivery{d, n}, exact && too
	}
	if class == success {
		return s.sent.get(with)
	}
	d, _ := with()
	return d
}
