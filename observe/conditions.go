package observe

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
)

// conditions is /debug/config: what holds, where it came from, and whether
// those that telemetry is sent to answer.
type conditions struct {
	Fields    []conditionField    `json:"fields"`
	Variables []conditionVariable `json:"variables"`
	Backends  []conditionBackend  `json:"backends"`
	Exporters []conditionExporter `json:"exporters"`
	Checks    []checkReport       `json:"checks"`
	LogLevel  string              `json:"log_level"` // "default", or what was set at run time
	LogUsed   bool                `json:"log_handler"`
}

// conditionField is one field of Config.
type conditionField struct {
	Field string `json:"field"`
	Value string `json:"value"`
	From  string `json:"from"` // field, default, or the variable's name
}

// conditionVariable is a variable of the environment that telemetry goes by.
type conditionVariable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// conditionBackend is a receiver of telemetry.
type conditionBackend struct {
	Variable string  `json:"variable"`
	Endpoint string  `json:"endpoint"`
	Answers  bool    `json:"answers"`
	Detail   string  `json:"detail"`
	Seconds  float64 `json:"seconds"`
}

// conditionExporter is what became of the spans for one exporter.
type conditionExporter struct {
	Name     string           `json:"name"`
	Exported int64            `json:"exported"`
	Queued   int64            `json:"queued"`
	Capacity int64            `json:"capacity"`
	Dropped  map[string]int64 `json:"dropped"`
}

// Variables that a field gives way to.
var fieldVariables = map[string][]string{
	"Service":          {"OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"},
	"Version":          {"OTEL_RESOURCE_ATTRIBUTES"},
	"AdminAddr":        {"OTEL_EXPORTER_PROMETHEUS_PORT", "OTEL_EXPORTER_PROMETHEUS_HOST"},
	"AdminToken":       {"OBSERVE_ADMIN_TOKEN"},
	"Tracing.Sampler":  {"OTEL_TRACES_SAMPLER"},
	"Tracing.Exporter": {"OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"},
	"Tracing.Disabled": {"OTEL_SDK_DISABLED"},
	"Tracing.Service":  {"OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"},
	"Tracing.Version":  {"OTEL_RESOURCE_ATTRIBUTES"},
}

// endpointVariables name those that telemetry is sent to.
var endpointVariables = []string{
	"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
	"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "PYROSCOPE_SERVER_ADDRESS",
}

// backendTimeout is how long a backend may take to accept a connection.
const backendTimeout = time.Second

func (t *Telemetry) conditions(ctx context.Context) conditions {
	c := conditions{Variables: variables(os.Environ()), LogLevel: t.logLevel.String(), LogUsed: t.logLevel.used.Load(), Exporters: []conditionExporter{}}
	c.Fields = fieldsOf(nil, "", reflect.ValueOf(t.asked), reflect.ValueOf(t.config))
	for i, f := range c.Fields {
		switch {
		case f.Field == "AdminAddr" && t.address != "":
			c.Fields[i].Value = t.address
		case f.Field == "Captures.Dir" && f.From == "default":
			c.Fields[i].Value = oneLine(captureDir(t.config.Service))
		}
	}
	c.Backends = backends(ctx)
	for _, e := range t.provider.Stats().Exporters {
		c.Exporters = append(c.Exporters, conditionExporter{e.Name, e.Exported, e.Queued, e.Capacity, e.Dropped})
	}
	results, ok := t.health.run(ctx)
	c.Checks = t.health.report(results, ok).Checks
	return c
}

// fieldsOf lists the fields of a Config and of those within.
func fieldsOf(rows []conditionField, prefix string, asked, effective reflect.Value) []conditionField {
	for i := range effective.NumField() {
		f := effective.Type().Field(i)
		if !f.IsExported() {
			continue
		}
		name := prefix + f.Name
		if f.Type.Kind() == reflect.Struct && f.Type.NumField() > 0 && f.Type != reflect.TypeFor[time.Time]() {
			rows = fieldsOf(rows, name+".", asked.Field(i), effective.Field(i))
			continue
		}
		row := conditionField{Field: name, Value: shown(name, effective.Field(i)), From: "default"}
		if !asked.Field(i).IsZero() {
			row.From = "field"
		} else if at := slices.IndexFunc(fieldVariables[name], func(v string) bool { return os.Getenv(v) != "" }); at >= 0 {
			row.From = fieldVariables[name][at]
		}
		if prefix != "" && row.From == "default" && effective.Field(i).IsZero() && f.Type.Kind() != reflect.Bool {
			row.Value = "default" // which its package knows
		}
		rows = append(rows, row)
	}
	return rows
}

