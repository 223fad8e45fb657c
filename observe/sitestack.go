package observe

import (
	"path"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"

	"github.com/google/pprof/profile"

	"github.com/loadline-go/loadline/observe/doctor"
)

// frame is one frame of a stack.
type frame struct {
	function string // "example.com/shop/cart.(*Cart).total"
	file     string
	line     int
}

// name is the function as a person would say it: "cart.(*Cart).total".
func (p frame) name() string { return p.function[strings.LastIndexByte(p.function, '/')+1:] }

func (p frame) String() string {
	if p.file == "" {
		return p.name()
	}
	return p.name() + " (" + path.Base(strings.ReplaceAll(p.file, `\`, "/")) + ":" + strconv.Itoa(p.line) + ")"
}

// pkg is the path of the function's package.
func (p frame) pkg() string {
	slash := strings.LastIndexByte(p.function, '/') + 1
	if dot := strings.IndexByte(p.function[slash:], '.'); dot >= 0 {
		return p.function[:slash+dot]
	}
	return p.function
}

// framesOf returns the frames of a sample, the innermost first, with those that
// the compiler inlined.
func framesOf(s *profile.Sample) []frame {
	frames := make([]frame, 0, 2*len(s.Location))
	for _, l := range s.Location {
		for _, line := range l.Line {
			if f := line.Function; f != nil {
				frames = append(frames, frame{f.Name, f.Filename, int(line.Line)})
			}
		}
	}
	return frames
}

const module = "github.com/loadline-go/loadline/"

// ours reports whether a frame is this module's and not a program's that lies in it.
func (p frame) ours() bool {
	rest, ok := strings.CutPrefix(p.function, module)
	if !ok || strings.HasSuffix(p.file, "_test.go") {
		return false
	}
	for _, dir := range [...]string{"observe", "internal/", "tracing", "leakcheck", "runtimemetrics"} {
		if strings.HasPrefix(rest, dir) {
			return true
		}
	}
	return false
}

// mainModule is the path of the program's module with a slash, "" when it is not known.
var mainModule = sync.OnceValue(func() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Path != "" {
		return info.Main.Path + "/"
	}
	return ""
})

// own reports whether a frame is the program's own.
func (p frame) own() bool {
	pkg := p.pkg()
	return !p.ours() && (pkg == "main" || strings.HasSuffix(p.file, "_test.go") || mainModule() != "" && strings.HasPrefix(pkg+"/", mainModule()))
}

// standard reports whether a frame is the standard library's or the runtime's:
// their packages have no dot before the first slash.
func (p frame) standard() bool {
	first, _, _ := strings.Cut(p.pkg(), "/")
	return !strings.Contains(first, ".") && !p.own()
}

// ownFrame returns the innermost frame of the program's own; where there is none
// that of a library, and -1 where there is not even that.
func ownFrame(frames []frame) int {
	library := -1
	for i, f := range frames {
		switch {
		case f.own():
			return i
		case library < 0 && !f.standard() && !f.ours():
			library = i
		}
	}
	return library
}

// has reports whether a frame among frames begins with one of some prefixes.
func has(frames []frame, prefixes ...string) bool {
	for _, f := range frames {
		for _, p := range prefixes {
			if strings.HasPrefix(f.function, p) {
				return true
			}
		}
	}
	return false
}

// Functions, by the beginnings of their names. Those of the standard library are
// what Go 1.26 and 1.27 have; what is named otherwise some day is told as less.
var (
	lockFrames    = []string{"sync.(*Mutex).Lock", "sync.(*RWMutex).", "internal/sync.(*Mutex).lockSlow", "internal/sync.(*Mutex).Lock", "sync.runtime_SemacquireMutex", "internal/sync.runtime_SemacquireMutex", "sync.runtime_SemacquireRWMutex"}
	channelFrames = []string{"runtime.chanrecv", "runtime.chansend", "runtime.selectgo", "sync.(*Cond).Wait", "sync.runtime_notifyListWait", "sync.(*WaitGroup).Wait", "sync.runtime_SemacquireWaitGroup", "sync.runtime_Semacquire", "runtime.selectnbrecv", "runtime.block"}
	syscallFrames = []string{"syscall.", "internal/runtime/syscall", "runtime/internal/syscall", "golang.org/x/sys/", "internal/syscall/", "runtime.cgocall", "runtime.asmcgocall", "runtime.entersyscall", "runtime.exitsyscall", "runtime.reentersyscall"}
	diskFrames    = []string{"os.(*File).Sync", "os.(*File).Write", "os.(*File).Truncate", "os.(*File).ReadFrom", "os.WriteFile", "syscall.Fsync", "syscall.Fdatasync", "golang.org/x/sys/unix.Fsync", "golang.org/x/sys/unix.Fdatasync", "golang.org/x/sys/unix.Msync"}
	logFrames     = []string{"log/slog.", "log.", "go.uber.org/zap", "github.com/rs/zerolog", "github.com/sirupsen/logrus", "github.com/go-kit/log", "github.com/phuslu/log"}
	// Of net/http's server, below a handler: reading a request's body and writing its response.
	clientFrames = []string{"net/http.(*body).", "net/http.(*response).", "net/http.(*chunkWriter).", "net/http.checkConnErrorWriter.", "net/http.(*connReader).", "net/http.(*expectContinueReader).", "net/http.(*http2responseWriter).", "net/http.(*http2requestBody).", "net/http.(*http2serverConn).", "net/http/internal/http2.(*responseWriter).", "net/http/internal/http2.(*requestBody).", "net/http/internal/http2.(*serverConn)."}
	// What waits for the network without standing in a read or write.
	networkFrames = []string{"net/http.(*persistConn).", "net/http.(*Transport).", "net/http.(*http2ClientConn).", "net/http.(*http2Transport).", "net/http/internal/http2.(*ClientConn).", "net.(*Resolver).", "net.(*Dialer).", "google.golang.org/grpc"}
	// Our wrappers, below which everything is told by its span.
	callFrames = []string{
		module + "observe.(*transport).RoundTrip", module + "observe.(*outgoing).", module + "observe.(*Telemetry).Call", module + "observe.(*Telemetry).Publish",
		module + "observe.(*conn", module + "observe.conn", module + "observe.(*stmt", module + "observe.stmt", module + "observe.(*tx", module + "observe.tx", module + "observe.(*rows", module + "observe.rows",
		module + "observe.(*execution", module + "observe.(*statement", module + "observe.(*database",
	}
	servingFrames = []string{module + "observe.(*handler).ServeHTTP", module + "observe.(*Telemetry).Run"}
)

// waitOfStack says what a goroutine waits for, and in which frame of the program's
// own; ok is false for one that runs or could.
func waitOfStack(frames []frame) (kind doctor.SiteKind, at int, ok bool) {
	if len(frames) == 0 {
		return "", 0, false
	}
	at = ownFrame(frames)
	above := frames // what the program's own frame has called
	if at >= 0 {
		above = frames[:at]
	}
	// The wait itself stands within a few frames of the end.
	top := frames[:min(len(frames), 10)]
	if n := len(above); at >= 0 && n < len(top) {
		top = above
	}
	parked := frames[0].function == "runtime.gopark" || strings.HasPrefix(frames[0].function, "runtime.goparkunlock")
	system := has(frames[:min(len(frames), 3)], syscallFrames...)
	if !parked && !system {
		return "", at, false
	}
	serving := len(frames)
	for i, f := range frames {
		if has([]frame{f}, servingFrames...) {
			serving = i
			break
		}
	}
	conn := -1
	for i, f := range frames {
		if f.function == "database/sql.(*DB).conn" {
			conn = i
			break
		}
	}
	switch {
	case conn >= 0 && has(top, channelFrames...) && !has(frames[:conn], callFrames...):
		return doctor.PoolWait, at, true
	case has(frames[:serving], callFrames...), has(frames[:serving], "database/sql."):
		return doctor.Call, at, true
	case has(above, logFrames...):
		return doctor.LogLock, at, true
	case has(top, lockFrames...):
		return doctor.Lock, at, true
	case has(top, "time.Sleep"):
		return doctor.Sleep, at, true
	case has(above, clientFrames...) && (system || has(top, "internal/poll.runtime_pollWait") || has(top, channelFrames...)):
		return doctor.Client, at, true
	case has(above, networkFrames...), has(top, "internal/poll.runtime_pollWait") && !has(above, "os.(*File)."):
		return doctor.Network, at, true
	case has(top, channelFrames...):
		return doctor.Channel, at, true
	case has(above, diskFrames...):
		return doctor.Disk, at, true
	case system || has(top, "internal/poll.runtime_pollWait"):
		return doctor.Syscall, at, true
	}
	return "", at, false
}

// stackSites counts what the goroutines of a profile wait for: those that serve a
// request or a job, and those that hold a lock that these wait for.
func stackSites(p *profile.Profile, unlockers map[string]frame, sums *siteSums) {
	type stack struct {
		frames []frame
		kind   doctor.SiteKind
		at     int
		n      float64
	}
	var waiting []stack
	// By the function that calls Lock: the last line from which it is waited for.
	locked := map[string]int{}
	awaited := map[string]bool{} // functions in which requests wait for a channel
	for _, sample := range p.Sample {
		frames := framesOf(sample)
		kind, at, ok := waitOfStack(frames)
		if !ok || len(sample.Value) == 0 {
			continue
		}
		s := stack{frames, kind, at, float64(sample.Value[0])}
		waiting = append(waiting, s)
		if kind == doctor.Lock && at >= 0 {
			name := frames[at].function
			if line, known := locked[name]; !known || frames[at].line < line {
				locked[name] = frames[at].line
			}
		}
		if kind == doctor.Channel && at >= 0 && has(frames, servingFrames...) {
			awaited[frames[at].function] = true
		}
	}
	for _, s := range waiting {
		if s.kind != doctor.Lock && len(locked) > 0 {
			if i := holds(s.frames, locked, unlockers); i >= 0 {
				sums.add(doctor.LockIO, s.frames[i], "", s.n, "waits itself in "+waitsIn(s.frames))
			}
		}
		if s.kind == doctor.Call && len(awaited) > 0 {
			if at, ok := asks(s.frames, awaited); ok {
				sums.add(doctor.Asks, at, "", s.n, "")
			}
		}
		if !has(s.frames, servingFrames...) {
			if s.at >= 0 && (s.kind == doctor.Lock || s.kind == doctor.LogLock) {
				sums.add(doctor.LockElse, s.frames[s.at], "", s.n, "")
			}
			continue
		}
		at := frame{function: "unknown"}
		switch {
		case s.kind == doctor.LogLock:
			at = loggerOf(s.frames)
		case s.at >= 0:
			at = s.frames[s.at]
		}
		detail := ""
		if s.kind == doctor.LogLock && s.at >= 0 {
			detail = "called by " + s.frames[s.at].String()
		}
		sums.add(s.kind, at, "", s.n, detail)
	}
}

// asks returns the function in which others wait, and a goroutine that is in a call
// stands, or in a part of it that runs beside it.
func asks(frames []frame, awaited map[string]bool) (frame, bool) {
	for _, f := range frames {
		for function := range awaited {
			if f.function == function || strings.HasPrefix(f.function, function+".") {
				return frame{function: function}, true
			}
		}
	}
	return frame{}, false
}

// holds returns the frame in which a goroutine that waits for something else
// holds a lock that others wait for: it stands in a function that others are
// about to lock in, behind the line where they do; or in one that was seen to
// unlock what others had waited for. It is -1 when it does neither.
func holds(frames []frame, locked map[string]int, unlockers map[string]frame) int {
	for i, f := range frames {
		if line, ok := locked[f.function]; ok && f.line > line {
			return i
		}
		if u, ok := unlockers[f.name()]; ok && u.function == f.function && f.line <= u.line {
			return i
		}
	}
	return -1
}

// waitsIn is what a goroutine waits in, for a reader: the outermost frame of the
// libraries that the program's own has called.
func waitsIn(frames []frame) string {
	if at := ownFrame(frames); at > 0 {
		return frames[at-1].name()
	}
	return frames[0].name()
}

// loggerOf is the frame of the logger that is next to the wait.
func loggerOf(frames []frame) frame {
	for _, f := range frames {
		if has([]frame{f}, logFrames...) {
			f.file = ""
			return f
		}
	}
	return frames[0]
}

// cpuSites adds who used the CPU in a profile.
func cpuSites(p *profile.Profile, sums *siteSums) {
	value, took := valueOf(p, "cpu"), float64(p.DurationNanos)
	if value < 0 || took <= 0 {
		return
	}
	// A request that was under way when the profile began has no label: it is of the
	// routes whose labelled requests run the same function.
	type unlabelled struct {
		who   frame
		cores float64
	}
	var early []unlabelled
	labelled := map[string]map[string]float64{} // cores by function and route
	for _, sample := range p.Sample {
		cores := float64(sample.Value[value]) / took
		route := ""
		if l := sample.Label[routeLabel]; len(l) > 0 {
			route = l[0]
		} else if l := sample.Label[jobLabel]; len(l) > 0 {
			route = l[0]
		}
		frames := framesOf(sample)
		if len(frames) == 0 {
			continue
		}
		at := ownFrame(frames)
		who := frames[len(frames)-1]
		if at >= 0 {
			who = frames[at]
		}
		switch {
		case has(frames, "runtime.(*timers).", "runtime.(*timer).", "runtime.timeSleep", "time.Sleep"):
			sums.add(doctor.Timers, who, route, cores, "")
		case has(frames, "runtime.gcBgMarkWorker", "runtime.bgsweep", "runtime.bgscavenge"): // told by the runtime's own figures
		case at < 0 && has(frames, "runtime.mcall", "runtime.schedule", "runtime.findRunnable", "runtime.mstart", "runtime.sysmon", "runtime.park_m"):
			sums.add(doctor.Scheduler, who, route, cores, "")
		case route == "" && has(frames, servingFrames...):
			early = append(early, unlabelled{who, cores})
		default:
			if route != "" {
				if labelled[who.name()] == nil {
					labelled[who.name()] = map[string]float64{}
				}
				labelled[who.name()][route] += cores
			}
			sums.add(doctor.OnCPU, who, route, cores, "")
		}
	}
	for _, e := range early {
		routes, all := labelled[e.who.name()], 0.0
		for _, cores := range routes {
			all += cores
		}
		if all == 0 {
			sums.add(doctor.OnCPU, e.who, "", e.cores, "")
		}
		for route, cores := range routes {
			sums.add(doctor.OnCPU, e.who, route, e.cores*cores/all, "")
		}
	}
}
