package observe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"time"

	"github.com/google/pprof/profile"
)

// maxProfile bounds how long one request may keep a profiler running.
const maxProfile = 60 * time.Second

// profiles serves runtime/pprof under /debug/pprof/, in the places where
// `go tool pprof` looks. net/http/pprof is not imported: it would put the same
// pages on http.DefaultServeMux, for everybody who can reach the service.
type profiles struct {
	// One at a time: two CPU profiles cannot run at once, and a page that makes
	// dumps in parallel would be a way to slow the service down.
	busy  chan struct{}
	yield func() (resume func()) // stops the service's own CPU profiles meanwhile
	label func() (stop func())   // makes requests and jobs label their goroutines meanwhile
}

func newProfiles(p *profiler) *profiles {
	return &profiles{busy: make(chan struct{}, 1), yield: p.yield, label: p.t.server.watch}
}

func (p *profiles) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("profile")
	switch name {
	case "profile", "trace", wallProfile:
		p.timed(w, r, name)
		return
	case "cmdline": // asked for by go tool pprof; the arguments may hold secrets, so only the program's name
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, programName())
		return
	}
	profile := pprof.Lookup(name)
	switch {
	case profile == nil:
		http.Error(w, "no such profile; see /debug/pprof/", http.StatusNotFound)
		return
	case name == leakProfile:
		http.Error(w, "not served here: collecting this profile can end the process; see /debug/leaks/proof", http.StatusForbidden)
		return
	case r.FormValue("seconds") != "": // rather than a profile since the start that claims to be of ten seconds
		http.Error(w, "seconds: only for /debug/pprof/profile, /debug/pprof/trace and /debug/pprof/"+wallProfile, http.StatusBadRequest)
		return
	}
	if !p.begin(w) {
		return
	}
	defer p.end()
	level, _ := strconv.Atoi(r.FormValue("debug"))
	if name == "heap" && r.FormValue("gc") != "" {
		runtime.GC()
	}
	if level > 0 {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	} else {
		attachment(w, name+".pprof")
	}
	profile.WriteTo(w, level)
}

// secondsAsked returns ?seconds= of a request, 10 by default.
func secondsAsked(r *http.Request) (time.Duration, error) {
	d := 10 * time.Second
	if s := r.FormValue("seconds"); s != "" {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || !(f > 0) || f > maxProfile.Seconds() {
			return 0, &pageError{http.StatusBadRequest, fmt.Sprintf("seconds: want a number above 0 and up to %v", maxProfile.Seconds())}
		}
		d = time.Duration(f * float64(time.Second))
	}
	return d, nil
}

// timed runs the CPU profiler, the execution tracer or the sampler of
// goroutines for ?seconds=, 10 by default.
func (p *profiles) timed(w http.ResponseWriter, r *http.Request, name string) {
	d, err := secondsAsked(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !p.begin(w) {
		return
	}
	defer p.end()
	// Bytes come at the end: the deadline for writing starts after the run.
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(d + adminWriteTimeout))
	attachment(w, name+profileSuffix)
	if name == "trace" {
		attachment(w, "trace.out")
	}
	if err := p.run(r.Context(), w, name, d); err != nil {
		status := http.StatusConflict
		if known := (*pageError)(nil); errors.As(err, &known) {
			status = known.status
		}
		w.Header().Del("Content-Disposition")
		http.Error(w, err.Error(), status)
	}
}

// run writes a profile of the next d to w, or of less when ctx ends. The caller
// has begun. An error means that nothing was written.
func (p *profiles) run(ctx context.Context, w io.Writer, name string, d time.Duration) error {
	start, stop := pprof.StartCPUProfile, pprof.StopCPUProfile
	switch name {
	case wallProfile:
		defer p.label()()
		return writeWall(ctx, w, d)
	case "profile":
		defer p.yield()()
	case "trace":
		start, stop = trace.Start, trace.Stop
	}
	if err := start(w); err != nil {
		return fmt.Errorf("%w; somebody else is using it", err)
	}
	defer stop()
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	return nil
}

// read takes a profile by its name, of the next d where it takes time.
func (p *profiles) read(ctx context.Context, name string, d time.Duration) (*profile.Profile, error) {
	select {
	case p.busy <- struct{}{}:
		defer p.end()
	default:
		return nil, &pageError{http.StatusTooManyRequests, "another profile is being taken; try again"}
	}
	var data bytes.Buffer
	switch found := pprof.Lookup(name); {
	case name == wallProfile:
		defer p.label()()
		return takeWall(ctx, d)
	case name == "profile":
		if err := p.run(ctx, &data, name, d); err != nil {
			return nil, &pageError{http.StatusConflict, err.Error()}
		}
	case found == nil || name == leakProfile: // see ServeHTTP
		return nil, errNoProfile
	default:
		if err := found.WriteTo(&data, 0); err != nil {
			return nil, err
		}
	}
	return profile.ParseData(data.Bytes())
}

func (p *profiles) begin(w http.ResponseWriter) bool {
	select {
	case p.busy <- struct{}{}:
		return true
	default:
		w.Header().Set("Retry-After", "10")
		http.Error(w, "another profile is being taken; try again", http.StatusTooManyRequests)
		return false
	}
}

func (p *profiles) end() { <-p.busy }

func attachment(w http.ResponseWriter, name string) {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
}

// names lists the profiles of this process with what each tells.
func (p *profiles) names() []page {
	about := map[string]string{
		"allocs":       "all allocations since the start, by site",
		"block":        "where goroutines waited for channels and locks (empty with Config.ProfileEvery below 0)",
		"goroutine":    "all goroutines by stack; ?debug=1 as text",
		"heap":         "live objects by site; ?gc=1 collects first",
		"mutex":        "who held contended locks (empty with Config.ProfileEvery below 0)",
		"threadcreate": "what made the process start threads",
	}
	pages := []page{
		{"/debug/pprof/ui", "flame graphs of all these, of the CPU in the last minutes and of captures, in the browser"},
		{"/debug/pprof/profile?seconds=10", "CPU profile"},
		{"/debug/pprof/" + wallProfile + "?seconds=10", "wall time: where all goroutines are, on the CPU or waiting; takes a fifth of one processor at most"},
		{"/debug/pprof/trace?seconds=5", "execution trace, for go tool trace"},
	}
	for _, p := range pprof.Profiles() {
		if p.Name() == leakProfile {
			continue
		}
		pages = append(pages, page{"/debug/pprof/" + p.Name(), about[p.Name()]})
	}
	return pages
}
