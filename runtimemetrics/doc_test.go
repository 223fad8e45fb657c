package runtimemetrics

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Who comes from Node is told the same in the README as in the package's
// documentation, and nothing that does not exist.
func TestTablesForThoseFromNodeNameOurMetrics(t *testing.T) {
	known := append(names(), "observe_build_info") // which package observe has
	for _, c := range []struct{ file, begin, end string }{
		{"doc.go", "// # Coming from Node", "// # Concurrency"},
		{"../README.md", "## Node's event-loop lag", "## Metrics"},
	} {
		b, err := os.ReadFile(c.file)
		if err != nil {
			t.Fatal(err)
		}
		_, text, ok := strings.Cut(string(b), c.begin)
		text, _, ok2 := strings.Cut(text, c.end)
		if !ok || !ok2 {
			t.Fatalf("%s has no section from %q to %q", c.file, c.begin, c.end)
		}
		text = regexp.MustCompile(`(?m)^\| .process_(cpu_user|heap_bytes|cpu_seconds).*?\|`).ReplaceAllString(text, "|") // names of Node's own
		found := 0
		for _, name := range regexp.MustCompile(`\b(go|observe|process|container)_[a-z_]+\w`).FindAllString(text, -1) {
			if name == "go_memory_type" || name == "go_version" { // labels
				continue
			}
			if found++; !slices.Contains(known, name) {
				t.Errorf("%s names %s, which All does not", c.file, name)
			}
		}
		if found < 12 {
			t.Errorf("%s names %d metrics", c.file, found)
		}
		for _, node := range []string{
			"nodejs_eventloop_lag_seconds", "nodejs_eventloop_lag_min", "nodejs_eventloop_lag_p50", "nodejs.eventloop.delay",
			"nodejs.eventloop.utilization", "nodejs.eventloop.time", "nodejs_gc_duration_seconds", "nodejs_heap_size_used_bytes",
			"nodejs_heap_size_total_bytes", "nodejs_heap_space_size_", "nodejs_external_memory_bytes", "nodejs_active_handles",
		} {
			if !strings.Contains(text, node) {
				t.Errorf("%s does not say what %s is in Go", c.file, node)
			}
		}
	}
}
