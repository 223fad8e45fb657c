package observe

import (
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/internal/span"
)

// A Job says what Run runs and Publish publishes. The zero Job works; its name
// is "unnamed".
type Job struct {
	// Name is one of few: "send-invoice". Names beyond Config.MaxSeries count as "other".
	// Default: Queue.
	Name string

	// System makes the job a message of that messaging system, by the name that
	// the semantic conventions give it: "rabbitmq", "kafka", "redis". Its
	// messages are counted and timed under messaging_* too.
	// Default: none, the job is no message.
	System string

	// Queue is the queue, topic or stream that the job comes from or goes to; one of few.
	// Default: none.
	Queue string

	// Enqueued is when the job was put into its queue; from then until Run it
	// waited. A time in the future, as by a clock that is ahead, is no wait.
	// Default: not known.
	Enqueued time.Time

	// Attempt is the number of this delivery or try, 1 for the first; above 1 it
	// counts as a retry. RabbitMQ tells only that it was Redelivered: that is 2.
	// Default: not known.
	Attempt int

	// Messages is how many messages a batch holds.
	// Default: 1.
	Messages int

	// Child makes the run a part of its producer's trace instead of a trace of
	// its own with a link to it: for a job that somebody waits for.
	Child bool
}

func (j *Job) messages() int { return max(1, j.Messages) }

// name is the label's value before it is bounded.
func (j *Job) name() string {
	switch {
	case j.Name != "":
		return clip(j.Name, maxName)
	case j.Queue != "":
		return clip(j.Queue, maxName)
	}
	return "unnamed"
}

// maxName bounds a name that may come from outside, in bytes.
const maxName = 255

// Run runs f as a job: its wait in the queue, duration, result, retries and how
// many run at once are measured by name, and it is traced. Where ctx holds the
// trace of another process, which tracing.Extract puts there, the run is a
// trace of its own with a link to that one, as the semantic conventions want it
// for messages, or with Job.Child a part of it. In a trace of this process it
// is always a part. A batch has many producers: give Run a context without a
// trace, and let f call tracing.Link for each.
//
//	ctx = tracing.Extract(ctx, delivery.Headers)
//	err := tel.Run(ctx, observe.Job{Name: "invoice", System: "rabbitmq", Queue: "orders"}, work)
//
// What f returns is returned as it is. An f that panics or ends its goroutine
// is counted under error_type "panic", and its panic goes on. An error that is
// context.Canceled counts as "canceled" and is no failure of the trace. A nil
// Telemetry just calls f.
func (t *Telemetry) Run(ctx context.Context, job Job, f func(context.Context) error) (err error) {
	if t == nil {
		return f(ctx)
	}
	start := time.Now()
	state := t.jobs.state(job.name())
	r := &run{job: job, state: state, waited: -1}
	if !job.Enqueued.IsZero() {
		r.waited = max(0, start.Sub(job.Enqueued))
	}
	o := span.Options{Name: state.spanName, Start: start, Describer: r, Scope: t.scope}
	if job.Queue != "" || job.System != "" {
		o.Name, o.Kind = t.jobs.messages.of(&job).processName, trace.SpanKindConsumer
	}
	if from := trace.SpanContextFromContext(ctx); from.IsRemote() && !job.Child {
		t.provider.BeginLinked(&r.span, ctx, from, o)
	} else {
		t.provider.Begin(&r.span, ctx, o)
	}
	on := currentProcessor()
	state.active.add(1, on)
	if job.Attempt > 1 {
		state.retries.get(func() (prometheus.Counter, bool) { return t.jobs.retries.with(state.name) }).Inc()
	}
	if r.waited >= 0 { // now, so that a run without end does not hide its wait
		wait := state.wait.get(func() (*timing, bool) { return t.jobs.wait.with(state.name) })
		wait.observe(r.waited.Seconds(), start, exemplar(&r.span), on)
	}
	returned := false
	defer func() {
		state.active.add(-1, on)
		if returned {
			r.end(t, start, on, classOf(err), err)
			return
		}
		p := recover()
		r.end(t, start, on, panicked, errorOfPanic(p))
		if p != nil { // nil after runtime.Goexit
			panic(p)
		}
	}()
	inner := context.Context(&r.span)
	if t.server.watched() {
		defer pprof.SetGoroutineLabels(ctx)
		inner = t.profiledJob(ctx, r)
	}
	err = f(inner)
	returned = true
	return err
}

