package timeline

import (
	"bytes"
	"io"
	"runtime/trace"
	"strings"
	"testing"
	"time"
)

//go:noinline
func waitForTimer(done <-chan struct{}) {
	t := time.NewTimer(5 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
	case <-done:
	}
}

//go:noinline
func waitForWorker(c <-chan int) int { return <-c }

//go:noinline
func handOver(c chan<- int) { c <- 1 }

// Who ends a wait is told, also of waits that began before the recording did.
func TestWakesTellTimersFromGoroutines(t *testing.T) {
	c := make(chan int)
	begun := make(chan struct{})
	go func() { close(begun); waitForWorker(c) }()
	<-begun
	time.Sleep(20 * time.Millisecond)
	var recording bytes.Buffer
	if err := trace.Start(&recording); err != nil {
		t.Fatal(err)
	}
	handOver(c)
	for range 20 {
		waitForTimer(nil)
		go func() { time.Sleep(5 * time.Millisecond); handOver(c) }()
		waitForWorker(c)
	}
	trace.Stop()
	data := recording.Bytes()
	var timers, workers, wrong int
	err := Wakes(bytes.NewReader(data), func(blocked, by []Frame) {
		stands := func(stack []Frame, function string) bool {
			for _, f := range stack {
				if strings.HasSuffix(f.Func, "."+function) {
					return true
				}
			}
			return false
		}
		switch {
		case stands(blocked, "waitForTimer") && by == nil:
			timers++
		case stands(blocked, "waitForWorker") && stands(by, "handOver"):
			workers++
		case stands(blocked, "waitForTimer"), stands(blocked, "waitForWorker"):
			wrong++
		}
	})
	if err != nil || timers < 15 || workers < 16 || wrong > 0 {
		t.Errorf("%d timers and %d workers ended waits, %d are told wrongly: %v", timers, workers, wrong, err)
	}
	for _, n := range []int{0, 10, len(data) / 2, len(data) - 1} {
		if err := Wakes(bytes.NewReader(data[:n]), func(_, _ []Frame) {}); n < len(data)/2 && err == nil {
			t.Errorf("no error of the first %d bytes", n)
		}
	}
	if err := Wakes(io.MultiReader(bytes.NewReader(data[:100]), strings.NewReader(strings.Repeat("\xff", 1000))), func(_, _ []Frame) {}); err == nil {
		t.Error("no error of nonsense")
	}
}
