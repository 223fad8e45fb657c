package observe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/pprof/profile"

	"github.com/loadline-go/loadline/internal/flame"
)

const (
	// Kinds of profiles on the page; without a kind it is taken now.
	fromRing, fromCapture = "ring", "capture"
	profileSuffix         = ".pprof"
	// A profile beyond this, compressed, would take gigabytes to read.
	maxProfileBytes = 32 << 20
)

// flamegraphs serves the page of flame graphs, /debug/pprof/ui, over what the
// process can take now, took of itself, and kept in captures.
type flamegraphs struct {
	t        *Telemetry
	profiles *profiles
}

func (f *flamegraphs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	switch name := r.PathValue("file"); name {
	case "sources":
		writeJSON(w, http.StatusOK, flame.Sources{Service: f.t.config.Service, Sources: f.sources()})
	case "data":
		f.data(w, r)
	default:
		flame.ServePage(w, r, name)
	}
}

// sources lists what there is, the newest first.
func (f *flamegraphs) sources() []flame.Source {
	all := []flame.Source{
		{ID: "profile", Group: "Now", About: "CPU", Timed: true},
		{ID: wallProfile, Group: "Now", About: "wall time, on and off the CPU", Timed: true},
		{ID: "heap", Group: "Now", About: "heap"},
		{ID: "goroutine", Group: "Now", About: "goroutines"},
		{ID: "mutex", Group: "Now", About: "locks, since the start"},
		{ID: "block", Group: "Now", About: "waiting, since the start"},
		{ID: "allocs", Group: "Now", About: "allocations, since the start"},
	}
	for _, k := range f.t.profiler.list() {
		all = append(all, flame.Source{
			ID: flame.ID(fromRing, strconv.FormatInt(k.Time.UnixMilli(), 10)), Group: "CPU in the last minutes (UTC)",
			About: fmt.Sprintf("CPU %s, %.2f cores", k.Time.UTC().Format(time.TimeOnly), k.Cores),
		})
	}
	bundles, _ := f.t.captures.store.List()
	for _, b := range bundles {
		for _, file := range b.Files {
			if name, ok := strings.CutSuffix(file.Name, profileSuffix); ok && file.Missing == "" {
				all = append(all, flame.Source{ID: flame.ID(fromCapture, b.Name+"/"+file.Name), Group: "Capture " + oneLine(b.Name), About: name + " " + b.Time.UTC().Format(time.TimeOnly)})
			}
		}
	}
	return all
}

// data serves the graph of one profile, compared with another's where base names one.
func (f *flamegraphs) data(w http.ResponseWriter, r *http.Request) {
	fail := func(err error) {
		status := http.StatusInternalServerError
		if known := (*pageError)(nil); errors.As(err, &known) {
			status = known.status
		}
		http.Error(w, err.Error(), status)
	}
	length, err := secondsAsked(r)
	if err != nil {
		fail(err)
		return
	}
	id := r.FormValue("profile")
	if slices.Contains([]string{"profile", wallProfile}, id) {
		http.NewResponseController(w).SetWriteDeadline(time.Now().Add(length + adminWriteTimeout))
	}
	p, err := f.open(r.Context(), id, length)
	if err != nil {
		fail(err)
		return
	}
	var base *profile.Profile
	if id := r.FormValue("base"); id != "" {
		if base, err = f.open(r.Context(), id, length); err != nil {
			fail(err)
			return
		}
	}
	g, err := flame.New(p, base, flame.Options{Type: r.FormValue("type"), Label: r.FormValue("label"), Value: r.FormValue("value")})
	if err != nil {
		fail(&pageError{http.StatusBadRequest, err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, g)
}

// pageError is an error with the status that tells its kind.
type pageError struct {
	status int
	text   string
}

func (e *pageError) Error() string { return e.text }

var errNoProfile = &pageError{http.StatusNotFound, "no such profile"}

// open returns a profile by its identity, which may come from anywhere. A name
// is compared with those that there are, and never made into a path.
func (f *flamegraphs) open(ctx context.Context, id string, length time.Duration) (*profile.Profile, error) {
	switch kind, name := flame.Split(id); kind {
	case "":
		return f.profiles.read(ctx, name, length)
	case fromRing:
		for _, k := range f.t.profiler.list() {
			if strconv.FormatInt(k.Time.UnixMilli(), 10) == name {
				return profile.ParseData(k.data)
			}
		}
	case fromCapture:
		bundle, file, _ := strings.Cut(name, "/")
		if !strings.HasSuffix(file, profileSuffix) {
			return nil, errNoProfile
		}
		data, err := f.t.captures.store.File(bundle, file)
		if err != nil {
			return nil, errNoProfile
		}
		defer data.Close()
		if info, err := data.Stat(); err != nil || info.Size() > maxProfileBytes {
			return nil, &pageError{http.StatusRequestEntityTooLarge, "the profile is too large to be drawn here; use go tool pprof"}
		}
		p, err := profile.Parse(io.LimitReader(data, maxProfileBytes))
		if err != nil {
			return nil, &pageError{http.StatusUnprocessableEntity, cmp.Or(oneLine(err.Error()), "not a profile")}
		}
		return p, nil
	}
	return nil, errNoProfile
}
