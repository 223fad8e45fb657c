//go:build !linux

package capture

// cpuTime does not know here what a goroutine uses.
func cpuTime() (seconds func() float64, end func()) { return func() float64 { return 0 }, func() {} }
