package observe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	bridge "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// thirdParty takes the metrics of libraries that are instrumented with
// OpenTelemetry, shows them on the same /metrics, and sends everything by OTLP
// when OTEL_METRICS_EXPORTER asks for it.
type thirdParty struct{ provider *metric.MeterProvider }

func newThirdParty(ctx context.Context, t *Telemetry) (*thirdParty, error) {
	own, theirs := t.metrics.registry, prometheus.NewRegistry()
	t.gatherer = merged{own, theirs}
	scraped, err := otelprometheus.New(otelprometheus.WithRegisterer(theirs), otelprometheus.WithoutScopeInfo(), otelprometheus.WithoutTargetInfo())
	if err != nil {
		return nil, err
	}
	opts := []metric.Option{metric.WithReader(scraped), metric.WithView(secondsView), metric.WithResource(t.provider.Resource())}
	push, err := metricExporter(ctx)
	if err != nil {
		return nil, err
	}
	if push != nil {
		opts = append(opts, metric.WithReader(metric.NewPeriodicReader(countedMetrics{push, t},
			metric.WithProducer(bridge.NewMetricProducer(bridge.WithGatherer(own))))))
	}
	return &thirdParty{metric.NewMeterProvider(opts...)}, nil
}

func (p *thirdParty) shutdown(ctx context.Context) error {
	if err := p.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}

// metricExporter returns the OTLP exporter that OTEL_METRICS_EXPORTER asks
// for, or nil. Unset means none, other than the specification says: who sets
// an endpoint for traces and is scraped would get every metric twice.
func metricExporter(ctx context.Context) (metric.Exporter, error) {
	push := false
	for name := range strings.SplitSeq(os.Getenv("OTEL_METRICS_EXPORTER"), ",") {
		switch strings.TrimSpace(name) {
		case "", "none", "prometheus": // the scrape is always there
		case "otlp":
			push = true
		default:
			return nil, fmt.Errorf("OTEL_METRICS_EXPORTER: %q: want otlp, prometheus or none", clip(name, 80))
		}
	}
	if !push || strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return nil, nil
	}
	protocol := os.Getenv("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL")
	if protocol == "" {
		protocol = os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL")
	}
	switch protocol {
	case "", "http/protobuf":
		return otlpmetrichttp.New(ctx)
	case "grpc":
		return otlpmetricgrpc.New(ctx)
	}
	return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: %q: want http/protobuf or grpc", clip(protocol, 80))
}

// secondsView gives histograms of seconds buckets of seconds. Without it an
// instrument that advises none gets the SDK's, made for milliseconds, and every
// quantile of it is wrong.
func secondsView(i metric.Instrument) (metric.Stream, bool) {
	if i.Kind != metric.InstrumentKindHistogram || i.Unit != "s" {
		return metric.Stream{}, false
	}
	bounds := requestSeconds
	if strings.HasPrefix(i.Name, "db.") {
		bounds = databaseSeconds
	}
	return metric.Stream{Name: i.Name, Description: i.Description, Unit: i.Unit, Aggregation: metric.AggregationExplicitBucketHistogram{Boundaries: bounds}}, true
}

// countedMetrics counts what could not be sent and keeps it from the global
// error handler, which could not say what it was.
type countedMetrics struct {
	metric.Exporter
	t *Telemetry
}

func (c countedMetrics) Export(ctx context.Context, data *metricdata.ResourceMetrics) error {
	err := c.Exporter.Export(ctx, data)
	if err != nil {
		points := 0
		for _, s := range data.ScopeMetrics {
			points += len(s.Metrics)
		}
		c.t.losses.add("metrics", "export_failed", points)
		c.t.warn("metrics", "observe: metrics could not be sent; a later interval carries the totals", "err", oneLine(err.Error()))
	}
	return nil
}

// merged serves two registries as one. Where both have a metric, as when a
// service is also instrumented with otelhttp, ours is shown: one family with
// two sets of labels would spoil the whole scrape.
type merged struct{ own, theirs prometheus.Gatherer }

func (m merged) Gather() ([]*dto.MetricFamily, error) {
	own, err := m.own.Gather()
	theirs, err2 := m.theirs.Gather()
	seen := make(map[string]bool, len(own))
	for _, f := range own {
		seen[f.GetName()] = true
	}
	for _, f := range theirs {
		if !seen[f.GetName()] {
			own = append(own, f)
		}
	}
	slices.SortFunc(own, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return own, errors.Join(err, err2)
}
