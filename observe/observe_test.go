package observe

import (
	"context"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/loadline-go/loadline/leakcheck"
)

func TestMain(m *testing.M) { leakcheck.VerifyMain(elsewhere{m}) }

// elsewhere runs the tests with a cache directory of their own: captures are
// kept there.
type elsewhere struct{ *testing.M }

func (e elsewhere) Run() int {
	dir, err := os.MkdirTemp("", "loadline-observe-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	os.Setenv("XDG_CACHE_HOME", dir)
	return e.M.Run()
}

// start observes the test's own process until the test ends. Tests that use it
// do not run in parallel: there is one Telemetry a process.
func start(t testing.TB, config Config) *Telemetry {
	t.Helper()
	if config.AdminAddr == "" {
		config.AdminAddr = Off
	}
	if config.Service == "" {
		config.Service = "test"
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if config.DiagnoseEvery == 0 {
		config.DiagnoseEvery = -1
	}
	if config.ProfileEvery == 0 {
		config.ProfileEvery = -1 // no test waits for one, and in a bubble a minute is short
	}
	tel, err := Start(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tel.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return tel
}

// family returns the metrics of one family by their labels, "a=1 b=2".
func family(t testing.TB, tel *Telemetry, name string) map[string]*dto.Metric {
	t.Helper()
	families, err := tel.gatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*dto.Metric{}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			found[strings.Join(labels, " ")] = m
		}
	}
	return found
}

// requests returns how often each label set of the server's duration was observed.
func requests(t testing.TB, tel *Telemetry) map[string]uint64 {
	t.Helper()
	counts := map[string]uint64{}
	for labels, m := range family(t, tel, "http_server_request_duration_seconds") {
		labels = strings.NewReplacer("http_request_method=", "", "http_response_status_code=", "", "http_route=", "",
			"error_type=", "", "url_scheme=https", "", "url_scheme=http", "").Replace(labels)
		counts[strings.TrimSpace(labels)] += m.GetHistogram().GetSampleCount()
	}
	return counts
}

func TestEveryMetricIsLintedAndInTheTable(t *testing.T) {
	tel := start(t, Config{})
	problems, err := testutil.GatherAndLint(tel.gatherer)
	if err != nil {
		t.Fatal(err)
	}
	// The linter reserves the suffix for histograms; these are the names that
	// the semantic conventions give, and that dashboards for them look for.
	conventional := []string{"go_goroutine_count", "process_thread_count", "process_unix_file_descriptor_count", "db_client_connection_count"}
	for _, p := range problems {
		if slices.Contains(conventional, p.Metric) && strings.Contains(p.Text, `"_count" suffix`) {
			continue
		}
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	seen := map[string]bool{}
	for _, d := range All() {
		if seen[d.Name] {
			t.Errorf("%s stands twice in the table", d.Name)
		}
		seen[d.Name] = true
		if !strings.HasSuffix(d.Help, ".") || d.Unit == "" {
			t.Errorf("%s: Help %q, Unit %q: want a sentence and a unit", d.Name, d.Help, d.Unit)
		}
	}
}

// lines is a writer for a logger whose records a test reads.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
