package leakcheck

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	Config{Timers: strings.HasPrefix(os.Getenv(asChild), besideEachOther)}.VerifyMain(m)
}

// A fakeT is a test whose failures are the test's result.
type fakeT struct {
	name     string
	parallel bool

	mu       sync.Mutex
	cleanups []func()
	failures []string
}

func (f *fakeT) Helper()          {}
func (f *fakeT) Name() string     { return f.name }
func (f *fakeT) Cleanup(g func()) { f.cleanups = append(f.cleanups, g) }
func (f *fakeT) Errorf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failures = append(f.failures, fmt.Sprintf(format, args...))
}
func (f *fakeT) Setenv(string, string) {
	if f.parallel {
		panic("parallel")
	}
}

// run runs body as the test named name under c and returns its failures.
func run(c Config, name string, body func(*fakeT)) []string {
	f := &fakeT{name: name}
	return f.run(c, body)
}

func (f *fakeT) run(c Config, body func(*fakeT)) []string {
	if c.Patience == 0 {
		c.Patience = 100 * time.Millisecond
	}
	c.Verify(f)
	body(f)
	for len(f.cleanups) > 0 {
		last := len(f.cleanups) - 1
		g := f.cleanups[last]
		f.cleanups = f.cleanups[:last]
		g()
	}
	return f.failures
}

func wantOne(t *testing.T, failures []string, parts ...string) {
	t.Helper()
	if len(failures) != 1 {
		t.Fatalf("got %d failures, want 1:\n%s", len(failures), strings.Join(failures, "\n"))
	}
	for _, part := range parts {
		if !strings.Contains(failures[0], part) {
			t.Errorf("the failure lacks %q:\n%s", part, failures[0])
		}
	}
}

func wantNone(t *testing.T, failures []string) {
	t.Helper()
	if len(failures) > 0 {
		t.Fatalf("got failures:\n%s", strings.Join(failures, "\n"))
	}
}

func waitFor(c chan struct{}) { <-c } // position 1

// position returns "verify_test.go:82" for the line that is marked so.
func position(n int) string {
	text, _ := os.ReadFile("verify_test.go")
	before, _, _ := strings.Cut(string(text), fmt.Sprintf(" // position %d\n", n))
	return fmt.Sprintf("verify_test.go:%d", strings.Count(before, "\n")+1)
}

func TestVerifyNamesTestCreatorAndBlockingLine(t *testing.T) {
	Verify(t)
	c := make(chan struct{})
	defer close(c)
	got := run(Config{}, "TestShop", func(*fakeT) {
		for range 2 {
			go waitFor(c) // position 2
		}
	})
	wantOne(t, got, "TestShop left 2 goroutines behind [chan receive]",
		"blocked in  github.com/loadline-go/loadline/leakcheck.waitFor", position(1),
		"created by  github.com/loadline-go/loadline/leakcheck.TestVerifyNames", position(2))
}

