package leakcheck

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"
	"weak"
)

func needsProof(t *testing.T) {
	t.Helper()
	if pprof.Lookup("goroutineleak") == nil {
		t.Skip("this runtime has no goroutineleak profile")
	}
}

func TestVerifyDoesNotWaitForProvenLeaks(t *testing.T) {
	needsProof(t)
	Verify(t)
	out, err := child(t, "TestProvenChild").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "proof       the runtime found nothing reachable that could wake it") {
		t.Errorf("%v:\n%s", err, out)
	}
}

func TestProvenChild(t *testing.T) {
	onlyAsChild(t)
	begin := time.Now()
	t.Cleanup(func() {
		if d := time.Since(begin); d > 30*time.Second {
			t.Errorf("waited %v", d)
		}
	})
	Config{Patience: time.Hour}.Verify(t)
	go block(make(chan bool))
}

// The reason for NoProof, and why production code has to ask for the proof: a
// goroutine that only a weak.Pointer leads to is judged leaked, and the
// runtime ends the process when somebody wakes it after all.
func TestProofEndsProcessesThatWakeThroughAWeakPointer(t *testing.T) {
	needsProof(t)
	Verify(t)
	const fatal = "fatal error: bad g->status in ready"
	out, err := child(t, "TestWeakChild").CombinedOutput()
	if strings.Contains(string(out), "--- SKIP") {
		t.Fatalf("the child did nothing:\n%s", out)
	}
	if hit := strings.Contains(string(out), fatal); !hit {
		// If this fails, the runtime is mended: say so in NoProof's comment
		// and let it go.
		t.Errorf("%s did not end in %q: %v\n%s", runtime.Version(), fatal, err, out)
	}

	cmd := child(t, "TestWeakChild")
	cmd.Env = append(cmd.Env, "NOPROOF=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("with NoProof: %v\n%s", err, out)
	}
}

func TestWeakChild(t *testing.T) {
	onlyAsChild(t)
	type door struct{ c chan bool }
	began, woken := make(chan weak.Pointer[door]), make(chan bool, 1)
	go func() {
		d := &door{make(chan bool)}
		began <- weak.Make(d)
		<-d.c
		woken <- true
		runtime.KeepAlive(d) // so far only this frame does
	}()
	key := <-began
	for range 10 {
		runtime.Gosched() // let it block
	}
	// A test whose goroutine takes its time asks for the proof...
	noProof := os.Getenv("NOPROOF") != ""
	failures := run(Config{Patience: time.Second, NoProof: noProof}, t.Name()+"/fake", func(*fakeT) {
		go time.Sleep(100 * time.Millisecond)
	})
	if len(failures) > 0 {
		t.Error(failures)
	}
	// ... and dooms whoever wakes the other.
	d := key.Value()
	if d == nil {
		t.Fatal("the goroutine did not keep its own door alive")
	}
	d.c <- true
	<-woken
}

func TestWatchAsksForProofIfTold(t *testing.T) {
	needsProof(t)
	Verify(t)
	out, _ := child(t, "TestWatchProofChild").CombinedOutput() // fails for its leaks
	for _, want := range []string{
		"proof false: window (2[4-9]|30), confidence 0.90",
		"proof true: window 1[0-9], confidence 1.00, .* the runtime proved [0-9]+ of them",
	} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
}

func TestWatchProofChild(t *testing.T) {
	onlyAsChild(t)
	for _, proof := range []bool{false, true} {
		found, window := false, 0
		at := time.Now()
		config := Config{Proof: proof, MaxPause: time.Hour, NoHeap: true, NoDescriptors: true}
		w := newWatcher(config, func(s Suspect) {
			if !found {
				fmt.Printf("proof %v: window %d, confidence %.2f, %s\n", proof, window, s.Confidence, s.Basis)
			}
			found = true
		}, at)
		for window = 1; window <= 30 && !found; window++ {
			began := make(chan bool)
			for range 2 {
				go func() {
					began <- true
					block(make(chan bool)) // which nobody else knows
				}()
				<-began
			}
			time.Sleep(5 * time.Millisecond) // let them come to block; a window more does no harm
			at = at.Add(time.Minute)
			w.window(at)
		}
	}
}
