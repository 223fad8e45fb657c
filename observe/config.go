package observe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/url"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/loadline-go/loadline/leakcheck"
	"github.com/loadline-go/loadline/observe/capture"
	"github.com/loadline-go/loadline/observe/console"
	"github.com/loadline-go/loadline/runtimemetrics"
	"github.com/loadline-go/loadline/tracing"
)

// Off as Config.AdminAddr means no admin listener.
const Off = "off"

const (
	defaultAdminHost = "localhost"
	defaultAdminPort = "9464" // the Prometheus exporter's port in the OpenTelemetry specification
)

// Config says how a service is observed. The zero Config works. A field wins
// over its environment variable, which wins over the default.
type Config struct {
	// Service names the service in traces, logs and metrics.
	// Default: the name of the executable. Variable: OTEL_SERVICE_NAME.
	Service string

	// Version is the version of the service.
	// Default: the main module's version or revision from the build, else
	// "unknown". Variable: service.version in OTEL_RESOURCE_ATTRIBUTES.
	Version string

	// AdminAddr is where the admin pages listen: metrics, health, profiles.
	// Off means nowhere; Telemetry.Admin still gives the handler. The default
	// address gives way to a free port, with one warning, when it is taken; an
	// address that was asked for and cannot be had is an error.
	// Default: localhost:9464. Variables: OTEL_EXPORTER_PROMETHEUS_HOST, OTEL_EXPORTER_PROMETHEUS_PORT.
	AdminAddr string

	// AdminToken opens the admin pages to clients on other machines: as
	// "Authorization: Bearer", or typed once into the form at /login, which gives
	// a cookie for twelve hours. /metrics, /livez and /readyz need none, clients on this
	// machine neither. At least 16 characters; serve it over TLS or inside a network that you trust.
	// Default: none, so that only clients on this machine see the pages. Variable: OBSERVE_ADMIN_TOKEN.
	AdminToken string

	// AdminProxied lets requests in that came through a proxy, which X-Forwarded-For
	// and the like tell; they need the token, since a proxy on this machine speaks
	// for strangers. It is an error without AdminToken.
	// Default: false, they are refused. Variable: none.
	AdminProxied bool

	// ConsoleKeep is how long the console at the admin address keeps its figures,
	// at least a minute, in memory of a fixed size: less than 8 MB with 500 routes.
	// Negative: no console, an index in its place, and no logs with the traces.
	// Default: 15 min. Variable: none.
	ConsoleKeep time.Duration

	// MaxSeries bounds the label sets of each metric; what comes beyond is
	// counted under the label value "other".
	// Default: 2000, the cardinality limit of the OpenTelemetry specification.
	MaxSeries int

	// Buckets replaces the upper bounds of a metric's classic buckets, by
	// metric name; ascending, without +Inf. Native histograms are not affected.
	// Default: what the semantic conventions advise.
	Buckets map[string][]float64

	// Interval is the time between two samples of the runtime; at least 100 ms.
	// Default: 5 s.
	Interval time.Duration

	// MemoryLimitShare, from 0 to 1, keeps GOMEMLIMIT at this share of the
	// cgroup's memory limit, also when that changes; 0.9 leaves a tenth to what
	// the runtime does not count. A limit that the program or GOMEMLIMIT sets is
	// never touched. The last one stays after Shutdown.
	// Default: 0, GOMEMLIMIT is left alone. Variable: none.
	MemoryLimitShare float64

	// DrainDelay is how long Serve keeps serving after /readyz began to fail,
	// so that load balancers take the instance out first. Negative: none.
	// Default: 5 s in Kubernetes (KUBERNETES_SERVICE_HOST is set), else none.
	DrainDelay time.Duration

	// ShutdownTimeout bounds the wait for running requests in Serve, and then
	// once more the sending of what telemetry is left.
	// Default: 10 s.
	ShutdownTimeout time.Duration

	// Saturation says when the instance has more work than it can do; /readyz
	// then fails by the check "saturation", /livez never.
	// Default: never.
	Saturation Saturation

	// Tracing says which requests are traced and where the spans go. Its
	// Service, Version and Logger are taken from this Config where empty.
	// Trace Context and Tracing.Baggage go between services; OTEL_PROPAGATORS may
	// name tracecontext and baggage, and another is an error.
	// Default: nothing is sent anywhere. Variables: OTEL_TRACES_*, OTEL_EXPORTER_OTLP_*, OTEL_BSP_*.
	Tracing tracing.Config

	// DiagnoseEvery is how long the doctor looks before it says what is the
	// matter: at /debug/doctor, in observe_finding_active and in the log. At least
	// 1 s; short intervals hold too few requests to be sure of anything, and with
	// them what is usual is sooner forgotten. A diagnosis that does not know who is
	// to blame takes profiles of at most a quarter of it. Negative: no doctor.
	// Default: 10 s. Variable: none.
	DiagnoseEvery time.Duration

	// ProfileEvery is the time between two CPU profiles of ten seconds that the
	// process takes of itself: the last six are at /debug/profiles, and
	// observe_cpu_seconds_total divides CPU time among the routes by them. While
	// somebody else profiles, none is taken. Below 20 s a profile is half as
	// long; at least 1 s. The profiles of locks (one contention in a hundred,
	// unless the program has set a fraction) and of waiting (by time, one sample
	// for 100 us) are on as well; a program that wants other rates sets them
	// after Start. Negative: none of these, and nothing is pushed.
	// Default: 1 min. Variable: none.
	ProfileEvery time.Duration

	// Profiles says where profiles are pushed to, and what profiling may cost.
	// Default: nowhere, 1 % of the CPU. Variables: PYROSCOPE_SERVER_ADDRESS and others.
	Profiles Profiles

	// Captures says where the evidence of bad moments is kept and how much of
	// it: see capture.Config. A slow request or job, memory near its limit, a
	// leak, what Triggers say, and Telemetry.Capture make a bundle there; a crash
	// leaves one to the next start. Dir is Off for none. Captures.About, Captures.Starved and
	// Captures.Parts are added to what observe has itself.
	// Default: <user's cache>/loadline/<Service>. Variable: none.
	Captures capture.Config

	// Triggers say which states of the process make a capture: scheduler latency,
	// CPU, a jump in goroutines, and a signal.
	// Default: the first three. Variable: none.
	Triggers Triggers

	// Leaks says how the service is watched for what only grows: goroutines,
	// heap, descriptors. Suspects are logged, counted in observe_leak_suspects
	// and shown at /debug/leaks; a new one makes a capture. Load is the
	// server's where it is nil.
	// Default: a look a minute that stops the program for 10 ms at most, in ten
	// minutes altogether. Variable: none.
	Leaks leakcheck.Config

	// NoLeaks turns that watch off.
	// Default: false. Variable: none.
	NoLeaks bool

	// SlowQuery is how long a statement may take before OpenDB logs it, as
	// "observe: slow query" at level warning with its summary, its text without
	// literals and its trace_id, at most 5 a second for each database. Negative:
	// never.
	// Default: 1 s, from which on late sampling keeps a trace, too.
	SlowQuery time.Duration

	// RepeatedQueries is how often one request, or any other local root of a
	// trace, may run queries of one summary, as "SELECT items", before that
	// counts as a query in a loop: observe_db_repeated_queries_total and an event
	// on the root's span. Negative: that is not looked for.
	// Default: 10, more than a page that loads its parts one by one has of one kind.
	RepeatedQueries int

	// Redact names further secrets: attributes of log records and parameters of
	// URLs, in any case, whose values never leave the process.
	// Default: the usual names of tokens, keys and passwords, in URLs only.
	Redact []string

	// Headers names the request headers that server spans carry, in any case,
	// as http.request.header.<name>: headers hold cookies and credentials, so
	// none is taken that is not named.
	// Default: none.
	Headers []string

	// QueueHeader names the request header into which the proxy in front writes
	// when it got the request, such as X-Request-Start: seconds, milli-, micro-
	// or nanoseconds since 1970, with "t=" in front or not, as nginx ("t=${msec}"),
	// HAProxy and Heroku do. The time up to the handler is measured. Name it only
	// where the proxy sets it on every request: a client could send any other.
	// Default: none.
	QueueHeader string

	// Probes names paths that are asked to know how the process is, besides
	// /livez, /readyz, /healthz and /metrics: such requests are counted apart
	// and make no trace.
	// Default: none.
	Probes []string

	// SLOs are what the service's users are promised. How many requests kept
	// each of them is counted from the start, for rules that tell how fast the
	// rest of the promise is used up; see SLO.
	// Default: none, and the rules assume two of their own.
	SLOs []SLO

	// Logger takes Loadline's own records, a few in a service's life.
	// Default: slog.Default() at the time of each record.
	Logger *slog.Logger

	adminFrom string // what asked for AdminAddr; empty: nothing did
}