// shown prints a value for a reader, and no secret.
func shown(name string, v reflect.Value) string {
	if secretName(name) {
		if v.IsZero() {
			return "none"
		}
		return redacted
	}
	switch v.Kind() {
	case reflect.Func, reflect.Chan, reflect.UnsafePointer, reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return "none"
		}
		if v.Kind() == reflect.Interface {
			return clip(v.Elem().Type().String(), 80)
		}
		return "set"
	case reflect.Slice, reflect.Map:
		if v.Len() == 0 {
			return "none"
		}
		if k := v.Type().Elem().Kind(); k == reflect.Interface || k == reflect.Func || k == reflect.Struct && v.Type().Elem() != reflect.TypeFor[SLO]() {
			return fmt.Sprintf("%d set", v.Len())
		}
	case reflect.String:
		if v.String() == "" {
			return "none"
		}
		return oneLine(withoutUser(v.String()))
	}
	return oneLine(fmt.Sprintf("%v", v))
}

// secretName tells names whose values nobody may see.
func secretName(name string) bool {
	name = strings.ToUpper(name)
	for _, part := range []string{"TOKEN", "_HEADERS", "PASSWORD", "SECRET", "_KEY", "AUTH"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// withoutUser takes user and password out of what is a URL.
func withoutUser(s string) string {
	if !strings.Contains(s, "@") {
		return s
	}
	u, err := url.Parse(s)
	if err != nil {
		return redacted
	}
	if u.User != nil {
		u.User = url.User(redacted)
	}
	return u.String()
}

// variables lists those of the environment that telemetry goes by.
func variables(environ []string) []conditionVariable {
	rows := []conditionVariable{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, "OTEL_") && !strings.HasPrefix(name, "OBSERVE_") && !strings.HasPrefix(name, "PYROSCOPE_") &&
			!slices.Contains([]string{"GOGC", "GOMEMLIMIT", "GOMAXPROCS", "GODEBUG"}, name) {
			continue
		}
		if secretName(name) {
			value = redacted
		}
		rows = append(rows, conditionVariable{oneLine(name), oneLine(withoutUser(value))})
	}
	slices.SortFunc(rows, func(a, b conditionVariable) int { return strings.Compare(a.Name, b.Name) })
	return rows
}

// backends connects to each receiver that the environment names. That it
// accepts a connection is what can be known without sending it anything.
func backends(ctx context.Context) []conditionBackend {
	rows := []conditionBackend{}
	for _, name := range endpointVariables {
		if v := strings.TrimSpace(os.Getenv(name)); v != "" {
			rows = append(rows, conditionBackend{Variable: name, Endpoint: oneLine(withoutUser(v))})
		}
	}
	ctx, cancel := context.WithTimeout(ctx, backendTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for i := range rows {
		wg.Go(func() {
			began := time.Now()
			address, err := addressOf(os.Getenv(rows[i].Variable))
			if err == nil {
				var conn net.Conn
				if conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", address); err == nil {
					conn.Close()
				}
			}
			rows[i].Seconds = time.Since(began).Seconds()
			rows[i].Answers, rows[i].Detail = err == nil, "accepts connections"
			if err != nil {
				rows[i].Detail = oneLine(err.Error())
			}
		})
	}
	wg.Wait()
	return rows
}

// addressOf is the host and port of an endpoint: a URL, or host:port as gRPC has it.
func addressOf(endpoint string) (string, error) {
	endpoint = strings.TrimSpace(endpoint)
	if !strings.Contains(endpoint, "://") {
		endpoint = "http://" + endpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Hostname() == "" {
		return "", fmt.Errorf("no host in it")
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443"}[u.Scheme]
	}
	if port == "" {
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}

// write prints the report as text.
func (c conditions) write(w io.Writer) {
	for _, f := range c.Fields {
		fmt.Fprintf(w, "%-28s %-30s %s\n", f.Field, f.From, f.Value)
	}
	if len(c.Variables) > 0 {
		fmt.Fprintln(w, "\nenvironment")
	}
	for _, v := range c.Variables {
		fmt.Fprintf(w, "%-40s %s\n", v.Name, v.Value)
	}
	fmt.Fprintln(w, "\nbackends")
	if len(c.Backends) == 0 {
		fmt.Fprintln(w, "none: nothing is sent anywhere; metrics wait at /metrics")
	}
	for _, b := range c.Backends {
		state := "does not answer"
		if b.Answers {
			state = "answers"
		}
		fmt.Fprintf(w, "%-40s %s %s: %s\n", b.Variable, b.Endpoint, state, b.Detail)
	}
	for _, e := range c.Exporters {
		fmt.Fprintf(w, "exporter %s: %d spans exported, %d of %d queued, dropped %v\n", e.Name, e.Exported, e.Queued, e.Capacity, e.Dropped)
	}
	fmt.Fprintln(w, "\nlog level "+c.LogLevel)
}
