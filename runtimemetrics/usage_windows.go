package runtimemetrics

import (
	"syscall"
	"time"
)

// usage fills what Windows tells a process about itself without further
// libraries.
func (r *systemReader) usage(p *Process) {
	self, err := syscall.GetCurrentProcess()
	if err != nil {
		return
	}
	var created, exited, kernel, user syscall.Filetime
	if syscall.GetProcessTimes(self, &created, &exited, &kernel, &user) != nil {
		return
	}
	p.CPUUser, p.CPUSystem = seconds(user), seconds(kernel)
	p.Started = time.Unix(0, created.Nanoseconds())
}

// seconds reads a Filetime that is a length of time, in units of 100 ns.
func seconds(t syscall.Filetime) float64 {
	return float64(uint64(t.HighDateTime)<<32|uint64(t.LowDateTime)) / 1e7
}
