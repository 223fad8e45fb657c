package capture

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func open(t *testing.T, c Config) *Store {
	t.Helper()
	if c.Dir == "" {
		c.Dir = filepath.Join(t.TempDir(), "captures")
	}
	if c.CPUProfile == 0 {
		c.CPUProfile = -1
	}
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.crash.end(); s.recorder.stop() })
	return s
}

func list(t *testing.T, s *Store) []Bundle {
	t.Helper()
	all, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func text(s string) func(context.Context, io.Writer) error {
	return func(_ context.Context, w io.Writer) error { _, err := io.WriteString(w, s); return err }
}

func TestBundleHoldsTheMoment(t *testing.T) {
	s := open(t, Config{
		CPUProfile: 50 * time.Millisecond,
		About:      About{Service: "shop", Version: "1.2", Config: "abc"},
		Parts: []Part{
			{Name: "doctor.txt", Write: text("fine")},
			{Name: "leaks.txt", Write: func(context.Context, io.Writer) error { return errors.New("unknown") }},
			{Name: "metrics.txt", Write: func(context.Context, io.Writer) error { panic("no") }},
		},
	})
	if err := s.Arm("the test wants it", time.Minute); err != nil {
		t.Fatal(err)
	}
	if why, until, ok := s.Armed(); !ok || why != "the test wants it" || time.Until(until) < 50*time.Second {
		t.Errorf("Armed() = %q, %v, %v", why, until, ok)
	}
	trace.WithRegion(t.Context(), "a slow request", func() { time.Sleep(10 * time.Millisecond) })
	made, err := s.Capture(t.Context(), Reason{Kind: "slow/request..", Detail: "took long", Route: "GET /", TraceID: "4bf9"})
	if err != nil {
		t.Fatal(err)
	}
	all := list(t, s)
	if len(all) != 1 || all[0].Name != made.Name || !strings.Contains(made.Name, "-slow_request..-") {
		t.Fatalf("made %q, listed %v", made.Name, all)
	}
	b := all[0]
	if b.Schema != 1 || b.Service != "shop" || b.Version != "1.2" || b.Config != "abc" || b.Kind != "slow/request.." || b.Route != "GET /" || b.TraceID != "4bf9" || b.PID != os.Getpid() || b.Seconds <= 0 || b.Bytes == 0 {
		t.Errorf("manifest: %+v", b)
	}
	missing := map[string]string{}
	for _, f := range b.Files {
		if f.Missing != "" {
			missing[f.Name] = f.Missing
			continue
		}
		info, err := os.Stat(filepath.Join(b.Dir, f.Name))
		if err != nil || info.Size() != f.Bytes || f.Bytes == 0 {
			t.Errorf("%s: %v, %d bytes", f.Name, err, f.Bytes)
		}
		if strings.HasSuffix(f.Name, ".pprof") {
			gz, err := os.ReadFile(filepath.Join(b.Dir, f.Name))
			if err != nil || !bytes.HasPrefix(gz, []byte{0x1f, 0x8b}) {
				t.Errorf("%s is no profile", f.Name)
			}
		}
	}
	if len(missing) != 2 || missing["leaks.txt"] != "unknown" || missing["metrics.txt"] != "panic: no" {
		t.Errorf("missing: %v", missing)
	}
	for _, want := range []string{"trace.out", "goroutine.pprof", "doctor.txt", "heap.pprof", "mutex.pprof", "block.pprof", "cpu.pprof"} {
		if !slices.ContainsFunc(b.Files, func(f File) bool { return f.Name == want && f.Missing == "" }) {
			t.Errorf("no %s", want)
		}
	}
	recording, _ := os.ReadFile(filepath.Join(b.Dir, "trace.out"))
	if !bytes.Contains(recording, []byte("a slow request")) {
		t.Error("the region is not in trace.out")
	}
	if slices.Contains(names(t, b.Dir), "lock") {
		t.Errorf("the lock is left: %v", names(t, b.Dir))
	}
}

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestTarHoldsTheBundle(t *testing.T) {
	s := open(t, Config{Parts: []Part{{Name: "doctor.txt", Write: text("fine")}}})
	b, err := s.Capture(t.Context(), Reason{})
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if err := s.WriteTar(&buf, b.Name); err != nil {
		t.Fatal(err)
	}
	unzip, err := gzip.NewReader(&buf)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for r := tar.NewReader(unzip); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got[h.Name] = string(text)
	}
	if len(got) != 6 || got[b.Name+"/doctor.txt"] != "fine" || !strings.Contains(got[b.Name+"/manifest.json"], b.Name) {
		t.Errorf("%d files: %q", len(got), got[b.Name+"/doctor.txt"])
	}
	f, err := s.File(b.Name, "doctor.txt")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := s.Remove(b.Name); err != nil || len(list(t, s)) != 0 {
		t.Errorf("Remove: %v, %d left", err, len(list(t, s)))
	}
}

