package capture

import (
	"runtime"
	"syscall"
)

// cpuTime begins to count the CPU time of the calling goroutine, which has a
// thread of its own until end is called.
func cpuTime() (seconds func() float64, end func()) {
	runtime.LockOSThread()
	began := threadSeconds()
	return func() float64 { return max(0, threadSeconds()-began) }, runtime.UnlockOSThread
}

func threadSeconds() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_THREAD, &u) != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
