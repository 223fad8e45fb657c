package runtimemetrics

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// readTree reads a recorded /proc and /sys.
func readTree(t *testing.T, root string, hold bool) (*Snapshot, *systemReader) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("reads files as Linux does")
	}
	r := &systemReader{hold: hold}
	t.Cleanup(r.close)
	r.open(root)
	s := &Snapshot{Process: unknownProcess, Container: unknownContainer, Host: unknownHost}
	r.read(s, true)
	if hold {
		r.read(s, true) // from the descriptors it now holds
	}
	return s, r
}

func TestRecordedSystemsReadAsTheyShould(t *testing.T) {
	trees, err := filepath.Glob("testdata/system/*/proc")
	if err != nil || len(trees) == 0 {
		t.Fatalf("no recorded systems: %v", err)
	}
	for _, tree := range trees {
		root := filepath.Dir(tree)
		t.Run(filepath.Base(root), func(t *testing.T) {
			once, r := readTree(t, root, false)
			held, _ := readTree(t, root, true)
			got := describeSystem(once, r)
			if again := describeSystem(held, r); got != again {
				t.Errorf("held files read differently:\n%s\nand\n%s", got, again)
			}
			golden := filepath.Join(root, "want.txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// describeSystem lists what is known, except what is this process's own.
func describeSystem(s *Snapshot, r *systemReader) string {
	var out strings.Builder
	p := s.Process
	p.CPUUser, p.CPUSystem, p.VoluntarySwitches, p.ForcedSwitches = unknown, unknown, unknown, unknown
	p.MajorFaults, p.MinorFaults, p.DescriptorLimit = unknown, unknown, unknown
	if !p.Started.IsZero() {
		fmt.Fprintf(&out, "Started %v ago\n", time.Since(p.Started).Round(time.Second))
	}
	var walk func(name string, v reflect.Value)
	walk = func(name string, v reflect.Value) {
		switch {
		case v.Kind() == reflect.Float64:
			if Known(v.Float()) {
				fmt.Fprintf(&out, "%s %v\n", name, v.Interface())
			}
		case v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[time.Time]():
			for i := range v.NumField() {
				walk(name+"."+v.Type().Field(i).Name, v.Field(i))
			}
		}
	}
	walk("Process", reflect.ValueOf(p))
	walk("Container", reflect.ValueOf(s.Container))
	walk("Host", reflect.ValueOf(s.Host))
	for _, b := range r.bad {
		fmt.Fprintf(&out, "missing %s\n", b)
	}
	return out.String()
}

func TestReadKnowsThisProcess(t *testing.T) {
	s := Read()
	if s.Goroutines.Total < 1 || s.Processors != float64(runtime.GOMAXPROCS(0)) {
		t.Errorf("%v goroutines on %v processors", s.Goroutines.Total, s.Processors)
	}
	if runtime.GOOS != "linux" {
		return
	}
	if s.Process.Resident < 1<<20 || s.Process.Threads < 1 || s.Process.Descriptors < 3 {
		t.Errorf("resident %v, threads %v, descriptors %v", s.Process.Resident, s.Process.Threads, s.Process.Descriptors)
	}
	if age := time.Since(s.Process.Started); age < 0 || age > 24*time.Hour {
		t.Errorf("this test began %v ago", age)
	}
}

func TestDescriptorsCountsOnlyOpenOnes(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no /proc")
	}
	before := descriptors("/proc/self/fd")
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if got := descriptors("/proc/self/fd"); got != before+1 {
		t.Errorf("%v descriptors, want one more than %v", got, before)
	}
	f.Close()
	if got := descriptors("/proc/self/fd"); got != before {
		t.Errorf("%v descriptors, want %v again", got, before)
	}
}

func TestSampleReaderGivesItsDescriptorsBack(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no /proc")
	}
	before := descriptors("/proc/self/fd")
	r := newReader(true)
	var s Snapshot
	r.read(&s, false)
	r.read(&s, false) // descriptors are counted before the last are open
	if s.Process.Descriptors < before+3 || s.Process.Descriptors > before+100 {
		t.Errorf("%v descriptors while sampling, %v before", s.Process.Descriptors, before)
	}
	r.close()
	if got := descriptors("/proc/self/fd"); got != before {
		t.Errorf("%v descriptors after close, %v before", got, before)
	}
}
