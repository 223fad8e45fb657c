//go:build linux

package capture

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// child runs this test again in a process of its own, with its part of it in
// CAPTURE_CHILD, and returns what it prints.
func child(t *testing.T, part, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), "CAPTURE_CHILD="+part, "CAPTURE_DIR="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

// inChild tells the part of a child's process, empty in the test's own.
func inChild() (part, dir string) { return os.Getenv("CAPTURE_CHILD"), os.Getenv("CAPTURE_DIR") }

// big is a part that no small disk takes.
var big = Part{Name: "big.txt", Write: func(_ context.Context, w io.Writer) error {
	for range 64 {
		if _, err := w.Write(bytes.Repeat([]byte{'x'}, 64<<10)); err != nil {
			return err
		}
	}
	return nil
}}

func hidden(t *testing.T, dir string) []string {
	t.Helper()
	return slices.DeleteFunc(names(t, dir), func(n string) bool { return !strings.HasPrefix(n, tornPrefix) })
}

// A disk that is full, and one that has room again.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("no small disk can be mounted: %v; TestFileSizeLimit is much the same", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	fullDisk(t, dir, syscall.ENOSPC)
}

// A limit on the size of files is a full disk that needs no privilege.
func TestFileSizeLimit(t *testing.T) {
	if part, dir := inChild(); part != "" {
		signal.Ignore(syscall.SIGXFSZ)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20}); err != nil {
			t.Fatal(err)
		}
		fullDisk(t, dir, syscall.EFBIG)
		return
	}
	if out, err := child(t, "limited", t.TempDir()).Output(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func fullDisk(t *testing.T, dir string, want error) {
	var reported []error
	s := open(t, Config{Dir: dir, Report: func(_ Bundle, err error) { reported = append(reported, err) }})
	first, err := s.Capture(t.Context(), Reason{Kind: "manual"})
	if err != nil {
		t.Fatal(err)
	}
	parts := s.c.Parts
	s.c.Parts = []Part{big}
	if _, err := s.Capture(t.Context(), Reason{Kind: "manual"}); !errors.Is(err, want) {
		t.Errorf("a full disk: %v, want %v", err, want)
	}
	if left := hidden(t, dir); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	s.c.Parts = parts
	if _, err := s.Capture(t.Context(), Reason{Kind: "manual"}); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if all := list(t, s); len(all) != 2 || !slices.ContainsFunc(all, func(b Bundle) bool { return b.Name == first.Name }) {
		t.Errorf("%d bundles, want the first and the last", len(all))
	}
	if len(reported) != 3 || reported[0] != nil || !errors.Is(reported[1], want) || reported[2] != nil {
		t.Errorf("reported %v", reported)
	}
}

func TestReadOnlyDirectory(t *testing.T) {
	if part, dir := inChild(); part != "" {
		if os.Getuid() == 0 { // to whom nothing is read-only
			if err := syscall.Setgid(65534); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Setuid(65534); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []Config{{Dir: filepath.Join(dir, "closed")}, {Dir: filepath.Join(dir, "closed"), NoLastWords: true}, {Dir: filepath.Join(dir, "closed", "new")}} {
			if s, err := Open(c); !errors.Is(err, syscall.EACCES) {
				t.Errorf("opened %s: %v, %v", c.Dir, s, err)
			}
		}
		// One that becomes read-only while it is used.
		s := open(t, Config{Dir: filepath.Join(dir, "open", "captures")})
		if _, err := s.Capture(t.Context(), Reason{}); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(s.c.Dir, 0o500); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Capture(t.Context(), Reason{}); !errors.Is(err, syscall.EACCES) {
			t.Errorf("captured: %v", err)
		}
		if all := list(t, s); len(all) != 1 {
			t.Errorf("%d bundles listed", len(all))
		}
		if err := s.WriteTar(io.Discard, list(t, s)[0].Name); err != nil {
			t.Error(err)
		}
		if err := os.Chmod(s.c.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		return
	}
	dir, err := os.MkdirTemp("", "loadline-capture-") // t.TempDir's is closed to others
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for name, mode := range map[string]os.FileMode{"closed": 0o555, "open": 0o777, "": 0o755} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := child(t, "reader", dir).Output(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// A process that is killed while it makes a bundle leaves a torn one. While it
// lives, nobody takes it for that.
func TestKilledWhileMakingABundle(t *testing.T) {
	if part, dir := inChild(); part != "" {
		s, err := Open(Config{Dir: dir, CPUProfile: -1, Parts: []Part{{Name: "endless.txt", Write: func(ctx context.Context, w io.Writer) error {
			io.WriteString(w, "half of ")
			fmt.Println("inside")
			time.Sleep(time.Hour)
			return nil
		}}}})
		if err != nil {
			t.Fatal(err)
		}
		s.Capture(context.Background(), Reason{Kind: "manual"})
		return
	}
	dir := t.TempDir()
	cmd := child(t, "maker", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	defer func() {
		if !killed {
			cmd.Process.Kill()
			cmd.Wait()
		}
	}()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "inside\n" {
		t.Fatalf("%q, %v", line, err)
	}
	making := hidden(t, dir)
	if len(making) != 1 {
		t.Fatalf("being made: %q", making)
	}
	var reported []error
	c := Config{Dir: dir, Report: func(_ Bundle, err error) { reported = append(reported, err) }}
	beside := open(t, c)
	if left := hidden(t, dir); !slices.Equal(left, making) || len(reported) != 0 || len(list(t, beside)) != 0 {
		t.Errorf("what is being made: %q, then %q; reported %v", making, left, reported)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	killed = true
	beside.crash.end()
	s := open(t, c)
	if left := hidden(t, dir); len(left) != 0 || len(list(t, s)) != 0 {
		t.Errorf("left: %q, %v", left, list(t, s))
	}
	if len(reported) != 1 || !errors.Is(reported[0], ErrTorn) || !strings.Contains(reported[0].Error(), making[0]) {
		t.Errorf("reported %v", reported)
	}
}

// Real processes, which make and sweep at once.
func TestProcessesSweepOneDirectory(t *testing.T) {
	const processes, each, kept = 3, 8, 4
	if part, dir := inChild(); part != "" {
		s := open(t, Config{Dir: dir, MaxBundles: kept})
		for range each {
			if _, err := s.Capture(context.Background(), Reason{Kind: part}); err != nil {
				t.Error(err)
			}
			for _, b := range list(t, s) {
				if err := s.WriteTar(io.Discard, b.Name); err != nil && !gone(err) && !errors.Is(err, ErrUnknown) { // swept meanwhile
					t.Error(err)
				}
			}
		}
		return
	}
	dir := t.TempDir()
	var all []*exec.Cmd
	for i := range processes {
		cmd := child(t, fmt.Sprint("process", i), dir)
		cmd.Stdout = os.Stdout
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, cmd)
	}
	for _, cmd := range all {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	s := open(t, Config{Dir: dir, MaxBundles: kept})
	if n := len(list(t, s)); n != kept {
		t.Errorf("%d bundles left, want %d", n, kept)
	}
	if left := hidden(t, dir); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
	for _, b := range list(t, s) {
		for _, f := range b.Files {
			if info, err := os.Stat(filepath.Join(b.Dir, f.Name)); f.Missing == "" && (err != nil || info.Size() != f.Bytes) {
				t.Errorf("%s/%s: %v", b.Name, f.Name, err)
			}
		}
	}
}