// Names come from the address bar.
func FuzzNamesStayInTheDirectory(f *testing.F) {
	dir := f.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "secret"), 0o700); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "secret", manifestName), []byte(`{"schema":1,"files":[{"name":"../../x"}]}`), 0o600); err != nil {
		f.Fatal(err)
	}
	s, err := Open(Config{Dir: filepath.Join(dir, "captures"), CPUProfile: -1})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.crash.end)
	b, err := s.Capture(f.Context(), Reason{Kind: "fuzz"})
	if err != nil {
		f.Fatal(err)
	}
	for _, n := range []string{"", ".", "..", "../secret", "..\\secret", b.Name + "/../../secret", "/etc", "captures\x00", "manifest.json", b.Name, strings.Repeat("a", 300)} {
		f.Add(n, "manifest.json")
		f.Add(b.Name, n)
	}
	f.Fuzz(func(t *testing.T, bundle, file string) {
		if err := s.WriteTar(io.Discard, bundle); err == nil && bundle != b.Name {
			t.Errorf("WriteTar(%q) found a bundle", bundle)
		}
		open, err := s.File(bundle, file)
		if err == nil {
			defer open.Close()
			if filepath.Dir(open.Name()) != b.Dir {
				t.Errorf("File(%q, %q) opened %s", bundle, file, open.Name())
			}
		} else if !errors.Is(err, ErrUnknown) {
			t.Errorf("File(%q, %q): %v", bundle, file, err)
		}
		if n := fileName(file); n != fileName(n) || strings.ContainsAny(n, `/\`) || strings.HasPrefix(n, ".") {
			t.Errorf("fileName(%q) = %q", file, n)
		}
	})
}

func TestTriggersAreRare(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		made := 0
		s, err := Open(Config{Dir: dir, CPUProfile: -1, PerDay: 3, PerKind: 3, Report: func(_ Bundle, err error) {
			if err != nil {
				t.Error(err)
			}
			made++
		}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { s.Run(ctx); close(done) }()
		storm := func() (heard int) {
			for range 1000 {
				if s.Trigger(Reason{Kind: "slow_request"}) {
					heard++
				}
				synctest.Wait()
			}
			return heard
		}
		for i, step := range []struct {
			wait  time.Duration
			heard int
		}{
			{0, 1},
			{10*time.Minute - time.Second, 0}, // the cool-down
			{time.Second, 1},
			{time.Hour, 1},
			{time.Hour, 0},       // the day's cap
			{23 * time.Hour, 1},  // the first is a day old
			{9 * time.Minute, 0}, // but the cool-down holds
		} {
			time.Sleep(step.wait)
			if ready := s.Ready("slow_request"); ready != (step.heard > 0) {
				t.Errorf("step %d: Ready() = %v", i, ready)
			}
			if heard := storm(); heard != step.heard {
				t.Errorf("step %d: %d of 1000 triggers heard, want %d", i, heard, step.heard)
			}
		}
		if made != 4 {
			t.Errorf("%d bundles made, want 4", made)
		}
		if _, err := s.Capture(ctx, Reason{}); err != nil {
			t.Errorf("somebody's wish inside the cool-down: %v", err)
		}
		cancel()
		<-done
	})
}

func TestOneBundleAtATime(t *testing.T) {
	inside, release := make(chan bool), make(chan bool)
	s := open(t, Config{Parts: []Part{{Name: "slow.txt", Write: func(context.Context, io.Writer) error { inside <- true; <-release; return nil }}}})
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := s.Capture(context.Background(), Reason{}); err != nil {
			t.Error(err)
		}
	})
	<-inside
	if _, err := s.Capture(t.Context(), Reason{}); !errors.Is(err, ErrBusy) {
		t.Errorf("a second Capture: %v", err)
	}
	if s.Ready("slow_request") || s.Trigger(Reason{}) {
		t.Error("a trigger was heard meanwhile")
	}
	release <- true
	wg.Wait()
}

func TestDirectoryKeepsToItsBounds(t *testing.T) {
	big := text(strings.Repeat("x", 1<<20))
	s := open(t, Config{MaxBundles: 4, MaxBytes: 7 << 19, Parts: []Part{{Name: "big.txt", Write: big}}}) // 3.5 MiB
	var last Bundle
	for range 6 {
		var err error
		if last, err = s.Capture(t.Context(), Reason{}); err != nil {
			t.Fatal(err)
		}
	}
	all := list(t, s)
	if len(all) != 3 || !slices.ContainsFunc(all, func(b Bundle) bool { return b.Name == last.Name }) {
		t.Errorf("%d bundles left, want 3 with the newest", len(all))
	}
	s.c.MaxBytes, s.c.MaxBundles = 1<<30, 2
	s.sweep()
	if n := len(list(t, s)); n != 2 {
		t.Errorf("%d bundles left, want 2", n)
	}
	s.c.MaxAge = time.Nanosecond
	s.sweep()
	if n := len(list(t, s)); n != 0 {
		t.Errorf("%d bundles left, want none so old", n)
	}
}

func TestTornBundlesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	torn := filepath.Join(dir, tornPrefix+"abc")
	if err := os.Mkdir(torn, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"lock", "heap.pprof"} {
		if err := os.WriteFile(filepath.Join(torn, f), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Another process is at work on this one.
	working := filepath.Join(dir, tornPrefix+"xyz")
	if err := os.Mkdir(working, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(working, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := lock(f); err != nil {
		t.Skip(err)
	}
	// And this is somebody's own.
	own := filepath.Join(dir, "notes")
	if err := os.Mkdir(own, 0o700); err != nil {
		t.Fatal(err)
	}
	s := open(t, Config{Dir: dir})
	if _, err := os.Stat(torn); !gone(err) {
		t.Error("the torn bundle is left")
	}
	for _, d := range []string{working, own} {
		if _, err := os.Stat(d); err != nil {
			t.Error(err)
		}
	}
	if n := len(list(t, s)); n != 0 {
		t.Errorf("%d bundles listed", n)
	}
}

func TestDirectoryThatFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: filepath.Join(file, "captures")}); err == nil {
		t.Error("a directory below a file was opened")
	}

	var reported []error
	s := open(t, Config{Report: func(_ Bundle, err error) { reported = append(reported, err) }})
	if err := os.RemoveAll(s.c.Dir); err != nil { // deleted under us
		t.Fatal(err)
	}
	if n := len(list(t, s)); n != 0 {
		t.Errorf("%d bundles in a directory that is gone", n)
	}
	if _, err := s.Capture(t.Context(), Reason{}); err != nil || len(list(t, s)) != 1 {
		t.Errorf("the directory was not made again: %v", err)
	}

	// A full disk: what was written is given up, nothing else.
	s.c.Parts = []Part{{Name: "big.txt", Write: func(_ context.Context, w io.Writer) error {
		w.(*counted).w = full{}
		_, err := io.WriteString(w, "x")
		return err
	}}}
	if _, err := s.Capture(t.Context(), Reason{}); !errors.Is(err, errFull) {
		t.Errorf("a full disk: %v", err)
	}
	if got := slices.DeleteFunc(names(t, s.c.Dir), func(n string) bool { return strings.HasPrefix(n, crashPrefix) }); len(got) != 1 {
		t.Errorf("left behind: %v", got)
	}
	if len(reported) != 2 || reported[0] != nil || !errors.Is(reported[1], errFull) {
		t.Errorf("reported: %v", reported)
	}
}

var errFull = errors.New("no space left on device")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestStarvedTakesWhatIsThere(t *testing.T) {
	s := open(t, Config{CPUProfile: time.Minute, Starved: func() bool { return true }, Parts: []Part{{Name: "doctor.txt", Write: text("cpu")}}})
	if err := s.Arm("early", time.Minute); err != nil {
		t.Fatal(err)
	}
	b, err := s.Capture(t.Context(), Reason{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range b.Files {
		if there := f.Name == "trace.out" || f.Name == "doctor.txt"; there != (f.Missing == "") {
			t.Errorf("%s: %q", f.Name, f.Missing)
		}
	}
}

func TestCPUProfileOfSomebodyElse(t *testing.T) {
	if err := pprof.StartCPUProfile(io.Discard); err != nil {
		t.Fatal(err)
	}
	defer pprof.StopCPUProfile()
	s := open(t, Config{CPUProfile: time.Second})
	b, err := s.Capture(t.Context(), Reason{})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(b.Files, func(f File) bool { return f.Name == "cpu.pprof" })
	if i < 0 || !strings.Contains(b.Files[i].Missing, "somebody else") {
		t.Errorf("%+v", b.Files)
	}
}

func TestRecorderOfSomebodyElse(t *testing.T) {
	f := trace.NewFlightRecorder(trace.FlightRecorderConfig{})
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	defer f.Stop()
	s := open(t, Config{})
	if err := s.Arm("early", time.Minute); err == nil {
		t.Error("two flight recorders")
	}
	if _, _, armed := s.Armed(); armed {
		t.Error("armed")
	}
}

// Somebody's execution trace and the recorder live side by side.
func TestRecorderBesideATrace(t *testing.T) {
	s := open(t, Config{})
	if err := s.Arm("early", time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := trace.Start(io.Discard); err != nil {
		t.Fatal(err)
	}
	b, err := s.Capture(t.Context(), Reason{})
	trace.Stop()
	if err != nil || b.Files[0].Name != "trace.out" || b.Files[0].Missing != "" {
		t.Errorf("%v, %+v", err, b.Files)
	}
	if _, err = s.Capture(t.Context(), Reason{}); err != nil {
		t.Error(err)
	}
}

func TestRecorderIsArmedForATenthOfTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The runtime's own goroutines do not live in a bubble.
		r := recorder{share: armedShare, start: func() (flight, error) { return fakeFlight{}, nil }}
		defer r.stop()
		armed, began := time.Duration(0), time.Now()
		for time.Since(began) < 100*time.Hour {
			before := time.Now()
			if r.arm("always", time.Hour) != nil {
				time.Sleep(time.Minute)
				continue
			}
			for r.armed() {
				time.Sleep(time.Second)
			}
			armed += time.Since(before)
		}
		if share := armed.Hours() / 100; share < 0.08 || share > 0.11 {
			t.Errorf("armed for %.3f of the time", share)
		}
		if err := r.arm("asked for", -1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		if !r.armed() {
			t.Error("a recorder that is armed for good has ended")
		}
		r.disarm(time.Time{})
		if r.armed() {
			t.Error("still armed")
		}
		// A second arming prolongs the first, and the first one's end does not end it.
		for _, d := range []time.Duration{3 * time.Second, 10 * time.Second, 5 * time.Second} {
			if err := r.arm("again", d); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if !r.armed() {
			t.Error("disarmed too early")
		}
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if r.armed() {
			t.Error("not disarmed")
		}
	})
}

type fakeFlight struct{}

func (fakeFlight) WriteTo(io.Writer) (int64, error) { return 0, nil }
func (fakeFlight) Stop()                            {}

func TestConfigErrorsNameTheirFields(t *testing.T) {
	_, err := Open(Config{
		MaxBundles: -1, MaxBytes: -1, MaxAge: -1, CPUProfile: time.Hour, CoolDown: -1, PerDay: -1, PerKind: -1, ArmedShare: 2,
		Parts: []Part{{Name: "../x", Write: text("")}, {Name: "nil.txt", Write: nil}, {Name: manifestName, Write: text("")}},
	})
	for _, field := range []string{"Dir", "MaxBundles", "MaxBytes", "MaxAge", "CPUProfile", "CoolDown", "PerDay", "PerKind", "ArmedShare", `Parts: 0: "../x"`, "Parts: nil.txt", `Parts: 2: "manifest.json"`} {
		if err == nil || !strings.Contains(err.Error(), "Config."+field) {
			t.Errorf("%s is not named: %v", field, err)
		}
	}
}

func TestNilStoreIsOff(t *testing.T) {
	var s *Store
	s.Run(t.Context())
	s.Disarm()
	if s.Trigger(Reason{}) || s.Ready("slow_request") || s.Arm("", time.Second) != nil {
		t.Error("a nil Store does something")
	}
	if _, err := s.Capture(t.Context(), Reason{}); err == nil {
		t.Error("a nil Store made a bundle")
	}
	if _, err := s.File("a", "b"); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	if all, err := s.List(); all != nil || err != nil {
		t.Error(all, err)
	}
}

func TestUploadGetsTheBundle(t *testing.T) {
	var got Bundle
	var told []error
	s := open(t, Config{
		Upload: func(_ context.Context, b Bundle) error { got = b; panic("no bucket") },
		Report: func(_ Bundle, err error) { told = append(told, err) },
	})
	b, err := s.Capture(t.Context(), Reason{})
	if err != nil || got.Name != b.Name {
		t.Errorf("uploaded %q, made %q: %v", got.Name, b.Name, err)
	}
	if len(told) != 2 || told[0] == nil || !strings.Contains(told[0].Error(), "no bucket") || told[1] != nil {
		t.Errorf("reported %v", told)
	}
}

// What a process says when it dies is a bundle of the next one.
func TestCrashIsCaptured(t *testing.T) {
	if dir := os.Getenv("CAPTURE_CRASH_DIR"); dir != "" {
		s, err := Open(Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		go s.Run(t.Context())
		go func() {
			if os.Getenv("CAPTURE_KILL") != "" {
				p, _ := os.FindProcess(os.Getpid())
				p.Kill()
			}
			panic("the last words")
		}()
		select {}
	}
	dir := t.TempDir()
	for range 2 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestCrashIsCaptured$")
		cmd.Env = append(os.Environ(), "CAPTURE_CRASH_DIR="+dir)
		if out, err := cmd.CombinedOutput(); err == nil || !bytes.Contains(out, []byte("the last words")) {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashIsCaptured$")
	cmd.Env = append(os.Environ(), "CAPTURE_CRASH_DIR="+dir, "CAPTURE_KILL=1")
	_ = cmd.Run() // leaves an empty file
	s := open(t, Config{Dir: dir})
	all := list(t, s)
	if len(all) != 2 {
		t.Fatalf("%d bundles, want the two crashes", len(all))
	}
	for _, b := range all {
		words, err := os.ReadFile(filepath.Join(b.Dir, "crash.txt"))
		if err != nil || !bytes.Contains(words, []byte("panic: the last words")) || !bytes.Contains(words, []byte("capture_test.go")) || b.Kind != "crash" {
			t.Errorf("%v %q: %.200s", err, b.Kind, words)
		}
	}
	s.crash.end()
	if left := slices.DeleteFunc(names(t, dir), func(n string) bool { return !strings.HasPrefix(n, ".") }); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestProcessesShareADirectory(t *testing.T) {
	dir := t.TempDir()
	stores := []*Store{open(t, Config{Dir: dir, MaxBundles: 5}), open(t, Config{Dir: dir, MaxBundles: 5})}
	var wg sync.WaitGroup
	for _, s := range stores {
		wg.Go(func() {
			for range 10 {
				if b, err := s.Capture(context.Background(), Reason{Kind: "shared"}); err != nil && !gone(err) { // swept by the other at once
					t.Errorf("%v: %v", b.Name, err)
				}
				if _, err := s.List(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(list(t, stores[0])); n != 5 {
		t.Errorf("%d bundles, want 5", n)
	}
}

func TestManifestIsDocumented(t *testing.T) {
	s := open(t, Config{Parts: []Part{{Name: "gone.txt", Write: func(context.Context, io.Writer) error { return errors.New("no") }}}, About: About{Service: "shop", Version: "1", Config: "0123456789ab"}})
	b, err := s.Capture(t.Context(), Reason{Kind: "manual", Detail: "a wish", Route: "GET /", TraceID: "1"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := s.File(b.Name, "manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var m any
	if err := json.NewDecoder(f).Decode(&m); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("manifest.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var sch schema
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields() // what this validator does not know
	if err := strict.Decode(&sch); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range sch.check("manifest", m) {
		t.Error(wrong)
	}
	var told []string
	for _, p := range sch.Properties {
		told = append(told, p.Description)
	}
	if slices.Contains(told, "") {
		t.Errorf("a property without a description: %q", told)
	}
	fields := m.(map[string]any)
	for key := range sch.Properties {
		if fields[key] == nil {
			t.Errorf("the manifest of a full bundle has no %q", key)
		}
	}
	// And the validator finds what is wrong.
	for key, value := range map[string]any{"schema": 2.0, "pid": "1", "detial": "", "bytes": -1.0, "name": "x"} {
		broken := maps.Clone(fields)
		broken[key] = value
		if len(sch.check("manifest", broken)) == 0 {
			t.Errorf("%s: %v is taken for right", key, value)
		}
	}
}

// schema is as much of a JSON Schema as manifest.schema.json uses.
type schema struct {
	Schema      string            `json:"$schema"`
	ID          string            `json:"$id"`
	Title       string            `json:"title"`
	Description string            `json:"description"`
	Type        string            `json:"type"`
	Format      string            `json:"format"`
	Pattern     string            `json:"pattern"`
	Const       any               `json:"const"`
	Minimum     *float64          `json:"minimum"`
	Required    []string          `json:"required"`
	Properties  map[string]schema `json:"properties"`
	Items       *schema           `json:"items"`
	Additional  *bool             `json:"additionalProperties"`
}

func (s *schema) check(at string, v any) (wrong []string) {
	bad := func(format string, a ...any) { wrong = append(wrong, at+": "+fmt.Sprintf(format, a...)) }
	switch v := v.(type) {
	case map[string]any:
		if s.Type != "object" {
			bad("an object, want %s", s.Type)
		}
		for _, key := range s.Required {
			if _, ok := v[key]; !ok {
				bad("no %q", key)
			}
		}
		for key, value := range v {
			p, ok := s.Properties[key]
			if !ok {
				if s.Additional != nil && !*s.Additional {
					bad("%q is not described", key)
				}
				continue
			}
			wrong = append(wrong, p.check(at+"."+key, value)...)
		}
	case []any:
		if s.Type != "array" {
			bad("an array, want %s", s.Type)
			break
		}
		for i, value := range v {
			wrong = append(wrong, s.Items.check(fmt.Sprintf("%s[%d]", at, i), value)...)
		}
	case string:
		if s.Type != "string" || s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(v) {
			bad("%q, want %s %s", v, s.Type, s.Pattern)
		}
		if _, err := time.Parse(time.RFC3339, v); s.Format == "date-time" && err != nil {
			bad("%v", err)
		}
	case float64:
		if s.Type != "number" && (s.Type != "integer" || v != math.Trunc(v)) || s.Minimum != nil && v < *s.Minimum {
			bad("%v, want %s", v, s.Type)
		}
	default:
		bad("%T", v)
	}
	if s.Const != nil && v != s.Const {
		bad("%v, want %v", v, s.Const)
	}
	return wrong
}

// Somebody who asks for a capture gets a recording also of a recorder that nothing had armed.
func TestWishRecordsWhatFollows(t *testing.T) {
	s := open(t, Config{CPUProfile: 200 * time.Millisecond})
	stop := make(chan bool)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				trace.WithRegion(context.Background(), "what follows", func() { time.Sleep(time.Millisecond) })
			}
		}
	})
	b, err := s.Capture(t.Context(), Reason{})
	close(stop)
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	recording, err := os.ReadFile(filepath.Join(b.Dir, "trace.out"))
	if err != nil || !bytes.Contains(recording, []byte("what follows")) {
		t.Errorf("%v, %d bytes: %+v", err, len(recording), b.Files)
	}
	if _, _, armed := s.Armed(); armed {
		t.Error("still armed")
	}
}

// What is made of the others sees them all, and is left out where CPU is short.
func TestPartIsMadeOfTheOthers(t *testing.T) {
	starved := false
	c := Config{CPUProfile: time.Millisecond, Starved: func() bool { return starved }, Parts: []Part{
		{Name: "doctor.txt", From: func(_ context.Context, b Bundle, w io.Writer) error {
			for _, f := range b.Files {
				if f.Missing == "" {
					if _, err := os.Stat(filepath.Join(b.Dir, f.Name)); err != nil {
						return err
					}
					fmt.Fprintln(w, f.Name)
				}
			}
			_, err := fmt.Fprintln(w, b.TraceID)
			return err
		}},
		{Name: "other.txt", Write: text("other")},
	}}
	s := open(t, c)
	for _, armed := range []bool{true, false} { // before, and during the profile
		if armed {
			if err := s.Arm("early", time.Minute); err != nil {
				t.Fatal(err)
			}
		} else {
			s.Disarm()
		}
		b, err := s.Capture(t.Context(), Reason{TraceID: "4bf9"})
		if err != nil {
			t.Fatal(err)
		}
		made, err := os.ReadFile(filepath.Join(b.Dir, "doctor.txt"))
		for _, want := range []string{"trace.out", "cpu.pprof", "other.txt", "4bf9"} {
			if err != nil || !strings.Contains(string(made), want+"\n") {
				t.Errorf("%v; no %s in\n%s", err, want, made)
			}
		}
	}
	starved = true
	b, err := s.Capture(t.Context(), Reason{})
	if err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(b.Files, func(f File) bool { return f.Name == "doctor.txt" }); i < 0 || b.Files[i].Missing != "CPU was too short" {
		t.Errorf("%+v", b.Files)
	}
}

func TestManifestTellsItsCost(t *testing.T) {
	spin := func(_ context.Context, w io.Writer) error {
		for until := time.Now().Add(20 * time.Millisecond); time.Now().Before(until); {
		}
		_, err := io.WriteString(w, "123456")
		return err
	}
	s := open(t, Config{Parts: []Part{{Name: "spin.txt", Write: spin}}})
	b, err := s.Capture(t.Context(), Reason{})
	if err != nil {
		t.Fatal(err)
	}
	if b.Seconds < 0.02 || runtime.GOOS == "linux" && (b.CPUSeconds <= 0 || b.CPUSeconds > b.Seconds+0.1) {
		t.Errorf("%v s, of CPU %v s", b.Seconds, b.CPUSeconds)
	}
	var sum int64
	for _, f := range b.Files {
		sum += f.Bytes
	}
	text, err := os.ReadFile(filepath.Join(b.Dir, manifestName))
	var m Manifest
	if err != nil || json.Unmarshal(text, &m) != nil || m.Bytes != sum || b.Bytes != sum+int64(len(text)) {
		t.Errorf("%v: the manifest says %d bytes, the files have %d, the directory %d", err, m.Bytes, sum, b.Bytes)
	}
}

func TestOneKindLeavesRoomForOthers(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		run := func(f func(*Store)) {
			s, err := Open(Config{Dir: dir, CPUProfile: -1, PerDay: 6, NoLastWords: true, Report: func(_ Bundle, err error) {
				if err != nil {
					t.Error(err)
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { s.Run(ctx); close(done) }()
			f(s)
			cancel()
			<-done
		}
		heard := func(s *Store, kind string) bool {
			defer synctest.Wait()
			ready := s.Ready(kind)
			if s.Trigger(Reason{Kind: kind}) != ready {
				t.Errorf("Ready(%q) = %v, Trigger said otherwise", kind, ready)
			}
			return ready
		}
		run(func(s *Store) {
			for i, want := range []bool{true, true, false, false} {
				if got := heard(s, "slow_request"); got != want {
					t.Errorf("slow request %d was heard: %v", i, got)
				}
				time.Sleep(time.Hour)
			}
			if !heard(s, "memory") {
				t.Error("slow requests left no room for memory")
			}
			if _, err := s.Capture(t.Context(), Reason{Kind: "manual"}); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(9 * time.Minute)
		run(func(s *Store) { // after a restart
			if heard(s, "cpu") {
				t.Error("a restart ended the cool-down")
			}
			time.Sleep(time.Minute)
			if heard(s, "slow_request") {
				t.Error("a restart forgot the cap of a kind")
			}
			if !heard(s, "cpu") {
				t.Error("the cool-down does not end; or the manual one counts")
			}
		})
		// The clock was ahead when these were made.
		time.Sleep(24 * time.Hour)
		ahead := filepath.Join(dir, "29990101T000000Z-cpu-abcdef")
		if err := os.Mkdir(ahead, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(ahead, manifestName), []byte(`{"schema":1,"time":"2999-01-01T00:00:00Z","kind":"cpu"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		run(func(s *Store) {
			if !heard(s, "cpu") {
				t.Error("a bundle of tomorrow keeps today's from being made")
			}
		})
	})
}

// What a power cut left, what was swept by half, and what is not ours.
func TestHollowBundlesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	long := time.Now().Add(-time.Hour)
	put := func(name, manifest string, at time.Time) {
		path := filepath.Join(dir, name)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, "heap.pprof"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if manifest != "none" {
			if err := os.WriteFile(filepath.Join(path, manifestName), []byte(manifest), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	put("20260101T000000Z-cpu-aaaaaa", "", long)
	put("20260101T000000Z-cpu-bbbbbb", "none", long)
	put("20260101T000000Z-cpu-cccccc", `{"schema":1,"time":`, long)
	put("20260101T000000Z-cpu-dddddd", "none", time.Now()) // somebody may be removing it
	put("20260101T000000Z-notes", "none", long)
	put(tornPrefix+"gone-eeeeee", "none", long)
	var reported []error
	s := open(t, Config{Dir: dir, NoLastWords: true, Report: func(_ Bundle, err error) { reported = append(reported, err) }})
	if got, want := names(t, dir), []string{"20260101T000000Z-cpu-dddddd", "20260101T000000Z-notes"}; !slices.Equal(got, want) {
		t.Errorf("left: %q, want %q", got, want)
	}
	if len(reported) != 4 || slices.ContainsFunc(reported, func(err error) bool { return !errors.Is(err, ErrTorn) }) {
		t.Errorf("reported %v", reported)
	}
	if n := len(list(t, s)); n != 0 {
		t.Errorf("%d listed", n)
	}
}

// The clock was ahead when older bundles were made: they look newer for a year.
func TestClockThatIsSetBack(t *testing.T) {
	dir := t.TempDir()
	for _, id := range []string{"aaaaaa", "bbbbbb", "cccccc"} {
		ahead := filepath.Join(dir, "20990101T000000Z-cpu-"+id)
		if err := os.Mkdir(ahead, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(ahead, manifestName), []byte(`{"schema":1,"time":"2099-01-01T00:00:00Z","kind":"cpu"}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, Config{Dir: dir, MaxBundles: 3})
	var made []string
	for range 3 {
		b, err := s.Capture(t.Context(), Reason{Kind: "manual"})
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, b.Name)
		all := list(t, s)
		if len(all) != 3 || !slices.ContainsFunc(all, func(o Bundle) bool { return o.Name == b.Name }) {
			t.Fatalf("the bundle of now is not among the %d that are left", len(all))
		}
	}
	for _, b := range list(t, s) {
		if !slices.Contains(made, b.Name) {
			t.Errorf("%s is left", b.Name)
		}
	}
}

// The directory is deleted, made again by the next bundle, and still gets the last words.
func TestLastWordsAfterTheDirectoryWasDeleted(t *testing.T) {
	if dir := os.Getenv("CAPTURE_CRASH_DIR"); dir != "" {
		s, err := Open(Config{Dir: dir, CPUProfile: -1})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Capture(t.Context(), Reason{Kind: "manual"}); err != nil {
			t.Fatal(err)
		}
		panic("the last words")
	}
	dir := filepath.Join(t.TempDir(), "captures")
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "CAPTURE_CRASH_DIR="+dir)
	if out, err := cmd.CombinedOutput(); err == nil || !bytes.Contains(out, []byte("the last words")) {
		t.Fatalf("%v\n%s", err, out)
	}
	s := open(t, Config{Dir: dir})
	if !slices.ContainsFunc(list(t, s), func(b Bundle) bool { return b.Kind == "crash" }) {
		t.Errorf("no crash among %d bundles", len(list(t, s)))
	}
}

func TestRecorderAlwaysOrNever(t *testing.T) {
	for share, want := range map[float64]string{1: "", -1: "the flight recorder is never armed: Config.ArmedShare is negative", 0: "the flight recorder is not armed"} {
		s := open(t, Config{ArmedShare: share})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { s.Run(ctx); close(done) }()
		if share == 1 {
			for until := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
				if _, end, armed := s.Armed(); armed && end.IsZero() {
					break
				} else if time.Now().After(until) {
					t.Fatal("not armed")
				}
			}
			if err := s.Arm("again", time.Millisecond); err != nil {
				t.Error(err)
			}
		}
		if err := s.Arm("early", time.Minute); share < 0 && err == nil {
			t.Error("armed though it never is to be")
		}
		if share == 0 {
			s.Disarm()
		}
		for range 2 { // it stays so
			b, err := s.Capture(t.Context(), Reason{})
			if err != nil || b.Files[0].Name != "trace.out" || b.Files[0].Missing != want {
				t.Errorf("ArmedShare %v: %v, %+v", share, err, b.Files[0])
			}
		}
		cancel()
		<-done
		if _, _, armed := s.Armed(); armed {
			t.Error("armed after Run")
		}
	}
}
