package runtimemetrics

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"
)

// A process that is stopped records no scheduler latency: nothing becomes ready
// and nothing runs. The probe alone can tell.
func TestProbeSeesAProcessThatDoesNotRun(t *testing.T) {
	if testing.Short() {
		t.Skip("stops the process for a while")
	}
	ctx, cancel := context.WithCancel(t.Context())
	s := &Sampler{Probe: 10 * time.Millisecond}
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) })
	time.Sleep(50 * time.Millisecond)
	stop := fmt.Sprintf("kill -STOP %[1]d; sleep 0.4; kill -CONT %[1]d", os.Getpid())
	if out, err := exec.Command("sh", "-c", stop).CombinedOutput(); err != nil {
		t.Skipf("%v: %s", err, out)
	}
	time.Sleep(50 * time.Millisecond)
	cancel()
	running.Wait()
	d, _ := s.Latest()
	if worst := d.Wakeup.Quantile(1); worst < 300*time.Millisecond {
		t.Errorf("stopped for 0.4 s, and the worst probe was %v late", worst)
	}
}

func TestSampleAllocatesNothingButToOpenFiles(t *testing.T) {
	r := newReader(false)
	var s Snapshot
	r.runtime(&s)
	if n := testing.AllocsPerRun(100, func() { r.runtime(&s) }); n != 0 {
		t.Errorf("reading the runtime allocates %v times", n)
	}
	sampler := &Sampler{ring: make([]Snapshot, 4)}
	held := newReader(true)
	defer held.close()
	sampler.sample(held)
	// Counting descriptors hands two paths to the kernel. While threads begin or
	// end, they are listed anew.
	var n float64
	for range 5 {
		if n = testing.AllocsPerRun(100, func() { sampler.sample(held) }); n <= 2 {
			return
		}
	}
	t.Errorf("a sample allocates %v times", n)
}

// Threads come and go while a sampler holds a file of each.
func TestThreadsThatEndGiveTheirDescriptorsBack(t *testing.T) {
	before := descriptors("/proc/self/fd")
	r := newReader(true)
	var s Snapshot
	for range 3 {
		var begun, threads sync.WaitGroup
		begun.Add(10)
		release := make(chan struct{})
		for range 10 {
			threads.Go(func() {
				runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
				begun.Done()
				<-release
			})
		}
		begun.Wait()
		r.read(&s, false)
		if held, delay := len(r.system.threads.last), s.Process.RunDelay; held < 10 || !Known(delay) {
			t.Errorf("%d threads known, a delay of %v", held, delay)
		}
		close(release)
		threads.Wait()
	}
	time.Sleep(10 * time.Millisecond)
	delay := s.Process.RunDelay
	r.read(&s, false)
	if s.Process.RunDelay < delay {
		t.Errorf("the delay went from %v to %v", delay, s.Process.RunDelay)
	}
	r.close()
	if got := descriptors("/proc/self/fd"); got != before {
		t.Errorf("%v descriptors after close, %v before", got, before)
	}
}
