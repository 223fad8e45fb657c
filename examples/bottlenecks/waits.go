package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// What waits for the kernel, and timers.
var waitPrograms = []program{
	{
		name:     "blocking-syscalls",
		what:     "Two routes read from a file system that takes 300 ms, and each read holds a thread.",
		seen:     "threads pile up; goroutine dumps show [syscall] in readShare; no lock, no CPU",
		causes:   []string{"blocking-syscalls"},
		subjects: []string{"", "/search", "/price", "readShare", "slowFile"},
		cannot:   func() string { return noSlowFiles },
		service: func(s *service, f *fault) {
			h := func(http.ResponseWriter, *http.Request) error {
				if f.sick() {
					return readShare(300 * time.Millisecond)
				}
				return nil
			}
			s.on("/search", h)
			s.on("/price", h)
		},
	},
	{
		name:     "disk-sync",
		what:     "Every order is written to a journal on disk and synced, in far larger pieces than before.",
		seen:     "goroutine dumps show [syscall] in fsync below writeJournal; iostat and the pressure of io are high",
		causes:   []string{"disk-stall"},
		subjects: []string{"", "/orders", "writeJournal"},
		service: func(s *service, f *fault) {
			size := 1 << 20
			for !s.Small && size < 64<<20 {
				// Large enough to take a while on this disk.
				began := time.Now()
				if writeJournal(filepath.Join(s.Dir, "try"), size) != nil || time.Since(began) > 60*time.Millisecond {
					break
				}
				size *= 2
			}
			var n atomic.Int64
			s.on("/orders", func(http.ResponseWriter, *http.Request) error {
				if f.sick() {
					return writeJournal(filepath.Join(s.Dir, fmt.Sprint("journal", n.Add(1))), size)
				}
				return nil
			})
		},
	},
	{
		name:     "timer-storm",
		what:     "Thousands of goroutines each wake up every few milliseconds to look whether there is something to do.",
		seen:     "a CPU profile is all timers and scheduling; goroutines run for microseconds and are very many",
		causes:   []string{"timer-storm"},
		subjects: []string{"", "lookForWork"},
		service: func(s *service, f *fault) {
			n := 2000 * s.Cores
			if s.Small {
				n = 10
			}
			background(f, n, func(stop <-chan struct{}) {
				f.did.Add(1)
				lookForWork(stop, time.Millisecond)
			})
		},
	},
}

//go:noinline
func readShare(takes time.Duration) error {
	file, err := newSlowFile()
	if err != nil {
		return err
	}
	defer file.Close()
	time.AfterFunc(takes, func() { file.Write() })
	return file.Read()
}

//go:noinline
func writeJournal(name string, size int) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer os.Remove(name)
	defer f.Close()
	for ; size > 0; size -= len(zeros) {
		if _, err := f.Write(zeros[:]); err != nil {
			return err
		}
	}
	return f.Sync()
}

var zeros [1 << 20]byte

//go:noinline
func lookForWork(stop <-chan struct{}, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
	}
}
