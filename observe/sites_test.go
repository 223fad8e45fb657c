package observe

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	"github.com/loadline-go/loadline/observe/doctor"
)

// The functions that the goroutines of TestSites wait in: each is the program's own.

type ledger struct{ mu sync.Mutex }

//go:noinline
func (l *ledger) post(hold <-chan struct{}) {
	l.mu.Lock()
	<-hold // for a connection, in life
	l.mu.Unlock()
}

//go:noinline
func lockAlone(mu *sync.Mutex) { mu.Lock(); defer mu.Unlock() }

//go:noinline
func readLocked(mu *sync.RWMutex) { mu.RLock(); defer mu.RUnlock() }

//go:noinline
func receive(c <-chan struct{}) { <-c }

//go:noinline
func chooseOne(c <-chan struct{}) {
	select {
	case <-c:
	case <-time.After(time.Hour):
	}
}

//go:noinline
func waitForAll(wg *sync.WaitGroup) { wg.Wait() }

//go:noinline
func napUntil(c <-chan struct{}) {
	for {
		select {
		case <-c:
			return
		default:
			time.Sleep(50 * time.Millisecond)
		}
	}
}

//go:noinline
func dialAlone(c net.Conn) { c.Read(make([]byte, 1)) }

//go:noinline
func sayMuch(w http.ResponseWriter) {
	for {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			return
		}
	}
}

//go:noinline
func readSlowly(r *http.Request) { io.Copy(io.Discard, r.Body) }

//go:noinline
func askOther(tel *Telemetry, url string, r *http.Request) {
	out, _ := http.NewRequestWithContext(r.Context(), "GET", url, nil)
	if resp, err := tel.Transport(nil).RoundTrip(out); err == nil {
		resp.Body.Close()
	}
}

//go:noinline
func askUnseen(url string, r *http.Request) {
	out, _ := http.NewRequestWithContext(r.Context(), "GET", url, nil)
	if resp, err := new(http.Transport).RoundTrip(out); err == nil {
		resp.Body.Close()
	}
}

//go:noinline
func logLine(l *slog.Logger) { l.Info("served") }

// loader asks once for all.
type loader struct {
	once atomic.Bool
	done chan struct{}
}

//go:noinline
func (l *loader) load(ask func()) {
	if l.once.CompareAndSwap(false, true) {
		ask()
		close(l.done)
	}
	<-l.done
}

// stopped is a writer that takes nothing until its channel is closed.
type stopped chan struct{}

func (s stopped) Write(p []byte) (int, error) { <-s; return len(p), nil }

// sampledUntil samples stacks until a site of the kind and function is there.
func sampledUntil(t *testing.T, tel *Telemetry, kind doctor.SiteKind, function string) doctor.Site {
	t.Helper()
	var all []doctor.Site
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		all = tel.sites.take(t.Context(), []doctor.SiteKind{doctor.Lock}, 100*time.Millisecond)
		if i := slices.IndexFunc(all, func(s doctor.Site) bool { return s.Kind == kind && strings.Contains(s.Function, function) }); i >= 0 {
			return all[i]
		}
	}
	t.Errorf("no %s in %s among %+v", kind, function, all)
	return doctor.Site{}
}