// withDefaults returns c with every field set, and all that is wrong with it,
// a line for each field. What is wrong inside Tracing is left to its provider.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	wrong := func(field, format string, a ...any) {
		errs = append(errs, fmt.Errorf("Config."+field+": "+format, a...))
	}

	if c.Service == "" {
		c.Service = os.Getenv("OTEL_SERVICE_NAME")
	}
	if c.Service == "" {
		c.Service = resourceAttribute("service.name")
	}
	if c.Service == "" {
		c.Service = strings.TrimSuffix(programName(), ".exe")
	}
	if c.Version == "" {
		c.Version = resourceAttribute("service.version")
	}
	if c.Version == "" {
		c.Version = buildVersion()
	}

	c.adminFrom = "Config.AdminAddr"
	asked := c.AdminAddr // as it was written
	if asked == "" {
		const hostVar, portVar = "OTEL_EXPORTER_PROMETHEUS_HOST", "OTEL_EXPORTER_PROMETHEUS_PORT"
		host, port := strings.TrimSpace(os.Getenv(hostVar)), strings.TrimSpace(os.Getenv(portVar))
		switch {
		case port != "":
			c.adminFrom, asked = portVar, port
		case host != "":
			c.adminFrom = hostVar
		default:
			c.adminFrom = ""
		}
		c.AdminAddr = net.JoinHostPort(cmp.Or(host, defaultAdminHost), cmp.Or(port, defaultAdminPort))
	}
	if c.AdminAddr != Off {
		if _, port, err := net.SplitHostPort(c.AdminAddr); err != nil {
			wrong("AdminAddr", "%q: want host:port, :port or %q", clip(c.AdminAddr, 80), Off)
		} else if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
			errs = append(errs, fmt.Errorf("%s: %q: the port is not a number from 0 to 65535", c.adminFrom, clip(asked, 80)))
		}
	}

	if c.AdminToken == "" {
		c.AdminToken = os.Getenv("OBSERVE_ADMIN_TOKEN")
	}
	switch {
	case c.AdminToken != "" && len(c.AdminToken) < minAdminToken:
		wrong("AdminToken", "%d characters can be guessed; want %d", len(c.AdminToken), minAdminToken)
	case c.AdminToken == "" && c.AdminProxied:
		wrong("AdminProxied", "is for requests with the token; set AdminToken")
	}
	switch {
	case c.ConsoleKeep == 0:
		c.ConsoleKeep = console.DefaultKeep
	case c.ConsoleKeep > 0 && c.ConsoleKeep < time.Minute:
		wrong("ConsoleKeep", "%v is below 1m", c.ConsoleKeep)
	}

	switch {
	case c.MaxSeries < 0:
		wrong("MaxSeries", "%d is negative", c.MaxSeries)
	case c.MaxSeries == 0:
		c.MaxSeries = 2000
	}
	known := All()
	for _, name := range slices.Sorted(maps.Keys(c.Buckets)) {
		bounds := c.Buckets[name]
		i := slices.IndexFunc(known, func(d Description) bool { return d.Name == name })
		switch {
		case i < 0 || known[i].Kind != runtimemetrics.Histogram:
			wrong("Buckets", "%q is no histogram of observe.All", clip(name, 80))
		case !slices.ContainsFunc(own(), func(d Description) bool { return d.Name == name }):
			wrong("Buckets", "%s: its bounds are the runtime's and fixed", name)
		case len(bounds) == 0:
			wrong("Buckets", "%s: no bounds", name)
		case !ascending(bounds):
			wrong("Buckets", "%s: %v are not finite numbers in ascending order", name, bounds)
		}
	}
	switch {
	case c.Interval == 0:
		c.Interval = 5 * time.Second
	case c.Interval < 100*time.Millisecond:
		wrong("Interval", "%v is below 100ms", c.Interval)
	}
	switch {
	case c.DiagnoseEvery == 0:
		c.DiagnoseEvery = 10 * time.Second
	case c.DiagnoseEvery > 0 && c.DiagnoseEvery < time.Second:
		wrong("DiagnoseEvery", "%v is below 1s", c.DiagnoseEvery)
	}
	switch {
	case c.ProfileEvery == 0:
		c.ProfileEvery = time.Minute
	case c.ProfileEvery > 0 && c.ProfileEvery < time.Second:
		wrong("ProfileEvery", "%v is below 1s", c.ProfileEvery)
	}
	c.Profiles = c.Profiles.withDefaults(wrong)
	switch {
	case c.SlowQuery == 0:
		c.SlowQuery = time.Second
	case c.SlowQuery < 0:
		c.SlowQuery = math.MaxInt64
	}
	if c.RepeatedQueries == 0 {
		c.RepeatedQueries = 10
	}
	if !(c.MemoryLimitShare >= 0 && c.MemoryLimitShare <= 1) { // NaN is neither
		wrong("MemoryLimitShare", "%v is not from 0 to 1", c.MemoryLimitShare)
	}
	switch {
	case c.DrainDelay < 0:
		c.DrainDelay = 0
	case c.DrainDelay == 0 && os.Getenv("KUBERNETES_SERVICE_HOST") != "":
		c.DrainDelay = 5 * time.Second
	}
	switch {
	case c.ShutdownTimeout < 0:
		wrong("ShutdownTimeout", "%v is negative", c.ShutdownTimeout)
	case c.ShutdownTimeout == 0:
		c.ShutdownTimeout = 10 * time.Second
	}
	if strings.ContainsFunc(c.QueueHeader, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r) }) {
		wrong("QueueHeader", "%q is no name of a header", clip(c.QueueHeader, 80))
	}
	for i, path := range c.Probes {
		if !strings.HasPrefix(path, "/") {
			wrong(fmt.Sprintf("Probes[%d]", i), "%q: want a path, like /ping", clip(path, 80))
		}
	}
	for i, o := range c.SLOs {
		o.check(func(field, format string, a ...any) { wrong(fmt.Sprintf("SLOs[%d].%s", i, field), format, a...) })
		if first := slices.IndexFunc(c.SLOs, func(other SLO) bool { return other.Name == o.Name }); first < i {
			wrong(fmt.Sprintf("SLOs[%d].Name", i), "%q is that of SLOs[%d], too", clip(o.Name, 80), first)
		}
	}
	var triggers error
	if c.Triggers, triggers = c.Triggers.withDefaults(); triggers != nil {
		errs = append(errs, triggers)
	}
	if c.Saturation.SchedDelay < 0 {
		wrong("Saturation.SchedDelay", "%v is negative", c.Saturation.SchedDelay)
	}
	if !(c.Saturation.MemoryHeadroom >= 0 && c.Saturation.MemoryHeadroom < 1) {
		wrong("Saturation.MemoryHeadroom", "%v is not from 0 to below 1", c.Saturation.MemoryHeadroom)
	}
	if err := propagators(); err != nil {
		errs = append(errs, err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := leakcheck.Watch(ended, c.Leaks, nil); err != nil { // it only checks
		for line := range strings.SplitSeq(err.Error(), "\n") {
			errs = append(errs, errors.New("Config.Leaks."+line[strings.LastIndex(line, "Config.")+len("Config."):]))
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(currentDefault{})
	}
	if c.Tracing.Service == "" {
		c.Tracing.Service = c.Service
	}
	if c.Tracing.Version == "" {
		c.Tracing.Version = c.Version
	}
	c.SLOs = slices.Clone(c.SLOs)
	c.Tracing.Redact = slices.Concat(c.Tracing.Redact, c.Redact)
	if c.Tracing.Logger == nil {
		c.Tracing.Logger = c.Logger
	}
	return c, errors.Join(errs...)
}

// ascending tells whether bounds can be those of classic buckets.
func ascending(bounds []float64) bool {
	for i, b := range bounds {
		if math.IsNaN(b) || math.IsInf(b, 0) || i > 0 && b <= bounds[i-1] {
			return false
		}
	}
	return true
}

// resourceAttribute reads one attribute of OTEL_RESOURCE_ATTRIBUTES,
// "key=value,key=value", percent-encoded; what is malformed there is the trace
// provider's to report.
func resourceAttribute(key string) string {
	for pair := range strings.SplitSeq(os.Getenv("OTEL_RESOURCE_ATTRIBUTES"), ",") {
		if k, v, ok := strings.Cut(pair, "="); ok && strings.TrimSpace(k) == key {
			v = strings.TrimSpace(v)
			if plain, err := url.PathUnescape(v); err == nil {
				return plain
			}
			return v
		}
	}
	return ""
}

func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return "unknown"
}
