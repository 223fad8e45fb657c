package tracing

import (
	"context"
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

	"github.com/loadline-go/loadline/internal/otlp"
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
		if a := variable(arg); a != "" && v == "" {
			e.fail(arg, fmt.Errorf("%.80q samples nothing alone: set %s to parentbased_traceidratio, too", a, name))
		}
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
	e.fail(name, fmt.Errorf("%.80q is none of always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off, "+
		"parentbased_traceidratio", v))
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
	const name, service = "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME"
	if err := pairs(variable(name)); err != nil {
		e.fail(name, err)
		return resource.Empty()
	}
	r, err := resource.New(ctx,
		resource.WithAttributes(base...), resource.WithTelemetrySDK(), resource.WithFromEnv(), resource.WithAttributes(own...))
	if err != nil {
		e.fail(name, err)
	}
	for _, a := range r.Attributes() {
		// It goes out with every span, and an exporter that meets it sends none.
		if text := a.Value.String(); !utf8.ValidString(string(a.Key)) || !utf8.ValidString(text) {
			from := "Config.Resource"
			switch {
			case a.Key == "service.name" && text == variable(service):
				from = service
			case a.Key == "service.name" && text == c.Service:
				from = "Config.Service"
			case a.Key == "service.version" && text == c.Version:
				from = "Config.Version"
			}
			e.fail(from, fmt.Errorf("%.80q=%.80q is not UTF-8", a.Key, text))
		}
	}
	return r
}

// pairs checks key=value pairs: the SDK would report a bad one to the global error handler, or keep it as it is.
func pairs(list string) error {
	if list == "" {
		return nil
	}
	for pair := range strings.SplitSeq(list, ",") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || strings.TrimSpace(key) == "" {
			return fmt.Errorf("%.80q is not key=value; a comma in a value is %%2C", pair)
		}
		plain, err := url.PathUnescape(value)
		if err != nil {
			return fmt.Errorf("%.80q is not percent-encoded; a percent sign is %%25", pair)
		}
		if !utf8.ValidString(key) || !utf8.ValidString(plain) {
			return fmt.Errorf("%.80q is not UTF-8", pair)
		}
	}
	return nil
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
		grpc, errs := otlp.Check("TRACES")
		for _, err := range errs {
			e.errs = append(e.errs, fmt.Errorf("tracing: %w", err))
		}
		if errs != nil {
			return nil
		}
		label = "otlp_http"
		if grpc {
			label = "otlp_grpc"
		}
	}
	made, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		// Programs may have registered more, so the registry is asked first; its error is not exported.
		if strings.HasPrefix(err.Error(), "unknown exporter") {
			e.fail(name, fmt.Errorf("%.80q is not one of otlp, console, none", which))
		} else {
			e.fail(name, fmt.Errorf("%.80q: %w", which, err))
		}
		return nil
	}
	return &span.Exporter{Name: label, SpanExporter: made, Queue: e.queue(), Timeout: e.timeout()}
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