func TestSitesSayWhatRequestsWaitFor(t *testing.T) {
	for _, c := range []struct {
		kind     doctor.SiteKind
		function string
		// handler returns what serves the request until free is closed.
		handler func(t *testing.T, tel *Telemetry, free chan struct{}) http.HandlerFunc
	}{
		{doctor.Lock, "observe.lockAlone (sites_test.go:", func(t *testing.T, _ *Telemetry, free chan struct{}) http.HandlerFunc {
			mu := &sync.Mutex{}
			mu.Lock()
			go func() { <-free; mu.Unlock() }()
			return func(http.ResponseWriter, *http.Request) { lockAlone(mu) }
		}},
		{doctor.Lock, "observe.readLocked (", func(t *testing.T, _ *Telemetry, free chan struct{}) http.HandlerFunc {
			mu := &sync.RWMutex{}
			mu.Lock()
			go func() { <-free; mu.Unlock() }()
			return func(http.ResponseWriter, *http.Request) { readLocked(mu) }
		}},
		{doctor.LockIO, "observe.(*ledger).post (", func(t *testing.T, _ *Telemetry, free chan struct{}) http.HandlerFunc {
			l := &ledger{}
			return func(http.ResponseWriter, *http.Request) { l.post(free) }
		}},
		{doctor.LogLock, "slog.", func(t *testing.T, _ *Telemetry, free chan struct{}) http.HandlerFunc {
			l := slog.New(slog.NewTextHandler(stopped(free), nil))
			return func(http.ResponseWriter, *http.Request) { logLine(l) }
		}},
		{doctor.Channel, "observe.receive (", func(t *testing.T, _ *Telemetry, free chan struct{}) http.HandlerFunc {
			return func(http.ResponseWriter, *http.Request) { receive(free) }
		}},
		{doctor.Channel, "observe.chooseOne (", func(t *testing.T, _ *Telemetry, free chan struct{}) http.HandlerFunc {
			return func(http.ResponseWriter, *http.Request) { chooseOne(free) }
		}},
		{doctor.Channel, "observe.waitForAll (", func(t *testing.T, _ *Telemetry, free chan struct{}) http.HandlerFunc {
			wg := &sync.WaitGroup{}
			wg.Go(func() { <-free })
			return func(http.ResponseWriter, *http.Request) { waitForAll(wg) }
		}},
		{doctor.Sleep, "observe.napUntil (", func(t *testing.T, _ *Telemetry, free chan struct{}) http.HandlerFunc {
			return func(http.ResponseWriter, *http.Request) { napUntil(free) }
		}},
		{doctor.Network, "observe.dialAlone (", func(t *testing.T, _ *Telemetry, free chan struct{}) http.HandlerFunc {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			go func() { <-free; l.Close() }()
			return func(http.ResponseWriter, *http.Request) {
				if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
					go func() { <-free; c.Close() }()
					dialAlone(c)
				}
			}
		}},
		{doctor.Network, "observe.askUnseen (", func(t *testing.T, _ *Telemetry, free chan struct{}) http.HandlerFunc {
			slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-free }))
			t.Cleanup(slow.Close)
			return func(_ http.ResponseWriter, r *http.Request) { askUnseen(slow.URL, r) }
		}},
		{doctor.Call, "observe.askOther (", func(t *testing.T, tel *Telemetry, free chan struct{}) http.HandlerFunc {
			slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-free }))
			t.Cleanup(slow.Close)
			return func(_ http.ResponseWriter, r *http.Request) { askOther(tel, slow.URL, r) }
		}},
		{doctor.Call, "observe.receive (", func(t *testing.T, tel *Telemetry, free chan struct{}) http.HandlerFunc {
			return func(_ http.ResponseWriter, r *http.Request) {
				tel.Call(r.Context(), "mail", "send", func(context.Context) error { receive(free); return nil })
			}
		}},
		{doctor.Asks, "observe.(*loader).load", func(t *testing.T, tel *Telemetry, free chan struct{}) http.HandlerFunc {
			l := &loader{done: make(chan struct{})}
			return func(_ http.ResponseWriter, r *http.Request) {
				l.load(func() {
					tel.Call(r.Context(), "keys", "get", func(context.Context) error { receive(free); return nil })
				})
			}
		}},
		{doctor.PoolWait, "observe.TestSitesSayWhatRequestsWaitFor", func(t *testing.T, tel *Telemetry, free chan struct{}) http.HandlerFunc {
			db := tel.OpenDB(lazy{}, "orders")
			t.Cleanup(func() { db.Close() })
			db.SetMaxOpenConns(1)
			held, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			go func() { <-free; held.Close() }()
			return func(_ http.ResponseWriter, r *http.Request) { db.ExecContext(r.Context(), "UPDATE orders SET n = 1") }
		}},
		{doctor.Client, "observe.sayMuch (", func(t *testing.T, _ *Telemetry, _ chan struct{}) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { sayMuch(w) }
		}},
		{doctor.Client, "observe.readSlowly (", func(t *testing.T, _ *Telemetry, _ chan struct{}) http.HandlerFunc {
			return func(_ http.ResponseWriter, r *http.Request) { readSlowly(r) }
		}},
	} {
		t.Run(string(c.kind)+" "+c.function, func(t *testing.T) {
			tel := start(t, Config{})
			free := make(chan struct{})
			server := httptest.NewServer(tel.Handler(c.handler(t, tel, free)))
			var conns []net.Conn
			for range 3 {
				conn, err := net.Dial("tcp", strings.TrimPrefix(server.URL, "http://"))
				if err != nil {
					t.Fatal(err)
				}
				// A body that never comes, and nobody who reads the answer.
				fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
				conns = append(conns, conn)
			}
			site := sampledUntil(t, tel, c.kind, c.function)
			if site.Weight <= 0 || site.Weight > 3 {
				t.Errorf("%+v", site)
			}
			close(free)
			for _, conn := range conns {
				conn.Close()
			}
			server.Close()
		})
	}
}

