package tracing_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/tracing"
)

func provider(t testing.TB, c tracing.Config) (*tracing.Provider, func() tracetest.SpanStubs) {
	t.Helper()
	mem := tracetest.NewInMemoryExporter()
	c.Exporter = mem
	p, err := tracing.NewProvider(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Shutdown(context.Background()) })
	return p, func() tracetest.SpanStubs {
		if err := p.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
		return mem.GetSpans()
	}
}

func TestNothingIsSentWhenNothingSaysWhere(t *testing.T) {
	p, err := tracing.NewProvider(t.Context(), tracing.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Shutdown(t.Context())
	if e := p.Stats().Exporters; len(e) != 0 {
		t.Errorf("there are exporters: %+v", e)
	}
}

func TestAVariableNamesTheExporter(t *testing.T) {
	for _, c := range []struct {
		set  [2]string
		want string
	}{
		{[2]string{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"}, "otlp_http"},
		{[2]string{"OTEL_TRACES_EXPORTER", "console"}, "console"},
		{[2]string{"OTEL_TRACES_EXPORTER", "otlp"}, "otlp_http"},
		{[2]string{"OTEL_TRACES_EXPORTER", "none"}, ""},
	} {
		t.Run(strings.Join(c.set[:], "="), func(t *testing.T) {
			t.Setenv(c.set[0], c.set[1])
			p, err := tracing.NewProvider(t.Context(), tracing.Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Shutdown(t.Context())
			got := ""
			if e := p.Stats().Exporters; len(e) > 0 {
				got = e[0].Name
			}
			if got != c.want {
				t.Errorf("exporter %q", got)
			}
		})
	}
}

func TestEveryBadVariableIsNamedOnce(t *testing.T) {
	bad := map[string]string{
		"OTEL_SDK_DISABLED":                  "yes",
		"OTEL_TRACES_SAMPLER":                "sometimes",
		"OTEL_BSP_MAX_QUEUE_SIZE":            "many",
		"OTEL_SPAN_EVENT_COUNT_LIMIT":        "-5",
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "localhost:4317",
		"OTEL_EXPORTER_OTLP_PROTOCOL":        "http/json",
		"OTEL_EXPORTER_OTLP_COMPRESSION":     "zstd",
		"OTEL_EXPORTER_OTLP_TIMEOUT":         "10s",
		"OTEL_RESOURCE_ATTRIBUTES":           "a",
	}
	for k, v := range bad {
		t.Setenv(k, v)
	}
	_, err := tracing.NewProvider(t.Context(), tracing.Config{
		Late: tracing.Late{Factor: 0.5, Traces: -1, SpansPerTrace: -1}, Baggage: []string{""}, Processors: []sdktrace.SpanProcessor{nil},
	})
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(bad)+5 {
		t.Errorf("%d lines:\n%v", len(lines), err)
	}
	for k := range bad {
		if strings.Count(err.Error(), "tracing: "+k+": ") != 1 {
			t.Errorf("%s is not named once:\n%v", k, err)
		}
	}
}

func TestAVariableThatCannotWorkIsAnError(t *testing.T) {
	const arg = "OTEL_TRACES_SAMPLER_ARG"
	for _, test := range []struct {
		name, value string
		with        map[string]string
		want        string
	}{
		{"OTEL_TRACES_EXPORTER", "zipkin", nil, `"zipkin" is not one of otlp, console, none`},
		{"OTEL_TRACES_EXPORTER", "otlp,console", nil, `"otlp,console" is not one of otlp, console, none`},
		{"OTEL_SERVICE_NAME", "a\xff", nil, `"service.name"="a\xff" is not UTF-8`},
		{arg, "1.5", map[string]string{"OTEL_TRACES_SAMPLER": "traceidratio"}, `"1.5" is not a share between 0 and 1`},
		{arg, "NaN", map[string]string{"OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}, `"NaN" is not a share between 0 and 1`},
		{arg, "0.1", nil, `"0.1" samples nothing alone: set OTEL_TRACES_SAMPLER to parentbased_traceidratio, too`},
		{"OTEL_RESOURCE_ATTRIBUTES", "a=b,c", nil, `"c" is not key=value; a comma in a value is %2C`},
		{"OTEL_RESOURCE_ATTRIBUTES", "a=%zz", nil, `"a=%zz" is not percent-encoded; a percent sign is %25`},
		{"OTEL_RESOURCE_ATTRIBUTES", "a=%ff", nil, `"a=%ff" is not UTF-8`},
		{"OTEL_EXPORTER_OTLP_TRACES_INSECURE", "maybe", map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, `"maybe" is neither true nor false`},
		{"OTEL_EXPORTER_OTLP_HEADERS", "secret", map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, `entry 1 of 1 is not name=value; a comma in a value is %2C`},
	} {
		t.Run(test.name+" "+test.value, func(t *testing.T) {
			t.Setenv(test.name, test.value)
			for k, v := range test.with {
				t.Setenv(k, v)
			}
			_, err := tracing.NewProvider(t.Context(), tracing.Config{})
			if want := "tracing: " + test.name + ": " + test.want; err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

func TestAFieldWinsOverItsVariable(t *testing.T) {
	t.Setenv("OTEL_SERVICE_NAME", "from-env")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "service.version=1,team=a")
	t.Setenv("OTEL_TRACES_SAMPLER", "always_off")
	p, arrived := provider(t, tracing.Config{Service: "shop", Version: "2", Sampler: sdktrace.AlwaysSample()})
	_, s := p.Tracer("").Start(t.Context(), "x")
	s.End()
	got := arrived()
	if len(got) != 1 {
		t.Fatalf("%d spans", len(got))
	}
	text := got[0].Resource.String()
	for _, want := range []string{"service.name=shop", "service.version=2", "team=a"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s lacks %s", text, want)
		}
	}
}

func TestDoReturnsTheErrorAsItIsAndRecordsIt(t *testing.T) {
	p, arrived := provider(t, tracing.Config{})
	ctx, root := p.Tracer("test").Start(t.Context(), "root")
	want := errors.New("no stock")
	if err := tracing.Do(ctx, "step", func(ctx context.Context) error {
		if trace.SpanFromContext(ctx).SpanContext().TraceID() != root.SpanContext().TraceID() {
			t.Error("the step is in another trace")
		}
		return want
	}); err != want {
		t.Errorf("got %v", err)
	}
	root.End()
	got := arrived()
	if got[0].Name != "step" || got[0].Status.Code != codes.Error || len(got[0].Events) != 1 {
		t.Errorf("%+v", got[0])
	}
}

func TestDoRecordsAPanicAndLetsItGoOn(t *testing.T) {
	p, arrived := provider(t, tracing.Config{Sampler: sdktrace.NeverSample()})
	ctx, root := p.Tracer("test").Start(t.Context(), "root")
	func() {
		defer func() {
			if r := recover(); r != "boom" {
				t.Errorf("recovered %v", r)
			}
		}()
		_ = tracing.Do(ctx, "step", func(context.Context) error { panic("boom") })
	}()
	root.End()
	got := arrived()
	if len(got) != 2 || got[0].Status.Description != "boom" {
		t.Errorf("a trace with a panic was not kept: %+v", got)
	}
}

// closing is an exporter that counts its ends.
type closing struct{ ends *int }

func (closing) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error {
	return errors.New("never")
}
func (c closing) Shutdown(context.Context) error { *c.ends++; return nil }

func TestADisabledProviderSendsNothingAndShutsDownWhatItWasGiven(t *testing.T) {
	t.Setenv("OTEL_SDK_DISABLED", "TRUE")
	ends := 0
	p, err := tracing.NewProvider(t.Context(), tracing.Config{Exporter: closing{&ends}})
	if err != nil {
		t.Fatal(err)
	}
	ctx := tracing.Extract(t.Context(), map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
	ctx, s := p.Tracer("test").Start(ctx, "work")
	if s.IsRecording() || tracing.ID(ctx) != "0af7651916cd43dd8448eb211c80319c" {
		t.Errorf("recording %v in trace %s", s.IsRecording(), tracing.ID(ctx))
	}
	s.End()
	for range 2 {
		if err := p.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if ends != 1 {
		t.Errorf("the exporter was shut down %d times", ends)
	}
}
