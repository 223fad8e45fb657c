package main

import (
	"os"
	"strconv"
	"syscall"
)

// remote gives this process the CPU before others when it may: the world stands
// for other machines, which a load on this one would not slow down.
func remote() {
	// The kernel's answer is 20 less the nice value.
	if raw, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0); err == nil {
		os.Setenv(niceVariable, strconv.Itoa(20-raw))
		setPriority(20 - raw - 10)
	}
}

// ordinary takes that back in a process that inherited it.
func ordinary() {
	if nice, err := strconv.Atoi(os.Getenv(niceVariable)); err == nil {
		setPriority(nice)
	}
}

const niceVariable = "BOTTLENECKS_NICE"

// setPriority is for every thread: on Linux each has one, which those that it
// starts inherit.
func setPriority(nice int) {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, t := range threads {
		if id, err := strconv.Atoi(t.Name()); err == nil {
			syscall.Setpriority(syscall.PRIO_PROCESS, id, nice) // without the right to, all stays as it is
		}
	}
}
