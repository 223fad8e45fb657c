package observe

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/loadline-go/loadline/tracing"
)

// closedPort returns an address on which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestStartUnwindsOnError(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tracers, meters, propagator := otel.GetTracerProvider(), otel.GetMeterProvider(), otel.GetTextMapPropagator()
	goroutines := runtime.NumGoroutine()
	exporter := &mark{}
	tel, err := Start(t.Context(), Config{AdminAddr: taken.Addr().String(), Tracing: tracing.Config{Exporter: exporter}})
	if tel != nil || err == nil {
		t.Fatal("started on a taken port")
	}
	if want := "observe: Start: Config.AdminAddr: listen " + taken.Addr().String() + ": address already in use; choose another, or observe.Off"; err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if running.Load() != nil {
		t.Error("the process still counts as observed")
	}
	if otel.GetTracerProvider() != tracers || otel.GetMeterProvider() != meters || otel.GetTextMapPropagator() != propagator {
		t.Error("the globals were changed")
	}
	if !exporter.ended {
		t.Error("the exporter was not shut down")
	}
	for deadline := time.Now().Add(2 * time.Second); runtime.NumGoroutine() > goroutines; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines before, %d after", goroutines, runtime.NumGoroutine())
		}
	}
	start(t, Config{}) // and it can be tried again
}

