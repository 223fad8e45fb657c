//go:build linux || darwin || freebsd || netbsd || openbsd

package runtimemetrics

import "syscall"

// usage fills what every Unix tells a process about itself.
func (r *systemReader) usage(p *Process) {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) == nil {
		p.CPUUser, p.CPUSystem = float64(u.Utime.Nano())/1e9, float64(u.Stime.Nano())/1e9
		p.VoluntarySwitches, p.ForcedSwitches = float64(u.Nvcsw), float64(u.Nivcsw)
		p.MajorFaults, p.MinorFaults = float64(u.Majflt), float64(u.Minflt)
	}
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) == nil && uint64(l.Cur) < 1<<62 {
		p.DescriptorLimit = float64(l.Cur)
	}
}
