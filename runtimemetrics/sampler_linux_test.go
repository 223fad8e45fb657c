package runtimemetrics

import "testing"

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