func TestSitesAreOfRequestsAndJobsAlone(t *testing.T) {
	tel := start(t, Config{})
	free := make(chan struct{})
	defer close(free)
	go receive(free) // nobody's
	var mu sync.Mutex
	mu.Lock()
	defer mu.Unlock()
	go lockAlone(&mu) // nobody's, too
	done := make(chan struct{})
	go func() {
		defer close(done)
		tel.Run(context.Background(), Job{Name: "report"}, func(context.Context) error { chooseOne(free); return nil })
	}()
	sampledUntil(t, tel, doctor.Channel, "chooseOne")
	sampledUntil(t, tel, doctor.LockElse, "observe.lockAlone ")
	for _, s := range tel.sites.take(t.Context(), []doctor.SiteKind{doctor.Lock}, 100*time.Millisecond) {
		if strings.Contains(s.Function, "observe.receive ") || s.Kind != doctor.LockElse && strings.Contains(s.Function, "observe.lockAlone ") {
			t.Errorf("%+v is told of nobody's goroutine", s)
		}
	}
}

func TestSitesSayWhichGoroutinesStay(t *testing.T) {
	tel := start(t, Config{})
	free := make(chan struct{})
	var gone sync.WaitGroup
	defer gone.Wait()
	defer close(free)
	const many = 50
	for range many {
		gone.Go(func() { receive(free) })
	}
	for end := time.Now().Add(30 * time.Second); ; {
		all := tel.sites.take(t.Context(), []doctor.SiteKind{doctor.Stays}, 100*time.Millisecond)
		if len(all) > 0 && strings.HasPrefix(all[0].Function, "observe.receive (sites_test.go:") && all[0].Weight >= many {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%+v", all)
		}
	}
}

//go:noinline
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

//go:noinline
func deadline(ctx context.Context) { <-ctx.Done() }

func TestSitesSayWhichChannelsAreTimers(t *testing.T) {
	tel := start(t, Config{ProfileEvery: time.Hour})
	turns := make(chan struct{})
	h := tel.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/pause":
			pause(r.Context(), 20*time.Millisecond)
		case "/deadline":
			ctx, cancel := context.WithTimeout(r.Context(), 20*time.Millisecond)
			defer cancel()
			deadline(ctx)
		default:
			receive(turns)
		}
	}))
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for _, path := range []string{"/pause", "/deadline", "/turn"} {
		clients.Go(func() {
			for ctx.Err() == nil {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil))
			}
		})
	}
	clients.Go(func() {
		for ctx.Err() == nil {
			time.Sleep(5 * time.Millisecond)
			select {
			case turns <- struct{}{}:
			case <-ctx.Done():
			}
		}
		close(turns)
	})
	defer clients.Wait()
	defer cancel()
	for end := time.Now().Add(time.Minute); ; {
		paced := map[string]float64{}
		for _, s := range tel.sites.take(t.Context(), []doctor.SiteKind{doctor.Paced}, 300*time.Millisecond) {
			function, _, _ := strings.Cut(s.Function, " (")
			paced[function] = s.Weight
		}
		if paced["observe.receive"] > 0 {
			t.Fatalf("%v: nothing but a goroutine ends that wait", paced)
		}
		if paced["observe.pause"] == 1 && paced["observe.deadline"] == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%v", paced)
		}
	}
}

//go:noinline
func hoard(n int) []byte { return make([]byte, n) }

func TestSitesSayWhoHoldsMoreMemory(t *testing.T) {
	tel := start(t, Config{})
	holds := []doctor.SiteKind{doctor.Holds}
	if first := tel.sites.take(t.Context(), holds, 0); len(first) > 0 {
		t.Fatalf("%+v: there is nothing to compare with yet", first)
	}
	var kept [][]byte
	for end := time.Now().Add(time.Minute); ; {
		for range 32 { // each is sampled: twice the rate of the profile
			kept = append(kept, hoard(1<<20))
		}
		runtime.GC()
		runtime.GC() // a profile shows what the last but one collection left
		all := tel.sites.take(t.Context(), holds, 0)
		if len(all) > 0 && strings.HasPrefix(all[0].Function, "observe.hoard (sites_test.go:") && all[0].Weight > 0 {
			break
		}
		if time.Now().After(end) || len(kept) > 500 {
			t.Fatalf("%+v", all)
		}
	}
	runtime.KeepAlive(kept)
}

