package leakcheck

import (
	"syscall"
	"time"
)

// threadTime returns the CPU time that the calling thread has used. What a look
// costs is measured by it, with the goroutine locked to its thread: on a busy
// machine most of the time that passes is time without a processor.
func threadTime() time.Duration {
	const rusageThread = 1
	var u syscall.Rusage
	if err := syscall.Getrusage(rusageThread, &u); err != nil {
		return time.Duration(time.Now().UnixNano())
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
