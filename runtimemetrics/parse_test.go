package runtimemetrics

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// FuzzParsers gives every parser anything. None may panic, and what they say
// they know must be a figure that can be true.
func FuzzParsers(f *testing.F) {
	seen := map[string]bool{}
	err := filepath.WalkDir("testdata/system", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		if err == nil && !seen[string(b)] {
			seen[string(b)] = true
			f.Add(b)
		}
		return err
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		possible := func(what string, values ...float64) {
			for _, v := range values {
				if Known(v) && (v < 0 || v > 1e22) {
					t.Errorf("%s: %v", what, v)
				}
			}
		}
		if st, ok := parseStat(b); ok {
			possible("stat", st.threads, st.started, st.virtual, st.resident)
			if !Known(st.resident) {
				t.Error("stat is understood, and its resident memory is not")
			}
		}
		received, transmitted := parseNetstat(b)
		possible("netstat", received, transmitted)
		if s, ok := parseSockstat(b); ok {
			possible("sockstat", s.inUse, s.orphaned, s.timeWait)
		}
		if cpu, ok := parseHostCPU(b); ok {
			possible("cpu", cpu.user, cpu.system, cpu.idle, cpu.iowait, cpu.steal)
		}
		some, full := parsePressure(b)
		possible("pressure", some, full)
		possible("cpu.max", parseCPUMax(b))
		possible("whole", whole(b))
		for _, key := range []string{"usage_usec", "anon", "oom_kill", "MemTotal:", ""} {
			possible(key, keyed(b, key))
		}
		if v, ok := parseUptime(b); ok {
			possible("uptime", v)
		}
		parseCgroups(b)
		for _, m := range parseMounts(b) {
			if dir, top := m.dir("testdata/system/empty", "/../../etc"); len(dir) < len(top) {
				t.Errorf("%q is outside the mount at %q", dir, top)
			}
		}
	})
}

func TestNumberRefusesWhatIsNone(t *testing.T) {
	for in, want := range map[string]float64{
		"0": 0, "12": 12, "12 kB": 12, "12\n": 12, "999999999999999999": 999999999999999999,
	} {
		if got, ok := number([]byte(in)); !ok || got != want {
			t.Errorf("number(%q) = %v, %t", in, got, ok)
		}
	}
	for _, in := range []string{"", "-1", "max", "12x", "9223372036854775807", "1e9", " 1", "\x00"} {
		if got, ok := number([]byte(in)); ok || Known(got) {
			t.Errorf("number(%q) = %v, %t", in, got, ok)
		}
	}
}