func TestDiskAndSystemCallsAreToldApart(t *testing.T) {
	frames := func(names ...string) (all []frame) {
		for _, n := range names {
			all = append(all, frame{function: n, file: "x.go", line: 1})
		}
		return append(all, frame{"main.handle", "main.go", 7}, frame{module + "observe.(*handler).ServeHTTP", "handler.go", 1})
	}
	for _, c := range []struct {
		frames []frame
		want   doctor.SiteKind
	}{
		{frames("syscall.fsync", "syscall.Fsync", "internal/poll.(*FD).Fsync", "os.(*File).Sync"), doctor.Disk},
		{frames("syscall.Syscall", "syscall.write", "syscall.Write", "internal/poll.(*FD).Write", "os.(*File).write", "os.(*File).Write", "bufio.(*Writer).Flush"), doctor.Disk},
		{frames("syscall.Syscall", "syscall.read", "syscall.Read", "internal/poll.(*FD).Read", "os.(*File).Read"), doctor.Syscall},
		{frames("runtime.cgocall", "main._Cfunc_sleep"), doctor.Syscall},
		{frames("runtime.gopark", "runtime.netpollblock", "internal/poll.runtime_pollWait", "internal/poll.(*FD).Read", "os.(*File).Read"), doctor.Syscall},
		{frames("runtime.gopark", "runtime.selectgo", "golang.org/x/sync/semaphore.(*Weighted).Acquire"), doctor.Channel},
		{frames("runtime.gopark", "runtime.selectgo", "database/sql.(*DB).conn", "database/sql.(*DB).query"), doctor.PoolWait},
		{frames("runtime.gopark", "runtime.netpollblock", "internal/poll.runtime_pollWait", "net.(*conn).Read", "github.com/jackc/pgx/v5.(*Conn).Query", module+"observe.(*conn).QueryContext", "database/sql.ctxDriverQuery"), doctor.Call},
		{frames("runtime.gopark", "internal/sync.runtime_SemacquireMutex", "internal/sync.(*Mutex).lockSlow", "sync.(*Mutex).Lock", "log.(*Logger).output"), doctor.LogLock},
		{frames("runtime.gopark", "internal/sync.runtime_SemacquireMutex", "internal/sync.(*Mutex).lockSlow", "sync.(*Mutex).Lock", "go.uber.org/zap/zapcore.(*lockedWriteSyncer).Write"), doctor.LogLock},
	} {
		if kind, at, ok := waitOfStack(c.frames); !ok || kind != c.want || c.frames[at].function != "main.handle" && !strings.HasPrefix(c.frames[at].function, "main.") {
			t.Errorf("%s: %q in frame %d (%t), want %q", c.frames[0].function, kind, at, ok, c.want)
		}
	}
	for _, running := range [][]frame{nil, frames("runtime.asyncPreempt"), frames("strings.Index"), frames("runtime.gcAssistAlloc", "runtime.mallocgc")} {
		if kind, _, ok := waitOfStack(running); ok {
			t.Errorf("%v waits for %s", running, kind)
		}
	}
}

//go:noinline
func compute(until time.Time) (n int) {
	for time.Now().Before(until) {
		for i := range 10_000 {
			n += i * n
		}
	}
	return n
}

var garbage [][]byte

//go:noinline
func allocate(until time.Time) {
	for time.Now().Before(until) {
		garbage = append(garbage[:min(len(garbage), 10)], make([]byte, 1<<20))
		runtime.Gosched()
	}
}

