//go:build !linux

package observe

import "time"

var threadBegan = time.Now()

// threadTime returns the time, which is no less than the CPU time of a thread.
func threadTime() time.Duration { return time.Since(threadBegan) }