func TestDefaultAdminAddressGivesWayWithOneWarning(t *testing.T) {
	taken, err := net.Listen("tcp", "localhost:9464")
	if err == nil {
		defer taken.Close()
	} // else somebody has it: just as well
	var log lines
	tel, err := Start(t.Context(), Config{Logger: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	defer tel.Shutdown(t.Context())
	if got := strings.Count(log.String(), "level=WARN"); got != 1 || !strings.Contains(log.String(), tel.AdminAddr()) {
		t.Errorf("%d warnings, want one that names %s:\n%s", got, tel.AdminAddr(), log.String())
	}
	r, err := http.Get("http://" + tel.AdminAddr() + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if r.StatusCode != 200 {
		t.Error(r.Status)
	}
}

func TestAddressFromAVariableDoesNotGiveWay(t *testing.T) {
	taken, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	t.Setenv("OTEL_EXPORTER_PROMETHEUS_PORT", port)
	tel, err := Start(t.Context(), Config{})
	if err == nil {
		tel.Shutdown(t.Context())
		t.Fatal("started elsewhere")
	}
	if want := "observe: Start: OTEL_EXPORTER_PROMETHEUS_PORT: listen localhost:" + port + ": address already in use; choose another"; err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestSecondStartIsAClearError(t *testing.T) {
	first := start(t, Config{Service: "shop"})
	tel, err := Start(t.Context(), Config{Service: "again", AdminAddr: Off})
	if tel != nil || err == nil || err.Error() != `observe: Start: this process is already observed as "shop"; Shutdown that one first` {
		t.Errorf("%v, %v", tel, err)
	}
	if otel.GetTracerProvider() != first.provider {
		t.Error("the second took the globals of the first")
	}
	if err := first.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := start(t, Config{Service: "again"})
	if otel.GetTracerProvider() != second.provider {
		t.Error("Start after Shutdown did not set the globals")
	}
}

func TestStartsAtOnceLeaveOne(t *testing.T) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var won []*Telemetry
	for range 8 {
		wg.Go(func() {
			tel, err := Start(context.Background(), Config{AdminAddr: Off})
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				won = append(won, tel)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Errorf("%d were started", len(won))
	}
	for _, tel := range won {
		tel.Shutdown(context.Background())
	}
}

func TestShutdownPutsTheGlobalsBack(t *testing.T) {
	tracers, meters := otel.GetTracerProvider(), otel.GetMeterProvider()
	tel := start(t, Config{})
	if otel.GetTracerProvider() == tracers || otel.GetMeterProvider() == meters {
		t.Fatal("the globals are not ours")
	}
	tel.Shutdown(t.Context())
	if otel.GetTracerProvider() != tracers || otel.GetMeterProvider() != meters {
		t.Error("the globals are still ours")
	}

	tel = start(t, Config{})
	theirs := sdktrace.NewTracerProvider()
	otel.SetTracerProvider(theirs)
	defer otel.SetTracerProvider(tracers)
	tel.Shutdown(t.Context())
	if otel.GetTracerProvider() != theirs {
		t.Error("Shutdown took away a provider that somebody set after Start")
	}
}

func TestOpenTelemetrysOwnLogComesOnceAMinute(t *testing.T) {
	var log lines
	start(t, Config{Logger: log.logger()})
	for range 3 { // a bad Config of the SDK's own, as a program may have it beside ours
		t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")
		e, err := otlpmetrichttp.New(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		e.Shutdown(t.Context())
	}
	if got := log.String(); strings.Count(got, `msg="observe: OpenTelemetry: parse duration" input=soon err=`) != 1 || strings.Count(got, "\n") != 1 {
		t.Error(got)
	}
}

func TestBaggageOfConfigIsCarriedByTheGlobalPropagator(t *testing.T) {
	start(t, Config{Tracing: tracing.Config{Baggage: []string{"tenant"}}})
	if got := strings.Join(otel.GetTextMapPropagator().Fields(), " "); !strings.Contains(got, "baggage") {
		t.Error(got)
	}
}

// hung is an exporter that takes nothing until its context ends, or ever.
type hung struct {
	discard
	ignore  bool // its context
	release chan struct{}
}

func (h hung) ExportSpans(ctx context.Context, _ []sdktrace.ReadOnlySpan) error {
	if h.ignore {
		<-h.release
		return nil
	}
	select {
	case <-ctx.Done():
	case <-h.release:
	}
	return ctx.Err()
}

func serveOne(tel *Telemetry) {
	tel.Handler(itemsMux()).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/items/1", nil))
}

func TestShutdownIsBoundedAndReturnsWhatCouldNotBeSent(t *testing.T) {
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	short, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	for _, test := range []struct {
		name   string
		ctx    context.Context
		ignore bool
	}{
		{"by Config.ShutdownTimeout", context.Background(), false},
		{"by Config.ShutdownTimeout where ctx has ended", canceled, false},
		{"by the deadline of ctx", short, false},
		{"with an exporter that ignores its context", context.Background(), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			release := make(chan struct{})
			defer close(release)
			tel, err := Start(context.Background(), Config{
				AdminAddr: Off, ShutdownTimeout: 2400 * time.Millisecond,
				Tracing: tracing.Config{Exporter: hung{ignore: test.ignore, release: release}, Sampler: sdktrace.AlwaysSample()},
			})
			if err != nil {
				t.Fatal(err)
			}
			serveOne(tel)
			start := time.Now()
			var wg sync.WaitGroup
			results := make([]error, 4)
			for i := range results {
				wg.Go(func() { results[i] = tel.Shutdown(test.ctx) })
			}
			wg.Wait()
			if took := time.Since(start); took > 8*time.Second {
				t.Errorf("took %v", took)
			}
			told := 0
			for _, err := range results {
				if err == nil || !strings.HasPrefix(err.Error(), "observe: Shutdown: ") || strings.Contains(err.Error(), "\n") {
					t.Errorf("returned %v", err)
				} else if strings.Contains(err.Error(), "1 spans could not be sent") {
					told++
				}
			}
			if told == 0 {
				t.Errorf("nobody was told of the span: %v", results)
			}
			if again := tel.Shutdown(context.Background()); again == nil || !strings.Contains(again.Error(), "1 spans could not be sent") {
				t.Errorf("a later call returned %v", again)
			}
			if got := family(t, tel, "observe_dropped_total")["reason=shutdown signal=traces"].GetCounter().GetValue(); got != 1 {
				t.Errorf("observe_dropped_total is %v, want 1", got)
			}
		})
	}
}

// stuck is a processor whose Shutdown never ends.
type stuck struct{ release chan struct{} }

func (stuck) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (stuck) OnEnd(sdktrace.ReadOnlySpan)                     {}
func (stuck) ForceFlush(context.Context) error                { return nil }
func (s stuck) Shutdown(context.Context) error                { <-s.release; return nil }

func TestShutdownLeavesAStuckProcessorBehind(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	tel, err := Start(context.Background(), Config{AdminAddr: Off, Tracing: tracing.Config{Processors: []sdktrace.SpanProcessor{stuck{release}}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	err = tel.Shutdown(ctx)
	if took := time.Since(began); took > time.Second {
		t.Errorf("took %v", took)
	}
	if err == nil {
		t.Error("returned nil")
	}
	start(t, Config{}) // the process is free again
}

// failing is an exporter that gives every batch up.
type failing struct{ discard }

func (failing) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error {
	return errors.New("the collector\nis not at home")
}

func TestLostSpansAreCountedAndLoggedOnce(t *testing.T) {
	var log lines
	tel := start(t, Config{Logger: log.logger(), Tracing: tracing.Config{Exporter: failing{}, Sampler: sdktrace.AlwaysSample()}})
	if got := family(t, tel, "observe_dropped_total"); got["reason=export_failed signal=traces"] == nil || got["reason=queue_full signal=traces"] == nil {
		t.Errorf("the zeros before the first loss are missing: %v", got)
	}
	for range 3 {
		serveOne(tel)
		tel.provider.Flush(t.Context())
	}
	if got := family(t, tel, "observe_dropped_total")["reason=export_failed signal=traces"].GetCounter().GetValue(); got != 3 {
		t.Errorf("observe_dropped_total is %v, want 3", got)
	}
	if got := strings.Count(log.String(), "level="); got != 1 {
		t.Errorf("%d records, want one a minute:\n%s", got, log.String())
	}
}

func TestNothingIsSentWithoutAnEndpoint(t *testing.T) {
	for _, name := range []string{"OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"} {
		t.Setenv(name, "")
		os.Unsetenv(name)
	}
	tel := start(t, Config{})
	if got := tel.provider.Stats().Exporters; len(got) != 0 {
		t.Errorf("traces go to %v", got)
	}
	if third, ok := otel.GetMeterProvider().(*thirdParty); !ok || third.push != nil {
		t.Errorf("metrics are pushed: %v %v", ok, third)
	}
}

func TestSDKDisabledLeavesTheScrape(t *testing.T) {
	t.Setenv("OTEL_SDK_DISABLED", "true")
	t.Setenv("OTEL_METRICS_EXPORTER", "otlp")
	t.Setenv("OTEL_TRACES_EXPORTER", "otlp")
	tel := start(t, Config{})
	serveOne(tel)
	if got := requests(t, tel); len(got) != 1 {
		t.Errorf("%v", got)
	}
	if otel.GetMeterProvider().(*thirdParty).push != nil || len(tel.provider.Stats().Exporters) != 0 {
		t.Error("something is sent")
	}
}

func TestNilTelemetryIsOff(t *testing.T) {
	var tel *Telemetry
	tel.Drain()
	tel.Check(Check{})
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if tel.AdminAddr() != "" {
		t.Error(tel.AdminAddr())
	}
	tel.Registry().MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "x", Help: "h"}))
	w := httptest.NewRecorder()
	tel.Admin().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 404 {
		t.Error(w.Code)
	}
	NewCounter[struct{}](tel, Metric{}).Add(t.Context(), struct{}{}, 1)
	NewGauge[struct{}](tel, Metric{}).Set(struct{}{}, 1)
	NewGauge[struct{}](tel, Metric{}).Add(struct{}{}, 1)
	NewHistogram[struct{}](tel, Metric{}).Observe(t.Context(), struct{}{}, 1)
}

func TestStartWithAnEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+closedPort(t))
	t.Setenv("OTEL_METRICS_EXPORTER", "otlp")
	tel, err := Start(ctx, Config{AdminAddr: Off, ShutdownTimeout: 100 * time.Millisecond})
	if err == nil {
		tel.Shutdown(ctx)
	} else if !strings.Contains(err.Error(), "context canceled") {
		t.Error(err)
	}
	if running.Load() != nil {
		t.Error("the process still counts as observed")
	}
}
