package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/loadline-go/loadline/observe"
)

// What uses the CPU, or keeps it from the service.
var cpuPrograms = []program{
	{
		name:   "cpu-demand",
		what:   "A release made every route compute so much that the usual requests want nearly all cores.",
		seen:   "top shows every core busy with this process; all routes are slow alike; a CPU profile is spread over all of them",
		causes: []string{"cpu-saturated"},
		service: func(s *service, f *fault) {
			each := time.Duration(s.free * 0.95 / usualRate * float64(time.Second))
			s.on("", func(http.ResponseWriter, *http.Request) error {
				if f.sick() {
					burn(each)
				}
				return nil
			})
		},
	},
	{
		name:     "cpu-route",
		what:     "One route in ten computes for more than a tenth of a second, and the others wait for a core.",
		seen:     "a CPU profile is all searchIndex; /search is slow by itself, the rest by waiting",
		causes:   []string{"cpu-burner"},
		subjects: []string{"/search", "searchIndex"},
		service: func(s *service, f *fault) {
			each := time.Duration(s.free * 0.75 / (usualRate / 10) * float64(time.Second))
			s.on("/search", func(http.ResponseWriter, *http.Request) error {
				if f.sick() {
					searchIndex(each)
				}
				return nil
			})
		},
	},
	{
		name:     "cpu-job",
		what:     "A background job rebuilds an index with far more goroutines than there are cores.",
		seen:     "a CPU profile is all the job's function; every route waits for a core, none computes",
		causes:   []string{"cpu-burner"},
		subjects: []string{"reindex", "rebuildIndex"},
		service: func(s *service, f *fault) {
			hogs(s, f, func(stop <-chan struct{}) {
				s.tel.Run(context.Background(), observe.Job{Name: "reindex"}, func(context.Context) error {
					rebuildIndex(stop)
					return nil
				})
			})
		},
	},
	{
		name:     "cpu-stray",
		what:     "Goroutines that nobody watches spin, looking for work that is not there.",
		seen:     "a CPU profile is all pollForWork, outside of any request",
		causes:   []string{"cpu-burner"},
		subjects: []string{"pollForWork", "main.spin"},
		service: func(s *service, f *fault) {
			hogs(s, f, pollForWork)
		},
	},
	{
		name:    "cpu-throttled",
		what:    "The container's CPU quota is cut below what its usual requests take.",
		seen:    "cpu.stat counts throttled periods, while the host is idle and the process's CPU low",
		causes:  []string{"cpu-throttled"},
		limited: true,
		cannot:  cannotLimit,
		service: func(s *service, f *fault) {
			s.on("", func(http.ResponseWriter, *http.Request) error {
				burn(1500 * time.Microsecond)
				return nil
			})
		},
		world: func(w *world) (begin, end func()) {
			var since time.Time
			var used time.Duration
			w.started = func() {
				since = time.Now()
				used, _ = w.cgroup.cpu()
			}
			return func() {
					now, err := w.cgroup.cpu()
					if err != nil {
						w.note(err)
						return
					}
					w.note(w.cgroup.limitCPU(max(0.02, 0.85*(now-used).Seconds()/time.Since(since).Seconds())))
				}, func() {
					w.cgroup.limitCPU(-1)
				}
		},
	},
	{
		name:   "noisy-neighbour",
		what:   "Another process on the machine runs many threads that never rest.",
		seen:   "top shows another process; this one's CPU is low, its run delay and the host's CPU pressure are high",
		causes: []string{"noisy-neighbour"},
		world: func(w *world) (begin, end func()) {
			var stop func()
			return func() {
					threads := 10 * w.cores
					if w.small {
						threads = 1
					}
					var err error
					stop, err = startNeighbour(threads)
					w.note(err)
				}, func() {
					if stop != nil {
						stop()
					}
				}
		},
	},
	{
		name:   "gomaxprocs-low",
		what:   "GOMAXPROCS is set to 1 on a machine with more cores, and the requests need more than one.",
		seen:   "the process never uses more than one core, the others are idle, and goroutines wait for their turn",
		causes: []string{"gomaxprocs-wrong"},
		cannot: func() string {
			if runtime.NumCPU() < 2 {
				return "it needs two cores"
			}
			return ""
		},
		service: func(s *service, f *fault) {
			s.on("", func(http.ResponseWriter, *http.Request) error {
				f.sick()
				burn(850 * time.Millisecond / usualRate)
				return nil
			})
			f.begin = func() { runtime.GOMAXPROCS(1) }
			f.end = runtime.SetDefaultGOMAXPROCS
		},
	},
}

//go:noinline
func searchIndex(d time.Duration) { burn(d) }

//go:noinline
func rebuildIndex(stop <-chan struct{}) { spinUntil(stop) }

//go:noinline
func pollForWork(stop <-chan struct{}) { spinUntil(stop) }

func spinUntil(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
			burn(100 * time.Microsecond)
		}
	}
}

// hogs runs several of hog for each core while the fault is ill: each time
// slice of the scheduler is 10 ms, so who wakes up waits for many of them.
func hogs(s *service, f *fault, hog func(stop <-chan struct{})) {
	n := 6 * s.Cores
	if s.Small {
		n = 1
	}
	background(f, n, func(stop <-chan struct{}) {
		f.did.Add(1)
		hog(stop)
	})
}

// background runs n of run while the fault is ill.
func background(f *fault, n int, run func(stop <-chan struct{})) {
	var stop chan struct{}
	var running sync.WaitGroup
	f.begin = func() {
		stop = make(chan struct{})
		for range n {
			running.Go(func() { run(stop) })
		}
	}
	f.end = func() {
		close(stop)
		running.Wait()
	}
}

const neighbourVariable = "BOTTLENECKS_NEIGHBOUR"

// neighbour is the process that is noisy with so many threads: until stdin
// ends, and never longer than two minutes.
func neighbour(threads int, stdin io.Reader) {
	ordinary()
	runtime.GOMAXPROCS(threads)
	stop := make(chan struct{})
	time.AfterFunc(2*time.Minute, func() { os.Exit(0) })
	for range threads {
		go spinUntil(stop)
	}
	io.Copy(io.Discard, stdin)
	close(stop)
}

func startNeighbour(threads int) (stop func(), err error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), neighbourVariable+"="+strconv.Itoa(threads))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() {
		stdin.Close()
		cmd.Process.Kill()
		cmd.Wait()
	}, nil
}
