package observe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/tracing"
)

// values returns the values of a metric's series by their labels, the empty
// ones left out; of a histogram, its counts.
func values(t testing.TB, tel *Telemetry, name string) map[string]float64 {
	t.Helper()
	found := map[string]float64{}
	for labels, m := range family(t, tel, name) {
		var some []string
		for l := range strings.FieldsSeq(labels) {
			if !strings.HasSuffix(l, "=") {
				some = append(some, l[strings.Index(l, "=")+1:])
			}
		}
		found[strings.Join(some, " ")] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	return found
}

func wantValues(t testing.TB, tel *Telemetry, name string, want map[string]float64) {
	t.Helper()
	if got := values(t, tel, name); !maps.Equal(got, want) {
		t.Errorf("%s: %v, want %v", name, got, want)
	}
}

// sentFrom is a context as a message's headers leave it.
func sentFrom(t testing.TB, headers map[string]string) (context.Context, trace.SpanContext) {
	t.Helper()
	ctx := tracing.Extract(context.Background(), headers)
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsValid() || !sc.IsRemote() {
		t.Fatalf("no trace in %v", headers)
	}
	return ctx, sc
}

func TestRunMeasuresJobs(t *testing.T) {
	tel := start(t, Config{})
	refused := errors.New("refused")
	for _, c := range []struct {
		job Job
		err error
	}{
		{job: Job{Name: "mail"}},
		{job: Job{Name: "mail", Attempt: 1}},
		{job: Job{Name: "mail", Attempt: 2, Enqueued: time.Now().Add(-time.Hour)}},
		{job: Job{Name: "mail", Attempt: 3, Enqueued: time.Now().Add(time.Hour)}, err: refused},
		{job: Job{Name: "mail"}, err: fmt.Errorf("stopped: %w", context.Canceled)},
		{job: Job{Queue: "orders"}},
		{job: Job{}},
	} {
		active := 0.0
		err := tel.Run(t.Context(), c.job, func(context.Context) error {
			for _, n := range values(t, tel, "observe_job_active") {
				active += n
			}
			return c.err
		})
		if err != c.err {
			t.Errorf("%+v: %v, want %v as it is", c.job, err, c.err)
		}
		if active != 1 {
			t.Errorf("%+v: %v active while one ran", c.job, active)
		}
	}
	wantValues(t, tel, "observe_job_duration_seconds", map[string]float64{"mail": 3, "_OTHER mail": 1, "canceled mail": 1, "orders": 1, "unnamed": 1})
	wantValues(t, tel, "observe_job_retries_total", map[string]float64{"mail": 2})
	wantValues(t, tel, "observe_job_active", map[string]float64{"mail": 0, "orders": 0, "unnamed": 0})
	wait := family(t, tel, "observe_job_wait_seconds")["job_name=mail"].GetHistogram()
	if wait.GetSampleCount() != 2 || wait.GetSampleSum() < 3600 || wait.GetSampleSum() > 3900 {
		t.Errorf("waits: %d, %v s; want an hour, and none for the clock that is ahead", wait.GetSampleCount(), wait.GetSampleSum())
	}
	if n := len(family(t, tel, "messaging_process_duration_seconds")); n != 0 {
		t.Errorf("%d series of messages, and no job was one", n)
	}
}

// What does not return is counted as such, and its panic goes on.
func TestRunAndPublishRecordPanics(t *testing.T) {
	tel, spans := collect(t, sdktrace.NeverSample())
	type odd struct{}
	for name, call := range map[string]func(context.Context, Job, func(context.Context) error) error{"run": tel.Run, "publish": tel.Publish} {
		func() {
			defer func() {
				if p := recover(); p != (odd{}) {
					t.Errorf("%s: recovered %v", name, p)
				}
			}()
			call(t.Context(), Job{Name: "mail", System: "rabbitmq", Queue: "q"}, func(context.Context) error { panic(odd{}) })
		}()
		exited := make(chan struct{})
		go func() {
			defer close(exited)
			call(t.Context(), Job{Name: "mail", System: "rabbitmq", Queue: "q"}, func(context.Context) error { runtime.Goexit(); return nil })
		}()
		<-exited
	}
	wantValues(t, tel, "observe_job_duration_seconds", map[string]float64{"panic mail": 2})
	wantValues(t, tel, "observe_job_active", map[string]float64{"mail": 0})
	wantValues(t, tel, "messaging_process_duration_seconds", map[string]float64{"panic q process rabbitmq": 2})
	wantValues(t, tel, "messaging_client_sent_messages_total", map[string]float64{"panic q send rabbitmq": 2})
	if got := len(spans()); got != 4 {
		t.Errorf("%d spans of what panicked were kept late, want 4", got)
	}
}

type panickingString struct{}

func (panickingString) String() string { panic("no") }
func (panickingString) Error() string  { panic("no") }

func TestRunSurvivesWhatPanicsToBeLookedAt(t *testing.T) {
	tel := start(t, Config{})
	if err := tel.Run(t.Context(), Job{Name: "a"}, func(context.Context) error { return panickingString{} }); err != (panickingString{}) {
		t.Error(err)
	}
	func() {
		defer func() {
			if p := recover(); p != (panickingString{}) {
				t.Errorf("recovered %T", p)
			}
		}()
		tel.Run(t.Context(), Job{Name: "a"}, func(context.Context) error { panic(panickingString{}) })
	}()
	wantValues(t, tel, "observe_job_duration_seconds", map[string]float64{"_OTHER a": 1, "panic a": 1})
}

// From the producer's header to the consumer's span.
func TestRunLinksTheProducersTrace(t *testing.T) {
	tel, spans := collect(t, sdktrace.AlwaysSample())
	message := Job{Name: "invoice", System: "rabbitmq", Queue: "orders"}
	headers := map[string]string{}
	err := tel.Publish(t.Context(), message, func(ctx context.Context) error {
		tracing.Inject(ctx, headers)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, from := sentFrom(t, headers)
	message.Enqueued, message.Attempt, message.Messages = time.Now().Add(-time.Minute), 2, 3
	tel.Run(ctx, message, func(ctx context.Context) error {
		return tel.Call(ctx, "mail", "deliver", func(context.Context) error { return nil })
	})
	child := message
	child.Child, child.Queue = true, "answers"
	tel.Run(ctx, child, func(context.Context) error { return errors.New("no") })
	tracing.Do(t.Context(), "request", func(ctx context.Context) error {
		return tel.Run(ctx, Job{Name: "sweep"}, func(context.Context) error { return nil })
	})

	all := spans()
	producer := spanNamed(t, all, "send orders")
	if producer.SpanKind != trace.SpanKindProducer || producer.SpanContext.SpanID() != from.SpanID() || producer.SpanContext.TraceID() != from.TraceID() {
		t.Errorf("the message names %v, the producer is %v of kind %v", from, producer.SpanContext, producer.SpanKind)
	}
	got := attributes(producer)
	if got["messaging.system"] != "rabbitmq" || got["messaging.destination.name"] != "orders" || got["messaging.operation.type"] != "send" || got["messaging.operation.name"] != "send" {
		t.Errorf("producer: %v", got)
	}
	linked := spanNamed(t, all, "process orders")
	if len(linked.Links) != 1 || !linked.Links[0].SpanContext.Equal(from) || linked.Parent.IsValid() || linked.SpanContext.TraceID() == from.TraceID() || linked.SpanKind != trace.SpanKindConsumer {
		t.Errorf("consumer: links %v, parent %v, kind %v", linked.Links, linked.Parent, linked.SpanKind)
	}
	got = attributes(linked)
	if got["messaging.system"] != "rabbitmq" || got["messaging.destination.name"] != "orders" || got["messaging.operation.type"] != "process" ||
		got["messaging.batch.message_count"] != int64(3) || got["observe.job"] != "invoice" || got["observe.job.attempt"] != int64(2) || got["observe.job.wait"].(float64) < 60 {
		t.Errorf("consumer: %v", got)
	}
	if call := spanNamed(t, all, "deliver"); call.Parent.SpanID() != linked.SpanContext.SpanID() {
		t.Error("what the job calls is not below it")
	}
	answer := spanNamed(t, all, "process answers")
	if answer.Parent.SpanID() != from.SpanID() || !answer.Parent.IsRemote() || len(answer.Links) != 0 || attributes(answer)["error.type"] != "_OTHER" {
		t.Errorf("the child: parent %v, links %v, %v", answer.Parent, answer.Links, attributes(answer))
	}
	if sweep, request := spanNamed(t, all, "sweep"), spanNamed(t, all, "request"); sweep.Parent.SpanID() != request.SpanContext.SpanID() || sweep.SpanKind != trace.SpanKindInternal {
		t.Errorf("a job of a request: parent %v of kind %v", sweep.Parent, sweep.SpanKind)
	}

	wantValues(t, tel, "messaging_client_sent_messages_total", map[string]float64{"orders send rabbitmq": 1})
	wantValues(t, tel, "messaging_client_operation_duration_seconds", map[string]float64{"orders send rabbitmq": 1})
	wantValues(t, tel, "messaging_client_consumed_messages_total", map[string]float64{"orders process rabbitmq": 3, "answers process rabbitmq": 3})
	wantValues(t, tel, "messaging_process_duration_seconds", map[string]float64{"orders process rabbitmq": 1, "_OTHER answers process rabbitmq": 1})
	wantValues(t, tel, "observe_job_duration_seconds", map[string]float64{"invoice": 1, "_OTHER invoice": 1, "sweep": 1})
}

// The trace of a linked run is its own: the sampler decides anew, and where the
// provider is the SDK's or off, the run is still one.
func TestLinkedRunsWithOtherSpans(t *testing.T) {
	headers := map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
	for _, c := range []struct {
		name   string
		config tracing.Config
		spans  int
	}{
		{"refused although its producer was sampled", tracing.Config{Sampler: sdktrace.ParentBased(sdktrace.NeverSample())}, 0},
		{"a sampler that sees links", tracing.Config{Sampler: byLink{}}, 1},
		{"the SDK's spans", tracing.Config{SDKSpans: true}, 1},
		{"off", tracing.Config{Disabled: true}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			tel, spans := collectWith(t, c.config)
			ctx, from := sentFrom(t, headers)
			ran := false
			tel.Run(ctx, Job{Queue: "q", System: "kafka"}, func(ctx context.Context) error {
				ran = true
				if tracing.ID(ctx) == "" || (c.spans > 0) != (tracing.ID(ctx) != from.TraceID().String()) && c.name == "off" {
					t.Errorf("trace %q", tracing.ID(ctx))
				}
				return nil
			})
			all := spans()
			if !ran || len(all) != c.spans {
				t.Fatalf("ran %v, %d spans, want %d", ran, len(all), c.spans)
			}
			for _, s := range all {
				if len(s.Links) != 1 || !s.Links[0].SpanContext.Equal(from) || s.SpanContext.TraceID() == from.TraceID() {
					t.Errorf("links %v of trace %v", s.Links, s.SpanContext.TraceID())
				}
			}
			wantValues(t, tel, "observe_job_duration_seconds", map[string]float64{"q": 1})
		})
	}
}

type byLink struct{}

func (byLink) Description() string { return "byLink" }
func (byLink) ShouldSample(p sdktrace.SamplingParameters) (r sdktrace.SamplingResult) {
	if len(p.Links) == 1 && p.Links[0].SpanContext.IsSampled() {
		r.Decision = sdktrace.RecordAndSample
	}
	return r
}

// A job may take minutes: only those that fail, panic or take longer than their like are kept late.
func TestALongJobIsNotSlow(t *testing.T) {
	exporter := tracetest.NewInMemoryExporter()
	config := Config{Tracing: tracing.Config{Sampler: sdktrace.NeverSample(), Exporter: exporter}}
	inBubble(t, config, func(t *testing.T, tel *Telemetry) {
		spans := func() tracetest.SpanStubs {
			if err := tel.Flush(t.Context()); err != nil {
				t.Error(err)
			}
			return exporter.GetSpans()
		}
		run := func(d time.Duration) {
			tel.Run(t.Context(), Job{Name: "report"}, func(context.Context) error { time.Sleep(d); return nil })
		}
		for range 200 {
			run(time.Minute)
		}
		if n := len(spans()); n != 0 {
			t.Errorf("%d of 200 runs alike were kept", n)
		}
		run(time.Hour)
		if n := len(spans()); n != 1 {
			t.Errorf("%d traces kept of the one that took an hour", n)
		}
	})
}

func TestOverdueJobs(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, tel *Telemetry) {
		began := time.Now()
		overdue := func() float64 { return values(t, tel, "observe_job_overdue_seconds")["report"] }
		check := func(what string, want float64) {
			t.Helper()
			if got := overdue(); got != want {
				t.Errorf("%s: overdue by %v s, want %v", what, got, want)
			}
		}
		run := func(err error) {
			tel.Run(t.Context(), Job{Name: "report"}, func(context.Context) error { return err })
		}
		run(nil)
		if n := len(family(t, tel, "observe_job_overdue_seconds")); n != 0 {
			t.Error("nothing is expected, and something is overdue")
		}
		tel.Expect("report", time.Hour)
		time.Sleep(time.Hour)
		check("an hour after", 0)
		time.Sleep(time.Minute)
		check("an hour and a minute after", 60)
		run(errors.New("no"))
		check("after a failure", 60)
		run(nil)
		check("after a success", 0)
		if got := values(t, tel, "observe_job_last_success_timestamp_seconds")["report"]; got != float64(began.Add(61*time.Minute).UnixNano())/1e9 {
			t.Errorf("last success at %v", got)
		}
		tel.Expect("report", time.Minute)
		time.Sleep(2 * time.Minute)
		check("with a shorter interval", 60)
		tel.Expect("backup", time.Hour) // never runs
		time.Sleep(2 * time.Hour)
		wantValues(t, tel, "observe_job_interval_seconds", map[string]float64{"report": 60, "backup": 3600})
		wantValues(t, tel, "observe_job_overdue_seconds", map[string]float64{"report": 7260, "backup": 3600})
		tel.Expect("report", 0)
		wantValues(t, tel, "observe_job_overdue_seconds", map[string]float64{"backup": 3600})
	})
}

