package observe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/internal/span"
	"github.com/loadline-go/loadline/observe/capture"
	"github.com/loadline-go/loadline/runtimemetrics"
)

const (
	// armFor is how long an early sign arms the flight recorder: long enough for
	// what happens once in ten thousand requests to happen again at a few hundred a second.
	armFor = time.Minute
	// Early signs. Goroutines that are ready wait for a processor for milliseconds
	// only when there is more to do than processors; a collector that takes a
	// quarter of all CPU is beyond GOGC=100's usual few per cent; whole
	// goroutines' worth of waiting for locks is a queue before one.
	earlySchedP99  = 20 * time.Millisecond
	earlyGCShare   = 0.25
	earlyMutexWait = 2.0
	// Nothing but what is in memory is taken when processors are short already.
	starvedCPUShare = 0.95
	// The recorder's window lives on the heap, some tens of megabytes at worst:
	// nothing arms it where so little is left.
	armingRoom = 128 << 20
	// A bundle is made while there is still memory to make it in: at this share of its limit.
	lowHeadroom = 0.05
)

// captures decides when evidence is taken.
type captures struct {
	t     *Telemetry
	store *capture.Store // nil: off
	why   string         // off because

	made, failed *vec[prometheus.Counter]
	lastFailure  atomic.Pointer[captureFailure] // nil: none
	triggers     triggers
	listening    chan struct{} // closed when signals are listened to
}

func newCaptures(t *Telemetry) *captures {
	return &captures{t: t, made: t.metrics.counter(capturesMade), failed: t.metrics.counter(capturesFailed), why: "not started", listening: make(chan struct{})}
}

// begin opens the directory. One that was asked for and cannot be used is an
// error; without the default one there are no captures, with a warning.
func (c *captures) begin() error {
	config, asked := c.t.config.Captures, c.t.config.Captures.Dir != ""
	if config.Dir == Off {
		c.why = "Config.Captures.Dir is off"
		return nil
	}
	if !asked {
		config.Dir = captureDir(c.t.config.Service)
	}
	config.About = capture.About{Service: c.t.config.Service, Version: c.t.config.Version, Config: c.t.config.digest()}
	config.Parts = append([]capture.Part{
		{Name: "traces.txt", Write: c.t.writeTraces},
		{Name: "runtime.txt", Write: c.t.writeRuntime},
		{Name: "metrics.txt", Write: c.t.writeMetrics},
		{Name: "leaks.txt", Write: c.t.writeLeaks},
		{Name: "doctor.txt", From: c.t.writeDoctor},
		{Name: "diagnosis.txt", Write: c.t.writeDiagnosis},
	}, config.Parts...)
	if c.t.config.ProfileEvery > 0 {
		config.Parts = append(config.Parts, capture.Part{Name: "cpu-before.pprof", Write: c.t.writeProfile})
	}
	starved := config.Starved
	config.Starved = func() bool {
		d, ok := c.t.sampler.Latest()
		return ok && d.CPUShare > starvedCPUShare || starved != nil && starved()
	}
	hold := config.HoldCPU
	config.HoldCPU = func() func() {
		resume := c.t.profiler.yield()
		if hold == nil {
			return resume
		}
		release := hold()
		return func() { release(); resume() }
	}
	report := config.Report
	config.Report = func(b capture.Bundle, err error) {
		c.report(b, err)
		if report != nil {
			report(b, err)
		}
	}
	store, err := capture.Open(config)
	if err != nil {
		if asked {
			return fmt.Errorf("Config.Captures: %w", err)
		}
		c.why = err.Error()
		c.t.config.Logger.Warn("observe: no captures will be kept; set Config.Captures.Dir, or to observe.Off", "err", oneLine(err.Error()))
		return nil
	}
	c.store = store
	c.t.begun("captures", inBackground(store.Run))
	if c.t.config.Triggers.SIGUSR2 {
		c.t.begun("captures by signal", inBackground(c.captureSignals))
		<-c.listening // a signal that comes before would end the process
	}
	return nil
}

// captureDir is where captures are kept when nobody says where: below the
// user's cache, or where there is none, below the directory for temporary files.
func captureDir(service string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, clip(service, 60))
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "loadline", name)
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("loadline-%d", os.Getuid()), name)
}

// captureFailure is what is told of the last capture that failed.
type captureFailure struct {
	Time  time.Time `json:"time"`
	Error string    `json:"error"`
}

func (f *captureFailure) String() string {
	return fmt.Sprintf("at %s: %s", f.Time.UTC().Format(time.DateTime), f.Error)
}

