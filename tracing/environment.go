package tracing

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/loadline-go/loadline/internal/span"
)

// environment reads the standard variables and gathers what is wrong with them.
type environment struct{ errs []error }

func (e *environment) fail(name string, err error) {
	e.errs = append(e.errs, fmt.Errorf("tracing: %s: %w", name, err))
}

func variable(name string) string { return strings.TrimSpace(os.Getenv(name)) }

func (e *environment) flag(name string) bool {
	v := variable(name)
	switch strings.ToLower(v) {
	case "true":
		return true
	case "", "false":
	default:
		e.fail(name, fmt.Errorf("%q is neither true nor false", v))
	}
	return false
}

// numbers checks the variables that the SDK reads itself: it would ignore a bad one.
func (e *environment) numbers() {
	for _, n := range []struct {
		name  string
		least int
	}{
		{"OTEL_BSP_SCHEDULE_DELAY", 0},
		{"OTEL_BSP_EXPORT_TIMEOUT", 0},
		{"OTEL_BSP_MAX_QUEUE_SIZE", 1},
		{"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1},
		{"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", -1},
		{"OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", -1},
		{"OTEL_SPAN_EVENT_COUNT_LIMIT", -1},
		{"OTEL_SPAN_LINK_COUNT_LIMIT", -1},
		{"OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", -1},
		{"OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", -1},
		{"OTEL_ATTRIBUTE_COUNT_LIMIT", -1},
		{"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", -1},
	} {
		v := variable(n.name)
		if v == "" {
			continue
		}
		if i, err := strconv.Atoi(v); err != nil {
			e.fail(n.name, fmt.Errorf("%q is not a whole number", v))
		} else if i < n.least {
			e.fail(n.name, fmt.Errorf("%d is below %d", i, n.least))
		}
	}
}

func (e *environment) sampler() sdktrace.Sampler {
	const name, arg = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
	v := variable(name)
	ratio := func() sdktrace.Sampler {
		a := variable(arg)
		if a == "" {
			return sdktrace.TraceIDRatioBased(1)
		}
		f, err := strconv.ParseFloat(a, 64)
		if err != nil || !(f >= 0 && f <= 1) {
			e.fail(arg, fmt.Errorf("%q is not a share between 0 and 1", a))
			return sdktrace.NeverSample()
		}
		return sdktrace.TraceIDRatioBased(f)
	}
	switch strings.ToLower(v) {
	case "", "parentbased_always_on":
		return sdktrace.ParentBased(sdktrace.AlwaysSample())
	case "always_on":
		return sdktrace.AlwaysSample()
	case "always_off":
		return sdktrace.NeverSample()
	case "traceidratio":
		return ratio()
	case "parentbased_always_off":
		return sdktrace.ParentBased(sdktrace.NeverSample())
	case "parentbased_traceidratio":
		return sdktrace.ParentBased(ratio())
	}
	e.fail(name, fmt.Errorf("unknown sampler %q", v))
	return nil
}

func (e *environment) resource(ctx context.Context, c Config) *resource.Resource {
	base := []attribute.KeyValue{attribute.String("service.name", "unknown_service:"+filepath.Base(os.Args[0]))}
	own := append([]attribute.KeyValue(nil), c.Resource...)
	if c.Service != "" {
		own = append(own, attribute.String("service.name", c.Service))
	}
	if c.Version != "" {
		own = append(own, attribute.String("service.version", c.Version))
	}
	r, err := resource.New(ctx,
		resource.WithAttributes(base...), resource.WithTelemetrySDK(), resource.WithFromEnv(), resource.WithAttributes(own...))
	if err != nil {
		e.fail("OTEL_RESOURCE_ATTRIBUTES", err)
	}
	for _, a := range r.Attributes() {
		// It goes out with every span, and an exporter that meets it sends none.
		if !utf8.ValidString(string(a.Key)) || !utf8.ValidString(a.Value.String()) {
			e.fail("the resource", fmt.Errorf("attribute %q is not UTF-8", a.Key))
		}
	}
	return r
}

// exporter makes the one exporter, or nil when nothing says where spans should go.
func (e *environment) exporter(ctx context.Context, given sdktrace.SpanExporter) *span.Exporter {
	if given != nil {
		return &span.Exporter{Name: fmt.Sprintf("%T", given), SpanExporter: given, Queue: e.queue(), Timeout: e.timeout()}
	}
	const name = "OTEL_TRACES_EXPORTER"
	which := variable(name)
	if which == "" {
		if variable("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
			return nil
		}
		which = "otlp"
	}
	if which == "none" {
		return nil
	}
	label := which
	if which == "otlp" {
		protocol, ok := e.otlp()
		if !ok {
			return nil
		}
		label = "otlp_" + protocol
	}
	made, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		e.fail(name, fmt.Errorf("%q: %w", which, err))
		return nil
	}
	return &span.Exporter{Name: label, SpanExporter: made, Queue: e.queue(), Timeout: e.timeout()}
}

// otlp checks the variables of the OTLP exporters, which would ignore a bad one.
func (e *environment) otlp() (protocol string, ok bool) {
	before := len(e.errs)
	for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} {
		v := variable(name)
		if v == "" {
			continue
		}
		u, err := url.Parse(v)
		switch {
		case err != nil:
			e.fail(name, err)
		case u.Scheme == "unix":
		case u.Scheme != "http" && u.Scheme != "https":
			e.fail(name, fmt.Errorf("%q does not begin with http:// or https://", v))
		case u.Host == "":
			e.fail(name, fmt.Errorf("%q has no host", v))
		}
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"} {
		if v := variable(name); v != "" {
			if i, err := strconv.Atoi(v); err != nil || i < 0 {
				e.fail(name, fmt.Errorf("%q is not a number of milliseconds", v))
			}
		}
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_COMPRESSION", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION"} {
		if v := variable(name); v != "" && v != "gzip" && v != "none" {
			e.fail(name, fmt.Errorf("%q is neither gzip nor none", v))
		}
	}
	name := "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
	v := variable(name)
	if v == "" {
		name = "OTEL_EXPORTER_OTLP_PROTOCOL"
		v = variable(name)
	}
	switch v {
	case "", "http/protobuf":
		protocol = "http"
	case "grpc":
		protocol = "grpc"
	default:
		e.fail(name, errors.New(strconv.Quote(v)+" is neither grpc nor http/protobuf"))
	}
	return protocol, len(e.errs) == before
}

// queue returns OTEL_BSP_MAX_QUEUE_SIZE, 0 when it is not set: numbers has checked it.
func (e *environment) queue() int {
	n, _ := strconv.Atoi(variable("OTEL_BSP_MAX_QUEUE_SIZE"))
	return max(n, 0)
}

// timeout returns OTEL_BSP_EXPORT_TIMEOUT, 0 when it is not set.
func (e *environment) timeout() time.Duration {
	n, _ := strconv.Atoi(variable("OTEL_BSP_EXPORT_TIMEOUT"))
	return time.Duration(max(n, 0)) * time.Millisecond
}
