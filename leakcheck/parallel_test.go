package leakcheck

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"runtime/pprof"
	"slices"
	"strings"
	"testing"
	"time"
)

var parallelRuns = flag.Int("parallel-runs", 2, "how often the 200 parallel tests run")

// asChild is set in the processes that this package's tests start of
// themselves; it names the test that is meant to run there.
const asChild = "LEAKCHECK_TEST_CHILD"

// child returns the command that runs one of this binary's tests, which only
// runs as a child, in a process of its own.
func child(t *testing.T, test string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], append([]string{"-test.run=^" + test + "$", "-test.v"}, args...)...)
	cmd.Env = append(os.Environ(), asChild+"="+test)
	return cmd
}

func onlyAsChild(t *testing.T) {
	t.Helper()
	if os.Getenv(asChild) != t.Name() {
		t.Skip("runs in a child process")
	}
}

const parallelTests = 200

// parallelLeaks has one way to leak for each of the tests that do, by the
// number of the test. Two thirds of them leave the very same stack.
var parallelLeaks = func() map[int]func(c chan bool) {
	child := func(c chan bool) {
		go block(c)
	}
	grandchild := func(c chan bool) { // its parent has ended
		ended := make(chan bool)
		go func() { go block(c); close(ended) }()
		<-ended
	}
	relabelled := func(c chan bool) {
		began := make(chan bool)
		go pprof.Do(context.Background(), pprof.Labels("k", "v"), func(context.Context) { close(began); block(c) })
		<-began
	}
	ways := []func(chan bool){child, grandchild, relabelled}
	leaks := map[int]func(chan bool){}
	for i := range 20 {
		leaks[i*10+i%7] = ways[i%len(ways)]
	}
	return leaks
}()

func block(c chan bool) { <-c }

// TestParallelChild has 200 subtests, of which 20 leak.
func TestParallelChild(t *testing.T) {
	onlyAsChild(t)
	for i := range parallelTests {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			Config{Patience: 300 * time.Millisecond}.Verify(t)
			t.Parallel()
			if leak := parallelLeaks[i]; leak != nil {
				leak(make(chan bool))
				return
			}
			// What ends soon after its test has ended.
			c := make(chan bool)
			go block(c)
			go func() { go block(c) }()
			go pprof.Do(context.Background(), pprof.Labels("k", "v"), func(context.Context) { block(c) })
			time.AfterFunc(time.Duration(i%5)*time.Millisecond, func() { close(c) })
		})
	}
}

func TestVerifyBlamesExactlyTheLeakingTestsOf200(t *testing.T) {
	Verify(t)
	var want []string
	for _, i := range slices.Sorted(maps.Keys(parallelLeaks)) {
		want = append(want, fmt.Sprintf("TestParallelChild/%d", i))
	}
	failed := regexp.MustCompile(`(?m)^\s*--- FAIL: (TestParallelChild/\d+) `)
	blamed := regexp.MustCompile(`leakcheck: (\S+) left a goroutine behind`)
	for run := range *parallelRuns {
		out, err := child(t, "TestParallelChild", "-test.parallel=200").CombinedOutput()
		if err == nil {
			t.Fatalf("run %d: the leaking tests passed:\n%s", run, out)
		}
		for what, re := range map[string]*regexp.Regexp{"failed": failed, "blamed": blamed} {
			var got []string
			for _, m := range re.FindAllStringSubmatch(string(out), -1) {
				got = append(got, m[1])
			}
			slices.SortFunc(got, byNumber)
			if !slices.Equal(got, want) {
				t.Fatalf("run %d: %s: %q, want %q\n%.10000s", run, what, got, want, out)
			}
		}
	}
}

func byNumber(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// TestMixedChild has subtests that run beside each other, only one of which is
// under Verify and leaks nothing.
func TestMixedChild(t *testing.T) {
	onlyAsChild(t)
	leaked := make(chan bool, 2)
	for _, name := range []string{"verified", "other"} {
		t.Run(name, func(t *testing.T) {
			if name == "verified" {
				Config{Patience: 100 * time.Millisecond}.Verify(t)
				t.Parallel()
				<-leaked
				<-leaked
				return
			}
			t.Parallel()
			go func() { leaked <- true; blockForever() }()
			ended := make(chan bool)
			go func() {
				go func() { leaked <- true; blockForever() }()
				close(ended)
			}()
			<-ended
		})
	}
}

func TestVerifyDoesNotBlameItsTestForAnotherWithoutVerify(t *testing.T) {
	Verify(t)
	out, _ := child(t, "TestMixedChild", "-test.parallel=2").CombinedOutput()
	if !strings.Contains(string(out), "--- PASS: TestMixedChild/verified") || strings.Contains(string(out), "--- FAIL") {
		t.Errorf("the verified test failed:\n%s", out)
	}
	if strings.Count(string(out), "\nleakcheck: TestMixedChild left a goroutine behind") != 2 {
		t.Errorf("VerifyMain did not report both goroutines of the other:\n%s", out)
	}
}
