package observe

import (
	"cmp"
	"context"
	"log/slog"
	"math"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel"

	"github.com/loadline-go/loadline/tracing"
)

func TestZeroConfigWorks(t *testing.T) {
	c, err := Config{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if c.Service == "" || c.Version == "" || c.Logger == nil || c.MaxSeries != 2000 || c.Interval != 5*time.Second ||
		c.ShutdownTimeout != 10*time.Second || c.AdminAddr != "localhost:9464" || c.adminFrom != "" {
		t.Errorf("%+v", c)
	}
}

func TestConfigFieldsWinOverVariablesWinOverDefaults(t *testing.T) {
	tests := []struct {
		name string
		env  map[string]string
		in   Config
		got  func(Config) any
		want any
	}{
		{"service from its variable", map[string]string{"OTEL_SERVICE_NAME": "env"}, Config{}, func(c Config) any { return c.Service }, "env"},
		{"service from the field", map[string]string{"OTEL_SERVICE_NAME": "env"}, Config{Service: "field"}, func(c Config) any { return c.Service }, "field"},
		{"service from the resource", map[string]string{"OTEL_RESOURCE_ATTRIBUTES": "a=b, service.name=the%20shop"}, Config{}, func(c Config) any { return c.Service }, "the shop"},
		{"the service's variable wins over the resource", map[string]string{"OTEL_SERVICE_NAME": "env", "OTEL_RESOURCE_ATTRIBUTES": "service.name=res"}, Config{}, func(c Config) any { return c.Service }, "env"},
		{"version from the resource", map[string]string{"OTEL_RESOURCE_ATTRIBUTES": "service.version=1.2"}, Config{}, func(c Config) any { return c.Version }, "1.2"},
		{"version from the field", map[string]string{"OTEL_RESOURCE_ATTRIBUTES": "service.version=1.2"}, Config{Version: "3"}, func(c Config) any { return c.Version }, "3"},
		{"traces carry the service", nil, Config{Service: "shop"}, func(c Config) any { return c.Tracing.Service }, "shop"},
		{"traces may have another", nil, Config{Service: "shop", Tracing: tracing.Config{Service: "x"}}, func(c Config) any { return c.Tracing.Service }, "x"},
		{"admin port", map[string]string{"OTEL_EXPORTER_PROMETHEUS_PORT": "9999"}, Config{}, func(c Config) any { return c.AdminAddr }, "localhost:9999"},
		{"admin host", map[string]string{"OTEL_EXPORTER_PROMETHEUS_HOST": "::1"}, Config{}, func(c Config) any { return c.AdminAddr }, "[::1]:9464"},
		{"admin field", map[string]string{"OTEL_EXPORTER_PROMETHEUS_PORT": "9999"}, Config{AdminAddr: ":1"}, func(c Config) any { return c.AdminAddr }, ":1"},
		{"a field wins over a bad variable", map[string]string{"OTEL_EXPORTER_PROMETHEUS_PORT": "x"}, Config{AdminAddr: Off}, func(c Config) any { return c.AdminAddr }, Off},
		{"an address from a variable is asked for", map[string]string{"OTEL_EXPORTER_PROMETHEUS_PORT": "9464"}, Config{}, func(c Config) any { return c.adminFrom }, "OTEL_EXPORTER_PROMETHEUS_PORT"},
		{"profiles from the variable", map[string]string{"PYROSCOPE_SERVER_ADDRESS": " http://p:4040 "}, Config{}, func(c Config) any { return c.Profiles.Server }, "http://p:4040"},
		{"profiles from the field", map[string]string{"PYROSCOPE_SERVER_ADDRESS": "http://p:4040", "PYROSCOPE_TENANT_ID": "t"}, Config{Profiles: Profiles{Server: "https://q", Tenant: "u"}},
			func(c Config) any { return c.Profiles.Server + " " + c.Profiles.Tenant }, "https://q u"},
		{"the budget of profiling", nil, Config{}, func(c Config) any { return c.Profiles.Budget }, 0.01},
		{"delay in Kubernetes", map[string]string{"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, Config{}, func(c Config) any { return c.DrainDelay }, 5 * time.Second},
		{"no delay elsewhere", map[string]string{"KUBERNETES_SERVICE_HOST": ""}, Config{}, func(c Config) any { return c.DrainDelay }, time.Duration(0)},
		{"no delay by word", map[string]string{"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, Config{DrainDelay: -1}, func(c Config) any { return c.DrainDelay }, time.Duration(0)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for k, v := range test.env {
				t.Setenv(k, v)
			}
			c, err := test.in.withDefaults()
			if err != nil {
				t.Fatal(err)
			}
			if got := test.got(c); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestEachConfigMistakeIsToldByItsName(t *testing.T) {
	tests := []struct {
		env  map[string]string
		in   Config
		want string
	}{
		{nil, Config{AdminAddr: "localhost"}, `Config.AdminAddr: "localhost": want host:port, :port or "off"`},
		{nil, Config{AdminAddr: ":http"}, `Config.AdminAddr: ":http": the port is not a number from 0 to 65535`},
		{nil, Config{AdminAddr: ":65536"}, `Config.AdminAddr: ":65536": the port is not a number from 0 to 65535`},
		{map[string]string{"OTEL_EXPORTER_PROMETHEUS_PORT": "-1"}, Config{}, `OTEL_EXPORTER_PROMETHEUS_PORT: "-1": the port is not a number from 0 to 65535`},
		{nil, Config{MaxSeries: -1}, `Config.MaxSeries: -1 is negative`},
		{nil, Config{Interval: time.Millisecond}, `Config.Interval: 1ms is below 100ms`},
		{nil, Config{DiagnoseEvery: time.Millisecond}, `Config.DiagnoseEvery: 1ms is below 1s`},
		{nil, Config{Profiles: Profiles{Server: "pyroscope:4040"}}, `Config.Profiles.Server: want a URL like http://pyroscope:4040`},
		{map[string]string{"PYROSCOPE_SERVER_ADDRESS": "http://user:secret@a b"}, Config{}, `Config.Profiles.Server (PYROSCOPE_SERVER_ADDRESS): want a URL like http://pyroscope:4040`},
		{map[string]string{"PYROSCOPE_BASIC_AUTH_USER": "7"}, Config{Profiles: Profiles{Server: "http://a"}}, `Config.Profiles.User: User and Password go together, and one of them is empty`},
		{nil, Config{Profiles: Profiles{Labels: map[string]string{"a-b": "c"}}}, `Config.Profiles.Labels: "a-b": want letters, digits, dots and underscores, and not __ in front`},
		{nil, Config{Profiles: Profiles{Budget: -0.1}}, `Config.Profiles.Budget: -0.1 is not from 0 to 1`},
		{nil, Config{Profiles: Profiles{Budget: math.NaN()}}, `Config.Profiles.Budget: NaN is not from 0 to 1`},
		{nil, Config{MemoryLimitShare: 1.1}, `Config.MemoryLimitShare: 1.1 is not from 0 to 1`},
		{nil, Config{MemoryLimitShare: -.1}, `Config.MemoryLimitShare: -0.1 is not from 0 to 1`},
		{nil, Config{MemoryLimitShare: math.NaN()}, `Config.MemoryLimitShare: NaN is not from 0 to 1`},
		{nil, Config{QueueHeader: "X-Request Start"}, `Config.QueueHeader: "X-Request Start" is no name of a header`},
		{nil, Config{Probes: []string{"/ping", "health"}}, `Config.Probes[1]: "health": want a path, like /ping`},
		{nil, Config{Saturation: Saturation{SchedDelay: -1}}, `Config.Saturation.SchedDelay: -1ns is negative`},
		{nil, Config{Saturation: Saturation{MemoryHeadroom: 1}}, `Config.Saturation.MemoryHeadroom: 1 is not from 0 to below 1`},
		{nil, Config{Saturation: Saturation{MemoryHeadroom: math.NaN()}}, `Config.Saturation.MemoryHeadroom: NaN is not from 0 to below 1`},
		{nil, Config{SLOs: []SLO{{Objective: .9}}}, `Config.SLOs[0].Name: "": want up to 63 letters, digits, dots, underscores and hyphens`},
		{nil, Config{SLOs: []SLO{{Name: "a", Objective: .9}, {Name: "b c", Objective: .9}}}, `Config.SLOs[1].Name: "b c": want up to 63 letters, digits, dots, underscores and hyphens`},
		{nil, Config{SLOs: []SLO{{Name: "a", Objective: .9}, {Name: "a", Objective: .9}}}, `Config.SLOs[1].Name: "a" is that of SLOs[0], too`},
		{nil, Config{SLOs: []SLO{{Name: "a", Objective: 99.9}}}, `Config.SLOs[0].Objective: 99.9 is not above 0 and below 1`},
		{nil, Config{SLOs: []SLO{{Name: "a", Objective: math.NaN()}}}, `Config.SLOs[0].Objective: NaN is not above 0 and below 1`},
		{nil, Config{SLOs: []SLO{{Name: "a", Objective: .9, Latency: -1}}}, `Config.SLOs[0].Latency: -1ns is negative`},
		{nil, Config{SLOs: []SLO{{Name: "a", Objective: .9, Route: "orders"}}}, `Config.SLOs[0].Route: "orders": want a pattern, like "/orders/{id}" or "GET /orders/{id}"`},
		{nil, Config{ShutdownTimeout: -time.Second}, `Config.ShutdownTimeout: -1s is negative`},
		{nil, Config{Buckets: map[string][]float64{"x_seconds": {1}}}, `Config.Buckets: "x_seconds" is no histogram of observe.All`},
		{nil, Config{Buckets: map[string][]float64{"observe_ready": {1}}}, `Config.Buckets: "observe_ready" is no histogram of observe.All`},
		{nil, Config{Buckets: map[string][]float64{"go_schedule_duration_seconds": {1}}}, `Config.Buckets: go_schedule_duration_seconds: its bounds are the runtime's and fixed`},
		{nil, Config{Buckets: map[string][]float64{dbDuration.Name: {}}}, `Config.Buckets: db_client_operation_duration_seconds: no bounds`},
		{nil, Config{Buckets: map[string][]float64{dbDuration.Name: {1, 1}}}, `Config.Buckets: db_client_operation_duration_seconds: [1 1] are not finite numbers in ascending order`},
		{nil, Config{Buckets: map[string][]float64{dbDuration.Name: {1, math.Inf(1)}}}, `Config.Buckets: db_client_operation_duration_seconds: [1 +Inf] are not finite numbers in ascending order`},
		{map[string]string{"OTEL_TRACES_SAMPLER": "most"}, Config{}, `tracing: OTEL_TRACES_SAMPLER: "most" is none of always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off, parentbased_traceidratio`},
		{map[string]string{"OTEL_METRICS_EXPORTER": "csv"}, Config{}, `OTEL_METRICS_EXPORTER: "csv" is none of otlp, none, prometheus`},
		{map[string]string{"OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/json"}, Config{}, `OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: "http/json" is neither http/protobuf nor grpc`},
		{map[string]string{"OTEL_METRICS_EXPORTER": "otlp", "OTEL_METRIC_EXPORT_INTERVAL": "10s"}, Config{}, `OTEL_METRIC_EXPORT_INTERVAL: "10s" is not a number above 0`},
		{map[string]string{"OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "collector:4318"}, Config{}, `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: "collector:4318" is not a URL such as http://collector:4318`},
		{map[string]string{"OTEL_METRICS_EXPORTER": "otlp", "OTEL_LOGS_EXPORTER": "otlp", "OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_CERTIFICATE": "/no/such"},
			Config{}, `OTEL_EXPORTER_OTLP_CERTIFICATE: open /no/such: no such file or directory`},
		{map[string]string{"OTEL_PROPAGATORS": "tracecontext,b3"}, Config{}, `OTEL_PROPAGATORS: "b3" is neither tracecontext nor baggage; there are no others`},
		{nil, Config{Service: "\xff"}, `tracing: Config.Service: "service.name"="\xff" is not UTF-8`},
		{nil, Config{AdminAddr: "300.0.0.1:1"}, `Config.AdminAddr: listen 300.0.0.1:1: lookup 300.0.0.1: no such host; choose another, or observe.Off`},
	}
	for _, test := range tests {
		t.Run(test.want, func(t *testing.T) {
			for k, v := range test.env {
				t.Setenv(k, v)
			}
			if test.env["OTEL_EXPORTER_PROMETHEUS_PORT"] == "" {
				test.in.AdminAddr = cmp.Or(test.in.AdminAddr, Off)
			}
			tel, err := Start(t.Context(), test.in)
			if tel != nil || err == nil {
				tel.Shutdown(t.Context())
				t.Fatal("started")
			}
			if got := err.Error(); got != "observe: Start: "+test.want {
				t.Errorf("got  %s\nwant observe: Start: %s", got, test.want)
			}
			if running.Load() != nil {
				t.Error("the process still counts as observed")
			}
		})
	}
}

// mark is an exporter and remembers whether it was shut down.
type mark struct {
	discard
	ended bool
}

func (m *mark) Shutdown(context.Context) error { m.ended = true; return nil }

func TestAllConfigMistakesAreToldAtOnceAndNothingIsStarted(t *testing.T) {
	t.Setenv("OTEL_TRACES_SAMPLER", "most")
	t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "many")
	t.Setenv("OTEL_METRICS_EXPORTER", "csv")
	before := otel.GetTracerProvider()
	var log lines
	exporter := &mark{}
	_, err := Start(t.Context(), Config{
		MaxSeries: -1, Interval: 1, AdminAddr: "nowhere", Logger: log.logger(),
		Buckets: map[string][]float64{"b": nil, "a": nil},
		Tracing: tracing.Config{Exporter: exporter, Late: tracing.Late{Factor: 0.5}},
	})
	if err == nil {
		t.Fatal("started")
	}
	var fields []string
	for line := range strings.SplitSeq(strings.TrimPrefix(err.Error(), "observe: Start: "), "\n") {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "tracing: "), ":")
		fields = append(fields, name)
	}
	want := "Config.AdminAddr Config.MaxSeries Config.Buckets Config.Buckets Config.Interval OTEL_METRICS_EXPORTER " +
		"OTEL_TRACES_SAMPLER OTEL_BSP_MAX_QUEUE_SIZE Config.Late.Factor"
	if got := strings.Join(fields, " "); got != want {
		t.Errorf("got  %s\nwant %s\nin:\n%v", got, want, err)
	}
	if exporter.ended {
		t.Error("the caller's exporter was shut down, though it was never used")
	}
	if otel.GetTracerProvider() != before || running.Load() != nil || log.String() != "" {
		t.Error("something was begun")
	}
}

func TestMemoryLimitShareReachesTheSampler(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1)) // which a limited cgroup changes
	tel, err := Start(t.Context(), Config{AdminAddr: Off, MemoryLimitShare: .9})
	if err != nil {
		t.Fatal(err)
	}
	defer tel.Shutdown(t.Context())
	if got := tel.sampler.MemoryLimitShare; got != .9 {
		t.Errorf("the sampler keeps a share of %v, want 0.9", got)
	}
}

func TestDefaultLoggerIsTheOneOfTheMoment(t *testing.T) {
	c, err := Config{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	old := slog.Default()
	defer slog.SetDefault(old)
	var log lines
	slog.SetDefault(log.logger())
	c.Logger.With("a", 1).WithGroup("g").Info("hello", "b", 2)
	c.Logger.Debug("unheard")
	if got := log.String(); !strings.Contains(got, "msg=hello a=1 g.b=2") || strings.Contains(got, "unheard") {
		t.Error(got)
	}
}
