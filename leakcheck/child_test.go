package leakcheck

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"runtime/pprof"
	"slices"
	"testing"
	"time"
)

// What is known only of a real *testing.T: whether a test ran alone, the
// order of cleanups, the exit code.
func TestRealTestsFailForWhatTheyLeave(t *testing.T) {
	Verify(t)
	out, err := child(t, "TestAloneChild").CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("got %v, want exit code 1", err)
	}
	var got []string
	for _, m := range regexp.MustCompile(`leakcheck: (\S+ left .*)`).FindAllStringSubmatch(string(out), -1) {
		got = append(got, m[1])
	}
	want := []string{
		"TestAloneChild/timer left a goroutine behind [chan receive]",
		"TestAloneChild/relabelled left a goroutine behind [chan receive]",
		"TestAloneChild/body left a goroutine behind [select]: the body of an HTTP response was neither read to its end nor closed",
		"TestAloneChild/file left a descriptor open: file " + os.Args[0] + " (descriptor 0)",
		"TestAloneChild/cleanup left a goroutine behind [chan receive]",
	}
	number := regexp.MustCompile(`descriptor \d+`)
	for i := range got {
		got[i] = number.ReplaceAllString(got[i], "descriptor 0")
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q\n%s", got, want, out)
	}
}

// forever has what the tests in child processes leak; they never end it.
var forever = make(chan bool)

func blockForever() { <-forever }

func TestAloneChild(t *testing.T) {
	onlyAsChild(t)
	c := Config{Patience: 100 * time.Millisecond}
	t.Run("timer", func(t *testing.T) {
		c.Verify(t)
		time.AfterFunc(0, blockForever)
		time.Sleep(10 * time.Millisecond)
	})
	t.Run("relabelled", func(t *testing.T) { // and its parent has ended
		c.Verify(t)
		ended := make(chan bool)
		go pprof.Do(context.Background(), pprof.Labels("k", "v"), func(context.Context) {
			go blockForever()
			close(ended)
		})
		<-ended
	})
	srv := httptest.NewServer(http.HandlerFunc(answer))
	defer srv.Close()
	t.Run("body", func(t *testing.T) {
		c.Verify(t)
		if _, err := srv.Client().Get(srv.URL); err != nil {
			t.Fatal(err)
		}
	})
	var kept *os.File // so that the garbage collector does not close it
	t.Run("file", func(t *testing.T) {
		c.Verify(t)
		f, err := os.Open(os.Args[0])
		if err != nil {
			t.Fatal(err)
		}
		kept = f
	})
	kept.Close()
	t.Run("cleanup", func(t *testing.T) {
		c.Verify(t)
		t.Cleanup(func() { go blockForever() })
	})
	t.Run("clean", func(t *testing.T) { c.Verify(t) })
}

func TestVerifyMainReportsWhatNoTestVerified(t *testing.T) {
	Verify(t)
	out, err := child(t, "TestMainChild", "-test.parallel=2").CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("got %v, want exit code 1", err)
	}
	for _, want := range []string{
		`(?m)^--- PASS: TestMainChild`,
		`(?m)^leakcheck: TestMainChild left a goroutine behind \[chan receive\]$`,
		`(?m)^leakcheck: a test left 2 goroutines behind \[chan receive\]$`,
		`(?m)^	blocked in  github.com/loadline-go/loadline/leakcheck.blockForever$`,
	} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("the output lacks %s:\n%s", want, out)
		}
	}
}

// TestMainChild passes, because its subtests run beside each other and what
// they leave cannot be told apart.
func TestMainChild(t *testing.T) {
	onlyAsChild(t)
	go blockForever()
	ready := make(chan bool, 2)
	both := make(chan bool)
	go func() { <-ready; <-ready; close(both) }()
	for _, name := range []string{"a", "b"} {
		t.Run(name, func(t *testing.T) {
			Verify(t)
			t.Parallel()
			time.AfterFunc(0, blockForever)
			ready <- true
			<-both
		})
	}
}