// Publish runs f, which is to put job into a queue: it is measured and traced,
// and the message is counted. The context that f gets is the one for
// tracing.Inject to write into the message's headers, so that Run finds the
// trace. An empty System counts as "_OTHER"; Enqueued, Attempt and Child mean
// nothing here.
//
//	err := tel.Publish(ctx, observe.Job{System: "rabbitmq", Queue: "orders"}, func(ctx context.Context) error {
//		headers := amqp.Table{}
//		tracing.Inject(ctx, headers)
//		return channel.PublishWithContext(ctx, "", "orders", false, false, amqp.Publishing{Headers: headers, Body: body})
//	})
//
// What f returns is returned as it is; an f that does not return is counted
// under error_type "panic", and its panic goes on. A nil Telemetry just calls f.
func (t *Telemetry) Publish(ctx context.Context, job Job, f func(context.Context) error) (err error) {
	if t == nil {
		return f(ctx)
	}
	start := time.Now()
	if job.System == "" {
		job.System = "_OTHER"
	}
	to := t.jobs.messages.of(&job)
	r := &run{job: job, waited: -1, party: to.party}
	t.provider.Begin(&r.span, ctx, span.Options{
		Name: to.sendName, Kind: trace.SpanKindProducer, Start: start, Describer: r, Scope: t.scope,
	})
	on := currentProcessor()
	returned := false
	defer func() {
		if returned {
			r.end(t, start, on, classOf(err), err)
			return
		}
		p := recover()
		r.end(t, start, on, panicked, errorOfPanic(p))
		if p != nil {
			panic(p)
		}
	}()
	err = f(&r.span)
	returned = true
	return err
}

// Expect says that the job of this name is to succeed every so often. Until it
// does, whether it runs or not, observe_job_overdue_seconds tells by how much
// it is late, counted from its last success in this process or else from the
// first call for the name. A later call changes the interval; zero or less ends
// the expectation. A nil Telemetry does nothing.
//
//	tel.Expect("nightly-report", 24*time.Hour)
func (t *Telemetry) Expect(name string, every time.Duration) {
	if t == nil {
		return
	}
	job := Job{Name: name}
	s := t.jobs.state(job.name())
	s.since.CompareAndSwap(0, time.Now().UnixNano())
	s.every.Store(int64(max(every, 0)))
}

// The classes of what is no error and of what did not return.
const (
	success  = ""
	panicked = "panic"
)

func classOf(err error) string {
	if err == nil {
		return success
	}
	return errorType(err)
}

// errorOfPanic makes an error for the trace of a panic's value, nil for none.
func errorOfPanic(p any) (err error) {
	if p == nil {
		return nil
	}
	defer func() {
		if recover() != nil { // its String panics
			err = errors.New("panic")
		}
	}()
	return fmt.Errorf("panic: %v", p)
}

// run is one run or one publication: its span, and what describes it, in one allocation.
type run struct {
	span   span.Span
	job    Job
	state  *jobState     // nil: a publication
	party  *span.Party   // that a publication waits for
	waited time.Duration // negative: not known
	class  string        // set at the end
}

// end ends the span and counts.
func (r *run) end(t *Telemetry, start time.Time, on processor, class string, err error) {
	took := time.Since(start)
	end := start.Add(took)
	r.class = class
	if err != nil {
		recordError(&r.span, err, nil)
	}
	name := ""
	if r.state != nil {
		name = r.state.route
	}
	r.span.Finish(span.Outcome{
		End: end, Failed: class != success && class != "canceled", Panicked: class == panicked, Job: r.state != nil, Route: name,
	})
	ids := exemplar(&r.span)
	seconds := took.Seconds()
	if r.state != nil {
		t.jobs.ran(r.state, class).observe(seconds, end, ids, on)
		if class == success {
			r.state.succeeded(end)
		}
		if r.job.System == "" {
			return
		}
		m := t.jobs.messages.of(&r.job)
		m.processed(class).observe(seconds, end, ids, on)
		m.consumed().Add(float64(r.job.messages()))
		return
	}
	sent := t.jobs.messages.of(&r.job).delivered(class)
	sent.duration.observe(seconds, end, ids, on)
	sent.count.Add(float64(r.job.messages()))
}

// Describe gives the attributes of the span when somebody will read them.
func (r *run) Describe(attrs []attribute.KeyValue, ended bool) []attribute.KeyValue {
	if ended {
		if r.class != success {
			attrs = append(attrs, attribute.String("error.type", r.class))
		}
		return attrs
	}
	operation := "send"
	if r.state != nil {
		operation = "process"
		attrs = append(attrs, attribute.String("observe.job", r.state.name))
		if r.waited >= 0 {
			attrs = append(attrs, attribute.Float64("observe.job.wait", r.waited.Seconds()))
		}
		if r.job.Attempt > 0 {
			attrs = append(attrs, attribute.Int("observe.job.attempt", r.job.Attempt))
		}
	}
	if r.job.System == "" {
		return attrs
	}
	attrs = append(attrs,
		attribute.String("messaging.system", text(r.job.System, maxName)),
		attribute.String("messaging.operation.name", operation),
		attribute.String("messaging.operation.type", operation),
	)
	if r.job.Queue != "" {
		attrs = append(attrs, attribute.String("messaging.destination.name", text(r.job.Queue, maxName)))
	}
	if r.job.Messages > 1 {
		attrs = append(attrs, attribute.Int("messaging.batch.message_count", r.job.Messages))
	}
	return attrs
}