func (c *captures) report(b capture.Bundle, err error) {
	if err != nil {
		c.lastFailure.Store(&captureFailure{time.Now(), oneLine(err.Error())})
		n, _ := c.failed.with()
		n.Inc()
		c.t.warn("captures", "observe: a capture failed", "err", oneLine(err.Error()))
		return
	}
	n, _ := c.made.with(b.Kind)
	n.Inc()
	c.t.config.Logger.Info("observe: captured", "reason", oneLine(b.Kind), "detail", oneLine(b.Detail), "route", oneLine(b.Route), "trace_id", b.TraceID, "dir", b.Dir)
}

// slow is told of each local root of a trace that was slow by itself or for its
// route: a request, a message or a job. A call that nothing of ours waits for,
// as a query in the background, is the dependency's matter. The first one of a bad time arms the flight recorder, so that the next one is
// seen from its beginning; where it cannot be armed, the first has to do.
func (c *captures) slow(s *span.Span, route string, took time.Duration) {
	kind := ""
	switch s.SpanKind() {
	case trace.SpanKindServer:
		kind = "slow_request"
	case trace.SpanKindConsumer, trace.SpanKindInternal:
		kind = "slow_job"
	}
	if kind == "" || c.store == nil || !c.store.Ready(kind) {
		return
	}
	detail := fmt.Sprintf("%s took %s", route, span.Short(took))
	if _, _, armed := c.store.Armed(); !armed && c.arm(detail) == nil {
		return
	}
	id, _ := s.IDs()
	c.store.Trigger(capture.Reason{Kind: kind, Detail: detail, Route: route, TraceID: id})
}

var errNoRoom = errors.New("too little memory is left for a flight recording")

// arm starts the flight recorder, unless memory is short.
func (c *captures) arm(why string) error {
	if !c.t.hasRoom(armingRoom) {
		return errNoRoom
	}
	return c.store.Arm(why, armFor)
}

// sample looks for early signs in what the runtime did since the last one.
func (c *captures) sample(d runtimemetrics.Delta) {
	if c.store == nil {
		return
	}
	switch {
	case d.SchedP99 > earlySchedP99:
		c.arm(fmt.Sprintf("ready goroutines wait for %s (p99)", span.Short(d.SchedP99)))
	case d.GCShare > earlyGCShare:
		c.arm(fmt.Sprintf("the garbage collector takes %.0f %% of the CPU", 100*d.GCShare))
	case d.MutexWait > earlyMutexWait:
		c.arm(fmt.Sprintf("%.1f goroutines wait for locks", d.MutexWait))
	}
	c.judge(&d)
}

// Capture makes a bundle of evidence now, for the reason given in a few words,
// and returns its directory: the flight recording if the recorder runs,
// goroutines, heap, locks, traces and metrics, and a CPU profile of the next
// seconds, which Capture waits for, and for the recording to be read without
// haste: some seconds, half a minute on a busy machine; or until ctx ends. It returns an error when
// captures are off or another is being made. A nil Telemetry returns an error.
func (t *Telemetry) Capture(ctx context.Context, reason string) (dir string, err error) {
	if t == nil {
		return "", errors.New("observe: Capture: nothing is observed")
	}
	if t.captures.store == nil {
		return "", fmt.Errorf("observe: Capture: captures are off: %s", t.captures.why)
	}
	b, err := t.captures.store.Capture(ctx, capture.Reason{Kind: "manual", Detail: clip(reason, 500)})
	if err != nil {
		return "", fmt.Errorf("observe: Capture: %w", err)
	}
	return b.Dir, nil
}

// serve lists the captures, as text or JSON, and makes one when asked by POST.
func (c *captures) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if c.store == nil {
		http.Error(w, "captures are off: "+c.why, http.StatusNotFound)
		return
	}
	if r.Method == http.MethodPost {
		c.serveNew(w, r)
		return
	}
	all, err := c.store.List()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	why, until, armed := c.store.Armed()
	if wantsJSON(r) {
		if all == nil {
			all = []capture.Bundle{}
		}
		writeJSON(w, http.StatusOK, struct {
			Armed    string           `json:"armed,omitempty"`
			Failed   *captureFailure  `json:"failed,omitempty"` // the last time
			Captures []capture.Bundle `json:"captures"`
		}{why, c.lastFailure.Load(), all})
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	switch {
	case !armed:
		fmt.Fprintln(w, "the flight recorder is not armed: an early sign or a slow request arms it")
	case until.IsZero():
		fmt.Fprintln(w, "the flight recorder is armed for good")
	default:
		fmt.Fprintf(w, "the flight recorder is armed for %s more: %s\n", time.Until(until).Round(time.Second), oneLine(why))
	}
	if f := c.lastFailure.Load(); f != nil {
		fmt.Fprintln(w, "the last failure was", f)
	}
	if len(all) == 0 {
		fmt.Fprintln(w, "no captures yet; to make one: curl -X POST http://"+cmp.Or(c.t.address, "ADDRESS")+"/debug/captures")
	}
	for _, b := range all {
		fmt.Fprintf(w, "\n%s\n  %s: %s\n", b.Name, oneLine(b.Kind), oneLine(cmp.Or(b.Detail, "no detail")))
		if b.TraceID != "" {
			fmt.Fprintf(w, "  trace %s\n", oneLine(b.TraceID))
		}
		fmt.Fprintf(w, "  %.1f MiB in %s, made in %.1f s; /debug/captures/%s.tar.gz\n", float64(b.Bytes)/(1<<20), b.Dir, b.Seconds, b.Name)
		for _, f := range b.Files {
			if f.Missing != "" {
				fmt.Fprintf(w, "  without %s: %s\n", oneLine(f.Name), oneLine(f.Missing))
			}
		}
	}
}