func TestVerifyPassesACleanTestAtOnce(t *testing.T) {
	Verify(t)
	begin := time.Now()
	wantNone(t, run(Config{Patience: time.Hour}, "TestClean", func(*fakeT) {
		done := make(chan bool)
		go close(done)
		<-done
	}))
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestVerifyWaitsForGoroutinesThatEnd(t *testing.T) {
	Verify(t)
	wantNone(t, run(Config{Patience: time.Minute}, "TestSlow", func(*fakeT) {
		go time.Sleep(50 * time.Millisecond)
	}))
}

func TestVerifyAttributesRelabelledGoroutines(t *testing.T) {
	Verify(t)
	relabel := func(f func()) {
		pprof.Do(context.Background(), pprof.Labels("k", "v"), func(context.Context) { f() })
	}
	for _, tt := range []struct {
		name  string
		start func(c chan struct{})
	}{
		{"child of the test", func(c chan struct{}) { go relabel(func() { <-c }) }},
		{"child of a goroutine that has ended", func(c chan struct{}) {
			ended := make(chan bool)
			go func() {
				defer close(ended)
				relabel(func() { go waitFor(c) })
			}()
			<-ended
		}},
		{"after the test lost its own label", func(c chan struct{}) {
			relabel(func() {})
			ended := make(chan bool)
			go func() { go waitFor(c); close(ended) }()
			<-ended
		}},
		{"timer's function", func(c chan struct{}) {
			began := make(chan bool)
			time.AfterFunc(0, func() { close(began); <-c })
			<-began
		}},
	} {
		c := make(chan struct{})
		wantOne(t, run(Config{}, t.Name()+"/fake", func(*fakeT) { tt.start(c) }), t.Name()+"/fake left a goroutine")
		close(c)
	}
}

func TestVerifyBlamesOnlyTheLeakingParallelTest(t *testing.T) {
	Verify(t)
	c := make(chan struct{})
	defer close(c)
	const n = 20
	var (
		failures [n][]string
		wg, all  sync.WaitGroup
	)
	all.Add(n)
	for i := range n {
		wg.Go(func() {
			f := &fakeT{name: fmt.Sprintf("TestTable/%d", i), parallel: true}
			failures[i] = f.run(Config{}, func(*fakeT) {
				ended := make(chan bool)
				go func() { // the parent is gone when the check comes
					defer close(ended)
					if i%5 == 0 {
						go waitFor(c)
					}
				}()
				<-ended
				all.Done()
				all.Wait() // so that all are under watch at once
			})
		})
	}
	wg.Wait()
	for i, f := range failures {
		if i%5 != 0 {
			wantNone(t, f)
		} else {
			wantOne(t, f, fmt.Sprintf("TestTable/%d left a goroutine", i))
		}
	}
}

func TestVerifyIgnoresByFunction(t *testing.T) {
	Verify(t)
	const pkg = "github.com/loadline-go/loadline/leakcheck"
	for _, tt := range []struct {
		ignore string
		want   int
	}{
		{pkg + ".waitFor", 0},
		{pkg, 0},
		{pkg + ".TestVerifyIgnoresByFunction", 0}, // the creator
		{pkg + ".wait", 1},
		{"github.com/loadline-go", 1},
		{"waitFor", 1},
	} {
		c := make(chan struct{})
		got := run(Config{Ignore: []string{tt.ignore}}, "TestIgnore", func(*fakeT) { go waitFor(c) })
		if len(got) != tt.want {
			t.Errorf("Ignore %q: got %d failures, want %d", tt.ignore, len(got), tt.want)
		}
		close(c)
	}
}

func TestVerifyRefusesAConfigThatCannotWork(t *testing.T) {
	Verify(t)
	got := run(Config{Ignore: []string{""}, Patience: -1}, "TestConfig", func(*fakeT) {})
	wantOne(t, got, "Config.Ignore[0]: is empty", "Config.Patience: -1ns is negative")
}

func TestVerifyDoesNotReportWhatWasThereBefore(t *testing.T) {
	Verify(t)
	c := make(chan struct{})
	defer close(c)
	began := make(chan bool)
	go func() { close(began); waitFor(c) }()
	<-began
	wantNone(t, run(Config{}, t.Name()+"/fake", func(*fakeT) {}))
}

func TestVerifyTwiceReportsOnce(t *testing.T) {
	Verify(t)
	c := make(chan struct{})
	defer close(c)
	wantOne(t, run(Config{}, "TestTwice", func(f *fakeT) {
		Verify(f)
		go waitFor(c)
	}), "TestTwice")
}

type mainFunc func() int

func (f mainFunc) Run() int { return f() }

func TestVerifyMainFailsForWhatIsLeft(t *testing.T) {
	Verify(t)
	c := make(chan struct{})
	var out bytes.Buffer
	code := Config{Patience: 50 * time.Millisecond}.verifyMain(mainFunc(func() int { go waitFor(c); return 0 }), &out)
	close(c)
	if code != 1 || !strings.Contains(out.String(), "TestVerifyMainFailsForWhatIsLeft left a goroutine behind [chan receive]") {
		t.Errorf("code %d, output:\n%s", code, out.String())
	}
}

func TestVerifyMainKeepsTheTestsExitCode(t *testing.T) {
	Verify(t)
	for _, want := range []int{0, 1, 2} {
		var out bytes.Buffer
		if got := (Config{}).verifyMain(mainFunc(func() int { return want }), &out); got != want || out.Len() > 0 {
			t.Errorf("got code %d, want %d; output %q", got, want, out.String())
		}
	}
}