// Names from outside: bounded in length and number, whatever they are.
func TestJobNamesAreBounded(t *testing.T) {
	var log lines
	tel := start(t, Config{MaxSeries: 10, Logger: log.logger()})
	for i := range 500 {
		name := fmt.Sprint("job", i)
		if i%2 == 0 {
			name = fmt.Sprint("job\xff", i)
		}
		err := tel.Run(t.Context(), Job{Name: name, System: fmt.Sprint("s\xff", i), Queue: strings.Repeat("x", i) + "\xff"}, func(context.Context) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		tel.Publish(t.Context(), Job{System: fmt.Sprint(i), Queue: strings.Repeat("y", i)}, func(context.Context) error { return nil })
	}
	total := func(name string) (series int, n float64) {
		for _, v := range values(t, tel, name) {
			series, n = series+1, n+v
		}
		return series, n
	}
	for _, name := range []string{"observe_job_duration_seconds", "messaging_process_duration_seconds", "messaging_client_consumed_messages_total", "messaging_client_sent_messages_total", "messaging_client_operation_duration_seconds"} {
		if series, n := total(name); series > 13 || n != 500 {
			t.Errorf("%s: %d series, %v runs", name, series, n)
		}
	}
	if series, _ := total("observe_job_active"); series > 13 {
		t.Errorf("%d jobs are known", series)
	}
	over := family(t, tel, "observe_series_overflow_total")["label=job_name metric=observe_job_active"]
	if over.GetCounter().GetValue() != 490 {
		t.Errorf("overflow: %v", over)
	}
	if known := len(tel.jobs.all); known > 13 {
		t.Errorf("%d states", known)
	}
	for _, name := range []string{"", "job1", "job499"} { // no name, one of the first, one of the last
		if s, kept := tel.jobs.found.get(name); kept != (name == "job1") {
			t.Errorf("%q is kept: %v, %v", name, kept, s)
		}
	}
	if n := len(*tel.jobs.messages.found.read.Load()); n != 10 {
		t.Errorf("%d destinations are kept, want 10", n)
	}
}

func TestRunsAtOnce(t *testing.T) {
	tel := start(t, Config{})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 500 {
				tel.Run(t.Context(), Job{Name: "mail", System: "redis", Queue: "q", Attempt: 1 + i%2, Enqueued: time.Now()}, func(context.Context) error { return nil })
			}
		})
	}
	wg.Wait()
	wantValues(t, tel, "observe_job_duration_seconds", map[string]float64{"mail": 4000})
	wantValues(t, tel, "observe_job_retries_total", map[string]float64{"mail": 2000})
	wantValues(t, tel, "observe_job_wait_seconds", map[string]float64{"mail": 4000})
	wantValues(t, tel, "messaging_client_consumed_messages_total", map[string]float64{"q process redis": 4000})
}

