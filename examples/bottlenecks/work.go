package main

import (
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// sink keeps the compiler from dropping what spin computes.
var sink atomic.Uint64

// spin computes for n turns: CPU, and nothing but CPU.
func spin(n int) {
	x := uint64(n) | 1
	for range n {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	if x == 0 {
		sink.Add(1)
	}
}

// turns is how often spin turns in a millisecond of this machine's CPU. The
// fastest of several tries counts: what else runs only makes it look slower. It
// is measured once and handed down, so that all processes mean the same work.
var turns = func() int {
	if n, err := strconv.Atoi(os.Getenv(turnsVariable)); err == nil && n > 0 {
		return n
	}
	const n = 1_000_000
	best := time.Duration(1 << 62)
	for range 8 {
		began := time.Now()
		spin(n)
		best = min(best, time.Since(began))
	}
	return int(float64(n) * float64(time.Millisecond) / float64(max(best, 1)))
}()

const turnsVariable = "BOTTLENECKS_TURNS"

// available is how many of the cores a busy process gets here at present: the
// rest is taken by whatever else runs on the machine.
func available(cores int) float64 {
	const each = 60 * time.Millisecond
	best := time.Duration(1 << 62) // of several, as others come and go
	for range 3 {
		began := time.Now()
		var busy sync.WaitGroup
		for range cores {
			busy.Go(func() { burn(each) })
		}
		busy.Wait()
		best = min(best, time.Since(began))
	}
	return min(float64(cores), float64(cores)*float64(each)/float64(best))
}

// burn uses so much CPU time, however long that takes.
func burn(d time.Duration) {
	spin(int(float64(turns) * d.Seconds() * 1000))
}
