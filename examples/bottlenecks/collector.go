package main

import (
	"net/http"
	"runtime"
	"runtime/debug"
	"sync"
)

// What the garbage collector does, and what stops the world.
var collectorPrograms = []program{
	{
		name:     "gc-allocation",
		what:     "Every request allocates 24 MB for a moment, beside a large index that is marked each time.",
		seen:     "many collections a second, GC takes more CPU than the handlers; an allocation profile is all encodeWide",
		causes:   []string{"gc-allocation"},
		subjects: []string{"", "encodeWide"},
		service: func(s *service, f *fault) {
			index := keepIndex(s, f, 80)
			s.on("", func(http.ResponseWriter, *http.Request) error {
				if f.sick() {
					encodeWide(24 << 20)
				}
				runtime.KeepAlive(index)
				return nil
			})
		},
	},
	{
		name:   "gc-limit",
		what:   "GOMEMLIMIT is a little above what is in use, and the collector runs all the time to stay below.",
		seen:   "many collections at a modest allocation rate; the heap's goal is at the limit; the GC CPU limiter is on",
		causes: []string{"gc-memory-limit"},
		service: func(s *service, f *fault) {
			index := keepIndex(s, f, 80)
			s.on("", func(http.ResponseWriter, *http.Request) error {
				f.sick()
				encodeWide(500 << 10)
				runtime.KeepAlive(index)
				return nil
			})
			var before int64
			f.begin = func() {
				debug.FreeOSMemory()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				before = debug.SetMemoryLimit(int64(m.Sys-m.HeapReleased) + 1<<20)
			}
			f.end = func() { debug.SetMemoryLimit(before) }
		},
	},
	{
		name:     "gc-forced",
		what:     "A route collects garbage by itself on every request, to keep memory low.",
		seen:     "forced collections (GODEBUG=gctrace=1 says so), one a request; /report takes as long as one",
		causes:   []string{"gc-forced"},
		subjects: []string{"", "/report", "tidyUp", "FreeOSMemory"},
		service: func(s *service, f *fault) {
			index := keepIndex(s, f, 80)
			s.on("/report", func(http.ResponseWriter, *http.Request) error {
				if f.sick() {
					tidyUp()
				}
				runtime.KeepAlive(index)
				return nil
			})
		},
	},
	{
		name:     "stop-the-world",
		what:     "A debugging aid writes down the stacks of all goroutines, of which there are thousands, with every search.",
		seen:     "long stop-the-world pauses that are not the collector's; a CPU profile is all runtime.Stack",
		causes:   []string{"stop-the-world"},
		subjects: []string{"", "/search", "writeStacks", "Stack"},
		service: func(s *service, f *fault) {
			n := 3000
			if s.Small {
				n = 50
			}
			stop := make(chan struct{})
			var running sync.WaitGroup
			for range n {
				running.Go(func() { waitForMessage(stop, 20) })
			}
			f.close = func() {
				close(stop)
				running.Wait()
			}
			s.on("/search", func(http.ResponseWriter, *http.Request) error {
				if f.sick() {
					writeStacks()
				}
				return nil
			})
		},
	},
}

//go:noinline
func encodeWide(size int) byte {
	buf := make([]byte, size)
	buf[size/2] = 1
	return buf[size-1] + buf[size/2]
}

//go:noinline
func tidyUp() { debug.FreeOSMemory() }

//go:noinline
func writeStacks() { runtime.Stack(make([]byte, 64<<10), true) }

// waitForMessage waits with a stack as deep as a server's.
//
//go:noinline
func waitForMessage(stop <-chan struct{}, depth int) {
	if depth > 0 {
		waitForMessage(stop, depth-1)
		return
	}
	<-stop
}

// An entry of an index has pointers to follow, and so takes time to mark.
type entry struct {
	left, right *entry
	words       [2]*string
}

// keepIndex builds an index of about so many megabytes, which stays for as long
// as the service.
func keepIndex(s *service, f *fault, megabytes int) *entry {
	if s.Small {
		megabytes = 1
	}
	root := &entry{}
	queue := []*entry{root}
	for n := megabytes << 20 / 48; n > 0; n -= 2 {
		e := queue[0]
		queue = queue[1:]
		word := "word"
		e.left, e.right, e.words[0] = &entry{}, &entry{}, &word
		queue = append(queue, e.left, e.right)
	}
	return root
}
