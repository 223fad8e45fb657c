//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package capture

import (
	"os"
	"syscall"
)

const lockable = true

// lock marks f as in use by this process until it is closed, in whatever way
// the process ends.
func lock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
