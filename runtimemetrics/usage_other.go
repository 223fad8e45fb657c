//go:build !(linux || darwin || freebsd || netbsd || openbsd || windows)

package runtimemetrics

func (r *systemReader) usage(*Process) {}