func TestRunOfANilTelemetry(t *testing.T) {
	var tel *Telemetry
	tel.Expect("a", time.Hour)
	for _, call := range []func(context.Context, Job, func(context.Context) error) error{tel.Run, tel.Publish} {
		failed := errors.New("failed")
		if err := call(t.Context(), Job{Name: "a"}, func(ctx context.Context) error {
			if ctx != t.Context() {
				t.Error("another context")
			}
			return failed
		}); err != failed {
			t.Error(err)
		}
	}
}

func TestRunTakesAnEndedContext(t *testing.T) {
	tel := start(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tel.Run(ctx, Job{Name: "a"}, func(ctx context.Context) error { return ctx.Err() }); err != context.Canceled {
		t.Error(err)
	}
	wantValues(t, tel, "observe_job_duration_seconds", map[string]float64{"canceled a": 1})
}

func TestWaitsHaveExemplars(t *testing.T) {
	tel, _ := collect(t, sdktrace.AlwaysSample())
	tel.Run(t.Context(), Job{Name: "a", Enqueued: time.Now()}, func(context.Context) error { return nil })
	for _, name := range []string{"observe_job_wait_seconds", "observe_job_duration_seconds"} {
		for _, m := range family(t, tel, name) {
			if !hasExemplar(m.GetHistogram()) {
				t.Errorf("%s: no exemplar", name)
			}
		}
	}
}

func hasExemplar(h *dto.Histogram) bool {
	for _, b := range h.GetBucket() {
		if b.GetExemplar() != nil {
			return true
		}
	}
	return false
}

func TestRunAllocations(t *testing.T) {
	remote, _ := sentFrom(t, map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"})
	work := func(context.Context) error { return nil }
	job := Job{Name: "invoice", System: "rabbitmq", Queue: "orders", Enqueued: time.Now(), Attempt: 2}
	for _, c := range []struct {
		name    string
		ctx     context.Context
		sampler sdktrace.Sampler
		job     Job
		above   float64
	}{
		{"a job", context.Background(), sdktrace.NeverSample(), Job{Name: "sweep"}, 1}, // span and context in one
		{"a message with a link", remote, sdktrace.NeverSample(), job, 2},              // and the link
		{"a message as a child", remote, sdktrace.NeverSample(), Job{Name: "invoice", System: "rabbitmq", Queue: "orders", Child: true}, 1},
		{"a sampled job", context.Background(), sdktrace.AlwaysSample(), Job{Name: "sweep"}, 2}, // and the copy that is exported
	} {
		t.Run(c.name, func(t *testing.T) {
			tel := start(t, Config{Tracing: tracing.Config{Sampler: c.sampler, Exporter: discard{}}})
			floor := allocations(1000, func() { work(c.ctx) })
			tel.Run(c.ctx, c.job, work)
			if got := allocations(1000, func() { tel.Run(c.ctx, c.job, work) }) - floor; got > c.above {
				t.Errorf("Run: %v allocations above bare, want at most %v", got, c.above)
			}
			if got := allocations(1000, func() { tel.Publish(c.ctx, c.job, work) }) - floor; got > c.above {
				t.Errorf("Publish: %v allocations above bare, want at most %v", got, c.above)
			}
		})
	}
}

func BenchmarkRun(b *testing.B) {
	remote, _ := sentFrom(b, map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"})
	job := Job{Name: "invoice", System: "rabbitmq", Queue: "orders", Enqueued: time.Now()}
	work := func(context.Context) error { return nil }
	for name, sampler := range map[string]sdktrace.Sampler{"notsampled": sdktrace.NeverSample(), "sampled": sdktrace.AlwaysSample()} {
		b.Run(name, func(b *testing.B) {
			tel := start(b, Config{Tracing: tracing.Config{Sampler: sampler, Exporter: discard{}}})
			b.ReportAllocs()
			for b.Loop() {
				tel.Run(remote, job, work)
			}
		})
	}
}