func TestSitesSayWhoComputesAndAllocates(t *testing.T) {
	tel := start(t, Config{ProfileEvery: time.Hour})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /burn/{id}", func(http.ResponseWriter, *http.Request) { compute(time.Now().Add(100 * time.Millisecond)) })
	h := tel.Handler(mux)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/burn/1", nil))
			}
		}
	})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				allocate(time.Now().Add(10 * time.Millisecond))
				runtime.GC() // which tells the memory profile
			}
		}
	})
	var all []doctor.Site
	found := func(kind doctor.SiteKind, function, route string) bool {
		return slices.ContainsFunc(all, func(s doctor.Site) bool {
			return s.Kind == kind && strings.HasPrefix(s.Function, function) && s.Route == route && s.Weight > 0
		})
	}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		all = tel.sites.take(t.Context(), []doctor.SiteKind{doctor.OnCPU, doctor.Allocates}, 500*time.Millisecond)
		if found(doctor.OnCPU, "observe.compute (sites_test.go:", "/burn/{id}") && found(doctor.Allocates, "observe.allocate (", "") {
			break
		}
	}
	close(stop)
	wg.Wait()
	if !found(doctor.OnCPU, "observe.compute (sites_test.go:", "/burn/{id}") || !found(doctor.Allocates, "observe.allocate (", "") {
		t.Errorf("%+v", all)
	}
}

func TestNoProfilesMeansNoCPUSites(t *testing.T) {
	tel := start(t, Config{ProfileEvery: -1})
	if all := tel.sites.take(t.Context(), []doctor.SiteKind{doctor.OnCPU}, time.Second); len(all) != 0 {
		t.Errorf("%+v", all)
	}
}

func TestSitesAreBounded(t *testing.T) {
	var s siteSums
	for i := range 1000 {
		s.add(doctor.Lock, frame{function: fmt.Sprint("main.f", i)}, "", float64(i), "")
		s.add(doctor.Channel, frame{function: "main." + strings.Repeat("x", 1000)}, "", 1, "")
	}
	all := s.heaviest()
	if len(all) != maxSites+1 || all[1].Function != "main.f999" || len(all[0].Function) > 210 || all[0].Weight != 1000 {
		t.Errorf("%d sites, %+v", len(all), all[:2])
	}
}

func TestCPUIsOfWhoComputesOfTimersAndOfTheScheduler(t *testing.T) {
	p := &profile.Profile{SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}}, DurationNanos: 1e9}
	sample := func(cpu int64, labels map[string][]string, functions ...string) {
		s := &profile.Sample{Value: []int64{cpu / 1e7, cpu}, Label: labels}
		for _, name := range functions { // the leaf stands first
			s.Location = append(s.Location, &profile.Location{Line: []profile.Line{{Function: &profile.Function{Name: name, Filename: "/src/x.go"}, Line: 1}}})
		}
		p.Sample = append(p.Sample, s)
	}
	sample(5e8, map[string][]string{routeLabel: {"/report"}}, "strings.Index", "main.render", "main.handle", "net/http.(*conn).serve")
	sample(1e8, map[string][]string{jobLabel: {"reindex"}}, "main.index")
	// Requests that the profile found under way.
	sample(3e8, nil, "main.render", "main.handle", module+"observe.(*handler).ServeHTTP")
	sample(1e8, nil, "main.other", "main.handle", module+"observe.(*handler).ServeHTTP")
	sample(2e8, nil, "runtime.(*timers).run", "runtime.findRunnable", "runtime.schedule", "runtime.mcall")
	sample(3e8, nil, "time.Sleep", "main.poll")
	sample(4e8, nil, "runtime.futex", "runtime.findRunnable", "runtime.schedule", "runtime.mcall")
	sample(9e8, nil, "runtime.scanobject", "runtime.gcBgMarkWorker") // told by the collector's own figures
	sample(1e8, nil)
	var sums siteSums
	cpuSites(p, &sums)
	got := map[doctor.SiteKind]map[string]float64{}
	for _, s := range sums.heaviest() {
		if got[s.Kind] == nil {
			got[s.Kind] = map[string]float64{}
		}
		got[s.Kind][s.Route+" "+strings.SplitN(s.Function, " ", 2)[0]] += math.Round(10*s.Weight) / 10
	}
	want := map[doctor.SiteKind]map[string]float64{
		doctor.OnCPU:     {"/report main.render": 0.8, "reindex main.index": 0.1, " main.other": 0.1},
		doctor.Timers:    {" runtime.mcall": 0.2, " main.poll": 0.3},
		doctor.Scheduler: {" runtime.mcall": 0.4},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for _, broken := range []*profile.Profile{{}, {SampleType: p.SampleType, Sample: p.Sample}} {
		var none siteSums
		if cpuSites(broken, &none); len(none.all) > 0 {
			t.Errorf("%v of a profile without a duration or a kind", none.all)
		}
	}
}
