package runtimemetrics

import (
	"context"
	"fmt"
	"os"
	"os/exec"
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
	// The threads' files are not held: one path for each.
	threads := len(held.system.threads.last)
	if n := testing.AllocsPerRun(100, func() { sampler.sample(held) }); n > float64(threads+4) {
		t.Errorf("a sample allocates %v times with %d threads", n, threads)
	}
}
