package observe

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	bridge "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/embedded"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// thirdParty takes the metrics of libraries that are instrumented with
// OpenTelemetry, shows them on the same /metrics, and sends everything by OTLP
// when OTEL_METRICS_EXPORTER asks for it. It is the global MeterProvider.
type thirdParty struct {
	embedded.MeterProvider
	provider *sdkmetric.MeterProvider
	push     sdkmetric.Exporter // nil: nothing is sent
}

// begin makes the provider; shutdown ends it, and push with it.
func (p *thirdParty) begin(t *Telemetry) error {
	own, theirs := t.metrics.registry, prometheus.NewRegistry()
	t.gatherer = merged{own, theirs}
	scraped, err := otelprometheus.New(otelprometheus.WithRegisterer(theirs), otelprometheus.WithoutScopeInfo(), otelprometheus.WithoutTargetInfo())
	if err != nil {
		return err
	}
	opts := []sdkmetric.Option{
		sdkmetric.WithReader(scraped), sdkmetric.WithResource(t.provider.Resource()), sdkmetric.WithCardinalityLimit(t.config.MaxSeries),
	}
	if p.push != nil {
		p.push = countedMetrics{p.push, t}
		opts = append(opts, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(p.push,
			sdkmetric.WithProducer(binaryIDs{bridge.NewMetricProducer(bridge.WithGatherer(own))}))))
	}
	p.provider = sdkmetric.NewMeterProvider(opts...)
	return nil
}

// binaryIDs gives the exemplars of the registry's metrics the trace and span IDs
// that OTLP wants, of 16 and 8 bytes: until the bridge does, it hands on the text
// of the labels, and a collector refuses the whole export ("invalid SpanID length").
type binaryIDs struct{ sdkmetric.Producer }

// Produce implements sdkmetric.Producer.
func (b binaryIDs) Produce(ctx context.Context) ([]metricdata.ScopeMetrics, error) {
	scopes, err := b.Producer.Produce(ctx)
	for _, scope := range scopes {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[float64]:
				for _, p := range data.DataPoints {
					decodeIDs(p.Exemplars)
				}
			case metricdata.Gauge[float64]:
				for _, p := range data.DataPoints {
					decodeIDs(p.Exemplars)
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					decodeIDs(p.Exemplars)
				}
			case metricdata.ExponentialHistogram[float64]:
				for _, p := range data.DataPoints {
					decodeIDs(p.Exemplars)
				}
			}
		}
	}
	return scopes, err
}

// decodeIDs leaves an ID that is no hex, of a collector of the program's own, out.
func decodeIDs(exemplars []metricdata.Exemplar[float64]) {
	for i := range exemplars {
		e := &exemplars[i]
		e.TraceID, e.SpanID = decodeID(e.TraceID, 16), decodeID(e.SpanID, 8)
	}
}

func decodeID(text []byte, size int) []byte {
	id := make([]byte, size)
	switch {
	case len(text) == size: // the bridge has learnt it
		return text
	case len(text) != 2*size:
		return nil
	}
	if _, err := hex.Decode(id, text); err != nil {
		return nil
	}
	return id
}

func (p *thirdParty) shutdown(ctx context.Context) (err error) {
	switch {
	case p.provider != nil:
		err = p.provider.Shutdown(ctx)
	case p.push != nil:
		err = p.push.Shutdown(ctx)
	}
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}

// Meter implements metric.MeterProvider.
func (p *thirdParty) Meter(name string, opts ...metric.MeterOption) metric.Meter {
	return secondsMeter{p.provider.Meter(name, opts...)}
}

// secondsMeter gives histograms of seconds buckets of seconds where the library
// advises none. They would get the SDK's, made for milliseconds, and every
// quantile would be wrong. (A view would also replace what a library advises.)
type secondsMeter struct{ metric.Meter }

func (m secondsMeter) Float64Histogram(name string, opts ...metric.Float64HistogramOption) (metric.Float64Histogram, error) {
	if c := metric.NewFloat64HistogramConfig(opts...); c.Unit() == "s" && c.ExplicitBucketBoundaries() == nil {
		opts = append(slices.Clip(opts), metric.WithExplicitBucketBoundaries(secondsOf(name)...))
	}
	return m.Meter.Float64Histogram(name, opts...)
}

func (m secondsMeter) Int64Histogram(name string, opts ...metric.Int64HistogramOption) (metric.Int64Histogram, error) {
	if c := metric.NewInt64HistogramConfig(opts...); c.Unit() == "s" && c.ExplicitBucketBoundaries() == nil {
		opts = append(slices.Clip(opts), metric.WithExplicitBucketBoundaries(secondsOf(name)...))
	}
	return m.Meter.Int64Histogram(name, opts...)
}

func secondsOf(name string) []float64 {
	if strings.HasPrefix(name, "db.") {
		return databaseSeconds
	}
	return requestSeconds
}

// metricExporter returns the OTLP exporter that OTEL_METRICS_EXPORTER asks for, or nil.
func metricExporter(ctx context.Context) (sdkmetric.Exporter, error) {
	// The scrape, which "prometheus" asks for, is always there.
	p, err := pushOf("METRICS", []string{"prometheus"}, []string{"OTEL_METRIC_EXPORT_INTERVAL", "OTEL_METRIC_EXPORT_TIMEOUT"})
	switch {
	case err != nil || !p.wanted:
		return nil, err
	case p.grpc:
		return otlpmetricgrpc.New(ctx)
	}
	return otlpmetrichttp.New(ctx)
}

// countedMetrics counts what could not be sent and keeps it from the global
// error handler, which could not say what it was.
type countedMetrics struct {
	sdkmetric.Exporter
	t *Telemetry
}

// Export returns an error only at the end, for Shutdown to return.
func (c countedMetrics) Export(ctx context.Context, data *metricdata.ResourceMetrics) error {
	err := c.Exporter.Export(ctx, data)
	if err == nil {
		return nil
	}
	n := 0
	for _, s := range data.ScopeMetrics {
		n += len(s.Metrics)
	}
	c.t.losses.add("metrics", "export_failed", n)
	if c.t.ending.Load() {
		return fmt.Errorf("%d could not be sent: %s", n, oneLine(err.Error()))
	}
	c.t.warn("metrics", "observe: metrics could not be sent; a later interval carries the totals", "metrics", n, "err", oneLine(err.Error()))
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
