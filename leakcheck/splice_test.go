package leakcheck

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"testing"
	"time"
)

func TestVerifyKnowsThePipesOfCopiedConnections(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("descriptors are looked at on Linux only")
	}
	if !splicesShow() {
		t.Skip("all pipes that a user may have are in use")
	}
	Verify(t)
	out, err := child(t, "TestSpliceChild").CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("got %v, want exit code 1", err)
	}
	var got []string
	for _, m := range regexp.MustCompile(`leakcheck: (\S+ left .*) \(descriptor \d+\)`).FindAllStringSubmatch(string(out), -1) {
		got = append(got, m[1])
	}
	want := []string{
		"TestSpliceChild/kept left a descriptor open: pipe",
		"TestSpliceChild/kept left a descriptor open: pipe",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q\n%s", got, want, out)
	}
}

func TestSpliceChild(t *testing.T) {
	onlyAsChild(t)
	t.Run("proxy that still copies", func(t *testing.T) {
		// The connection is the outer test's, the pipes come during this one.
		from, to := connection(t)
		began, ended := make(chan bool), make(chan bool)
		go func() {
			defer close(ended)
			<-began
			io.Copy(to, to)
		}()
		t.Run("request", func(t *testing.T) {
			Verify(t)
			close(began)
			askEcho(t, from)
		})
		from.Close()
		<-ended
	})
	t.Run("echo", func(t *testing.T) {
		Verify(t)
		copyBack(t)
		if len(pipesOpen(t)) == 0 {
			t.Skip("this system copies connections without pipes")
		}
	})
	var kept [2]*os.File // so that the garbage collector does not close them
	t.Run("kept", func(t *testing.T) {
		Config{Patience: 100 * time.Millisecond}.Verify(t)
		copyBack(t)
		var err error
		if kept[0], kept[1], err = os.Pipe(); err != nil {
			t.Fatal(err)
		}
	})
	kept[0].Close()
	kept[1].Close()
}

// Where the kernel does not grant the size by which they are known, what a
// collection closes is nobody's, and what is kept is blamed all the same.
func TestVerifyCollectsPipesThatCannotBeTold(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("descriptors are looked at on Linux only")
	}
	Verify(t)
	never := func(int) bool { return false }
	unknown := func() bool { return false }
	start, err := readDescriptors()
	if err != nil {
		t.Fatal(err)
	}
	copyBack(t)
	for d := range start {
		if splices(d.number) { // of another test, and used again
			delete(start, d)
		}
	}
	left, err := Config{Patience: time.Minute}.descriptorsLeft(start, never, unknown)
	if err != nil || len(left) > 0 {
		t.Errorf("got %q, %v, want none", left, err)
	}
	kept, other, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	other.Close()
	left, err = Config{Patience: 100 * time.Millisecond}.descriptorsLeft(start, never, unknown)
	if err != nil || len(left) != 1 {
		t.Errorf("got %q, %v, want the pipe that is kept", left, err)
	}
}

func pipesOpen(t *testing.T) (all []descriptor) {
	t.Helper()
	now, err := readDescriptors()
	if err != nil {
		t.Fatal(err)
	}
	for d := range now {
		if d.describe(nil) == "pipe" {
			all = append(all, d)
		}
	}
	return all
}

// copyBack asks a server that copies each connection to itself, and closes all.
func copyBack(t *testing.T) {
	t.Helper()
	from, to := connection(t)
	ended := make(chan bool)
	go func() {
		defer close(ended)
		io.Copy(to, to)
		to.Close()
	}()
	askEcho(t, from)
	from.Close()
	<-ended
}

func connection(t *testing.T) (from, to net.Conn) {
	t.Helper()
	l := listen(t, "tcp", "127.0.0.1:0")
	defer l.Close()
	from, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { from.Close() })
	if to, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { to.Close() })
	return from, to
}

func askEcho(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.WriteString(c, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
}