func (c *captures) serveNew(w http.ResponseWriter, r *http.Request) {
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(maxProfile + 5*adminWriteTimeout)) // the recording is read without haste
	b, err := c.store.Capture(r.Context(), capture.Reason{Kind: "manual", Detail: clip(cmp.Or(r.FormValue("reason"), "asked for by POST /debug/captures"), 500)})
	switch {
	case errors.Is(err, capture.ErrBusy):
		w.Header().Set("Retry-After", "10")
		http.Error(w, err.Error()+"; try again", http.StatusTooManyRequests)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	case wantsJSON(r):
		writeJSON(w, http.StatusCreated, b)
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "%s\n/debug/captures/%s.tar.gz\n", b.Dir, b.Name)
	}
}

// serveFile serves NAME.tar.gz, and NAME/FILE.
func (c *captures) serveFile(w http.ResponseWriter, r *http.Request) {
	name, file, one := strings.Cut(r.PathValue("name"), "/")
	w.Header().Set("Cache-Control", "no-store")
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(10 * adminWriteTimeout)) // hundreds of megabytes at most
	if one {
		f, err := c.store.File(name, file)
		if err != nil {
			http.Error(w, "no such file of a capture; see /debug/captures", http.StatusNotFound)
			return
		}
		defer f.Close()
		if strings.HasSuffix(file, ".txt") || strings.HasSuffix(file, ".json") {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		} else {
			attachment(w, file)
		}
		io.Copy(w, f)
		return
	}
	bundle, ok := strings.CutSuffix(name, ".tar.gz")
	if !ok {
		http.Error(w, "a capture is NAME.tar.gz or NAME/FILE; see /debug/captures", http.StatusNotFound)
		return
	}
	started := &firstByte{ResponseWriter: w, name: name}
	if err := c.store.WriteTar(started, bundle); err != nil && !started.begun {
		http.Error(w, "no such capture; see /debug/captures", http.StatusNotFound)
	}
}

// firstByte makes the answer a download once there is something to download.
type firstByte struct {
	http.ResponseWriter
	name  string
	begun bool
}

func (f *firstByte) Write(p []byte) (int, error) {
	if !f.begun {
		f.begun = true
		attachment(f.ResponseWriter, f.name)
	}
	return f.ResponseWriter.Write(p)
}

func (t *Telemetry) writeTraces(_ context.Context, w io.Writer) error {
	printTraces(w, t.recentTraces("", ""), t.provider.Open(openAge))
	return nil
}

func (t *Telemetry) writeMetrics(_ context.Context, w io.Writer) error {
	families, err := t.gatherer.Gather()
	if len(families) == 0 && err != nil {
		return err
	}
	out := expfmt.NewEncoder(w, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, f := range families {
		if err := out.Encode(f); err != nil {
			return err
		}
	}
	return nil
}

// writeProfile writes the last CPU profile that the process took of itself: of
// the time before, and there also where CPU is too short for another.
func (t *Telemetry) writeProfile(_ context.Context, w io.Writer) error {
	kept := t.profiler.list()
	if len(kept) == 0 {
		return errors.New("none was taken yet, or nothing ran")
	}
	_, err := w.Write(kept[0].data)
	return err
}

// writeRuntime tells the last sample, and the figures of the minutes before that a person reads first.
func (t *Telemetry) writeRuntime(_ context.Context, w io.Writer) error {
	fmt.Fprintln(w, "time      CPU     p99 ready  wake-up   GC      locks   goroutines  heap MiB  headroom")
	for d := range t.sampler.Deltas() {
		fmt.Fprintf(w, "%s  %5.1f%%  %9s  %8s  %5.1f%%  %6.2f  %10.0f  %8.1f  %7.1f%%\n", d.Time.UTC().Format("15:04:05"), 100*d.CPUShare,
			span.Short(d.SchedP99), span.Short(d.WakeupP99), 100*d.GCShare, d.MutexWait, d.Now.Goroutines.Total, d.Now.Memory.HeapLive/(1<<20), 100*d.Headroom.Ratio)
	}
	return nil
}
