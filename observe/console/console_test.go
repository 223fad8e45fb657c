package console

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/loadline-go/loadline/observe/doctor"
	"github.com/loadline-go/loadline/runtimemetrics"
)

// process is a process whose counts a test makes.
type process struct {
	now    time.Time
	routes []*counted
}

type counted struct {
	name   string
	cells  [Cells]uint64
	errors uint64
	n      uint64
	sum    float64
	cpu    float64
}

func newProcess(routes int) *process {
	p := &process{now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
	for i := range routes {
		p.routes = append(p.routes, &counted{name: fmt.Sprintf("GET /api/v1/things/%d/{id}", i)})
	}
	return p
}

// took counts one request.
func (c *counted) took(seconds float64, failed bool) {
	i := 0
	if seconds > math.Exp2(FirstOctave) {
		i = min(int(math.Ceil(PerOctave*(math.Log2(seconds)-FirstOctave))), Cells-1)
	}
	c.cells[i]++
	c.n++
	c.sum += seconds
	if failed {
		c.errors++
	}
}

func (p *process) sample(interval time.Duration) Sample {
	p.now = p.now.Add(interval)
	return Sample{
		Runtime: runtimemetrics.Delta{Time: p.now, Interval: interval},
		Routes: func(yield func(Route) bool) {
			for _, c := range p.routes {
				cells := c.cells
				if !yield(Route{Name: c.name, Cells: cells[:], Requests: c.n, Errors: c.errors, Seconds: c.sum, CPU: c.cpu}) {
					return
				}
			}
		},
	}
}

// frameJSON is what a page is told.
type frameJSON struct {
	Seq      int
	Full     bool
	From, To float64
	State    State
	Report   *struct{ Verdict, Headline string }
	Still    []struct{ Cause doctor.Cause }
	Total    routeJSON
	Routes   []routeJSON
	T        []float64
	Series   map[string][]*float64
	Runtime  map[string][]*float64
	Sched    [][]float64
	About    struct {
		Rows []float64 `json:"sched_rows"`
	}
	DT     []float64
	Groups map[string][]struct {
		N, D string
		V    map[string][]*float64
	}
}

type routeJSON struct {
	N    string
	C, E float64
	S    float64
	U    *float64
	P    []*float64
	K    []float64
	W    []float64
	D    map[string]float64
}

func decode(t *testing.T, b []byte) (f frameJSON) {
	t.Helper()
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatalf("%v in %.2000s", err, b)
	}
	return f
}

func TestFrameTellsWhatWasCounted(t *testing.T) {
	p := newProcess(1)
	c := New(Config{Service: "shop", Started: p.now})
	for i := range 100 {
		p.routes[0].took(.010+float64(i)*.001, i%10 == 0)
	}
	stuck := p.sample(5 * time.Second)
	stuck.InFlight = 7
	c.Sample(stuck)
	for range 100 {
		p.routes[0].took(.5, false)
	}
	c.Sample(p.sample(5 * time.Second))
	f := decode(t, c.frame(5*time.Minute, true, State{Ready: true}))
	r := f.Routes[0]
	if r.N != "GET /api/v1/things/0/{id}" || r.C != 200 || r.E != 10 || math.Abs(r.S-(5.95+50)) > .01 {
		t.Errorf("%+v", r)
	}
	if got := *r.P[1]; got < .5/1.1 || got > .5*1.1 {
		t.Errorf("p95 %v, want 0.5", got)
	}
	if !slices.Equal(r.K, []float64{100, 100}) || len(f.T) != 2 || f.To-f.From != 10_000 || !f.State.Ready {
		t.Errorf("%+v, %v to %v", r.K, f.From, f.To)
	}
	if p50 := f.Series["p50"]; *p50[0] > .1 || *p50[1] < .4 {
		t.Errorf("p50 over time: %v, %v", *p50[0], *p50[1])
	}
	if n := f.Series["inflight"]; *n[0] != 7 || *n[1] != 10 { // 50 s of requests in 5 s
		t.Errorf("in flight: %v, %v", *n[0], *n[1])
	}
	tick := decode(t, c.frame(5*time.Minute, false, State{}))
	if tick.Full || len(tick.T) != 1 || !slices.Equal(tick.Routes[0].K, []float64{100}) || tick.Routes[0].C != 200 {
		t.Errorf("a frame of one sample: %+v", tick)
	}
}

// What lies before the time range is not in its sums, and what lies before the
// rings in nothing.
func TestRangesForget(t *testing.T) {
	p := newProcess(1)
	c := New(Config{Started: p.now})
	p.routes[0].took(1, true)
	c.Sample(p.sample(5 * time.Second))
	count := func(over time.Duration) float64 {
		f := decode(t, c.frame(over, true, State{}))
		if len(f.Routes) == 0 {
			return 0
		}
		return f.Routes[0].C
	}
	if count(time.Minute) != 1 {
		t.Fatal("the request is not told")
	}
	for range 3 * perSlot {
		c.Sample(p.sample(5 * time.Second))
	}
	if one, all := count(time.Minute), count(15*time.Minute); one != 0 || all != 1 {
		t.Errorf("after 3 minutes: %v in the last, %v in the last 15", one, all)
	}
	for range 2 * points {
		c.Sample(p.sample(5 * time.Second))
	}
	if all := count(15 * time.Minute); all != 0 {
		t.Errorf("after half an hour %v are left of one", all)
	}
	f := decode(t, c.frame(15*time.Minute, true, State{}))
	if got := (f.To - f.From) / 60_000; got < 15 || got > 16 {
		t.Errorf("a quarter of an hour is told as %v minutes", got)
	}
}

// The routes beyond the bound are added up, and nothing is counted twice.
func TestRoutesBeyondTheBoundAreOne(t *testing.T) {
	p := newProcess(MaxRoutes + 100)
	c := New(Config{Started: p.now})
	for range 3 {
		for _, r := range p.routes {
			r.took(.1, false)
		}
		c.Sample(p.sample(5 * time.Second))
	}
	f := decode(t, c.frame(time.Minute, true, State{}))
	i := slices.IndexFunc(f.Routes, func(r routeJSON) bool { return r.N == MoreRoutes })
	if len(f.Routes) != MaxRoutes+1 || i < 0 || f.Routes[i].C != 300 || f.Total.C != 3*(MaxRoutes+100) {
		t.Errorf("%d routes, %v requests in all; others %+v", len(f.Routes), f.Total.C, f.Routes[max(i, 0)])
	}
}

// The CPU of a route is what was counted in the time range; before the first
// profile nothing is known of any, which is not zero.
func TestFrameTellsTheCPUOfRoutes(t *testing.T) {
	p := newProcess(MaxRoutes + 2)
	c := New(Config{Started: p.now})
	sample := func(cpu float64) frameJSON {
		for _, r := range p.routes {
			r.took(.1, false)
		}
		s := p.sample(5 * time.Second)
		s.CPU = cpu
		c.Sample(s)
		return decode(t, c.frame(time.Minute, true, State{NoCPU: "no profile"}))
	}
	if f := sample(math.NaN()); f.Total.U != nil || f.Routes[0].U != nil || f.State.NoCPU != "no profile" {
		t.Errorf("before the first profile: %+v", f.Total)
	}
	p.routes[0].cpu = 3
	p.routes[MaxRoutes].cpu, p.routes[MaxRoutes+1].cpu = 1, 2 // one of which has no line of its own, whichever
	of := func(f frameJSON, name string) float64 {
		for _, r := range f.Routes {
			if r.N == name {
				return *r.U
			}
		}
		t.Fatalf("no %q", name)
		return 0
	}
	f := sample(10)
	if *f.Total.U != 10 || of(f, p.routes[0].name) != 3 || of(f, p.routes[1].name) != 0 || of(f, MoreRoutes) != 3 {
		t.Errorf("of all %v, of the first %v, of the second %v, of others %v", *f.Total.U, of(f, p.routes[0].name), of(f, p.routes[1].name), of(f, MoreRoutes))
	}
	p.routes[0].cpu = 4
	for range 2 * perSlot {
		f = sample(12)
	}
	if *f.Total.U != 0 || of(f, p.routes[0].name) != 0 {
		t.Errorf("a minute later %v and %v", *f.Total.U, of(f, p.routes[0].name))
	}
	if f := decode(t, c.frame(time.Hour, true, State{})); *f.Total.U != 12 || of(f, p.routes[0].name) != 4 {
		t.Errorf("since the start %v and %v", *f.Total.U, of(f, p.routes[0].name))
	}
}

// Each wait for a processor lies in the row whose bounds hold it.
func TestFrameTellsHowSchedulingIsSpread(t *testing.T) {
	p := newProcess(0)
	c := New(Config{Started: p.now})
	for i := range points + 2 {
		s := p.sample(5 * time.Second)
		if i > 0 {
			s.Runtime.Sched.Observe(100 * time.Nanosecond)
			for range 5 {
				s.Runtime.Sched.Observe(1200 * time.Nanosecond)
			}
			s.Runtime.Sched.Observe(25 * time.Millisecond)
			s.Runtime.Sched.Observe(time.Hour)
		}
		c.Sample(s)
	}
	f := decode(t, c.frame(time.Hour, true, State{}))
	if len(f.About.Rows) != schedRows || len(f.Sched) != points || len(f.T) != points {
		t.Fatalf("%d rows, %d columns, %d times", len(f.About.Rows), len(f.Sched), len(f.T))
	}
	found := map[float64]float64{}
	for i, heat := range f.Sched[points-1] {
		if heat > 0 {
			found[f.About.Rows[i]] = heat
		}
	}
	want := map[float64]float64{0: 1, 1024e-9: 3, 16777216e-9: 1, 12884901888e-9: 1} // 2^24 ns is 16.8 ms, 1.5*2^33 ns 12.9 s
	if !maps.Equal(found, want) {
		t.Errorf("%v, want %v", found, want)
	}
	if f := decode(t, c.frame(time.Hour, false, State{})); len(f.Sched) != 1 || len(f.Sched[0]) != schedRows {
		t.Errorf("the last alone: %v", f.Sched)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		d := time.Duration(math.Exp(random.Float64() * 24))
		row := schedRow(d)
		if s := d.Seconds(); s < schedBounds[row] || row < schedRows-1 && s >= schedBounds[row+1] {
			t.Fatalf("%v is in the row from %v", d, schedBounds[row])
		}
	}
}

func TestPackKeepsAllCounts(t *testing.T) {
	for range 200 {
		var cells [Cells]uint32
		for range rand.IntN(Cells + 1) {
			cells[rand.IntN(Cells)] = rand.Uint32() >> rand.IntN(32)
		}
		var sum [Cells]uint64
		addPacked(&sum, pack(&cells))
		for i := range cells {
			if uint64(cells[i]) != sum[i] {
				t.Fatalf("cell %d: %d became %d", i, cells[i], sum[i])
			}
		}
	}
}

// busy fills all rings: each route has requests in each sample, of latencies
// that are spread over two orders of magnitude, and calls six dependencies.
func busy(routes int) (*Console, *process) {
	p := newProcess(routes)
	c := New(Config{Service: "shop", Started: p.now})
	random := rand.New(rand.NewPCG(1, 2))
	for i := range points + 2*perSlot {
		for _, r := range p.routes {
			for range 25 {
				r.took(.02*math.Exp(random.NormFloat64()), random.IntN(50) == 0)
			}
		}
		c.Sample(p.sample(5 * time.Second))
		if i%2 == 0 {
			p.diagnose(c)
		}
	}
	return c, p
}

func (p *process) diagnose(c *Console) {
	w, r := diagnosis(p)
	c.Diagnosed(w, r, nil)
}

func diagnosis(p *process) (doctor.Window, doctor.Report) {
	w := doctor.Window{Time: p.now, Interval: 10 * time.Second}
	r := doctor.Report{Time: p.now, Verdict: doctor.Healthy}
	for i := range maxRows {
		name := fmt.Sprint("dependency ", i)
		w.Dependencies = append(w.Dependencies, doctor.Dependency{Name: name, Kind: "http", Calls: 10})
		w.Queries = append(w.Queries, doctor.Query{Pool: "db", Summary: name, Calls: 10})
	}
	for _, route := range p.routes {
		s := doctor.Split{Route: route.name, Total: 1, Running: .25, Pool: .25}
		for i := range 6 {
			s.Parts = append(s.Parts, doctor.Part{Name: fmt.Sprint("dependency ", i), Seconds: .5 / 6})
		}
		r.Split = append(r.Split, s)
	}
	return w, r
}

// The memory that the package promises: everything is full here.
func TestMemory(t *testing.T) {
	live := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := live()
	c, p := busy(500)
	p.routes = nil
	after := live()
	used := float64(after-before) / 1e6
	t.Logf("%.2f MB", used)
	if used > 8 {
		t.Errorf("500 busy routes take %.2f MB, want below 8", used)
	}
	runtime.KeepAlive(c)
	runtime.KeepAlive(p)
}

// A sample, and the frame that is made of it for all pages that are open.
func BenchmarkSample(b *testing.B) {
	c, p := busy(500)
	b.ReportAllocs()
	for b.Loop() {
		for _, r := range p.routes {
			r.took(.02, false)
		}
		c.Sample(p.sample(5 * time.Second))
	}
}

func BenchmarkFrame(b *testing.B) {
	for _, full := range []bool{false, true} {
		b.Run(fmt.Sprint("full=", full), func(b *testing.B) {
			c, _ := busy(500)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n = len(c.frame(5*time.Minute, full, State{}))
			}
			b.ReportMetric(float64(n)/1000, "kB")
		})
	}
}

func TestSplitAndGroups(t *testing.T) {
	p := newProcess(1)
	c := New(Config{Started: p.now})
	p.routes[0].took(.1, false)
	c.Sample(p.sample(5 * time.Second))
	w, r := diagnosis(p)
	w.Pools = []doctor.Pool{{Name: "orders", Max: 8, InUse: math.NaN()}}
	w.Leaks = []doctor.Leak{{Kind: "goroutine", Site: "shop.run (shop.go:1)", Count: 12}}
	for i := range 8 { // two more than have room
		r.Split[0].Parts = append(r.Split[0].Parts, doctor.Part{Name: fmt.Sprint("more ", i), Seconds: .01})
	}
	c.Diagnosed(w, r, []doctor.Finding{{Cause: doctor.CPUBurner}})
	f := decode(t, c.frame(time.Minute, true, State{}))
	route := f.Routes[0]
	if len(route.W) != fixedParts || math.Abs(route.W[0]-.25) > .01 || math.Abs(route.W[5]-.08) > .02 || len(route.D) != 6 {
		t.Errorf("split %v, %v", route.W, route.D)
	}
	if g := f.Groups["pool"]; len(g) != 1 || g[0].N != "orders" || *g[0].V["max"][0] != 8 || g[0].V["in_use"][0] != nil {
		t.Errorf("pools %+v", g)
	}
	if n := len(f.Groups["dependency"]); n != maxRows {
		t.Errorf("%d dependencies", n)
	}
	if f.Report == nil || f.Report.Verdict != "healthy" || len(f.DT) != 1 || len(f.Still) != 1 || f.Still[0].Cause != doctor.CPUBurner {
		t.Errorf("%+v, %v", f.Report, f.DT)
	}
	// One that is not told of any more disappears with the rings' end.
	for range diagnoses + 1 {
		c.Diagnosed(doctor.Window{Time: p.now}, doctor.Report{}, nil)
	}
	if f := decode(t, c.frame(time.Minute, true, State{})); len(f.Groups["pool"]) != 0 {
		t.Errorf("pools %+v", f.Groups["pool"])
	}
}

func TestOwnMetricsAreRates(t *testing.T) {
	p := newProcess(0)
	c := New(Config{Started: p.now})
	for i := range 3 {
		s := p.sample(5 * time.Second)
		s.Own = []Own{
			{Name: "shop_orders_total", Labels: "country=de", Value: 1e9 + float64(50*i), Rate: true}, // a float32 would not tell 50 more
			{Name: "shop_carts", Value: float64(i)},
		}
		c.Sample(s)
	}
	f := decode(t, c.frame(time.Minute, true, State{}))
	own := f.Groups["own"]
	if len(own) != 2 || own[1].N != "shop_orders_total {country=de}" || *own[1].V["rate"][2] != 10 || own[1].V["rate"][0] != nil || *own[0].V["value"][2] != 2 {
		t.Errorf("%+v", own)
	}
}

// Names that come from clients and programs reach the page as data, whole.
func TestHostileNames(t *testing.T) {
	p := newProcess(0)
	c := New(Config{Service: hostile, Started: p.now})
	r := &counted{name: hostile}
	r.took(.1, true)
	p.routes = []*counted{r}
	s := p.sample(5 * time.Second)
	s.Own = []Own{{Name: hostile, Help: hostile, Labels: hostile}}
	c.Sample(s)
	c.Diagnosed(doctor.Window{Time: p.now, Dependencies: []doctor.Dependency{{Name: hostile, Kind: hostile}}},
		doctor.Report{Time: p.now, Verdict: doctor.Sick, Findings: []doctor.Finding{{Summary: hostile}}, Split: []doctor.Split{{Route: hostile, Total: 1, Parts: []doctor.Part{{Name: hostile, Seconds: 1}}}}}, []doctor.Finding{{Summary: hostile}})
	b := c.frame(time.Minute, true, State{Failed: []string{hostile}})
	f := decode(t, b)
	if f.Routes[0].N != hostile || f.Routes[0].D[hostile] == 0 || f.Groups["dependency"][0].N != hostile || f.State.Failed[0] != hostile {
		t.Errorf("%+v", f)
	}
	if strings.ContainsAny(string(b), "<>\u2028\n") {
		t.Error("the frame could end a script or an event")
	}
	var route map[string]any
	if err := json.Unmarshal(c.routeFrame(hostile), &route); err != nil || route["n"] != hostile {
		t.Errorf("%v, %v", route["n"], err)
	}
	var text strings.Builder
	c.WriteRequests(&text, time.Minute)
	if strings.ContainsAny(text.String(), "\x1b\u202e") {
		t.Errorf("the text steers a terminal: %q", text.String())
	}
}

const hostile = "GET /<script>alert(1)</script>\"'&\u2028\x1b[2J\u202e{{.}}\n\nevent: frame"

func TestTextTellsWhereTheTimeGoes(t *testing.T) {
	p := newProcess(1)
	c := New(Config{Started: p.now})
	var b strings.Builder
	c.WriteRequests(&b, time.Minute)
	if b.String() != "no requests yet\n" {
		t.Errorf("%q", b.String())
	}
	for range 10 {
		p.routes[0].took(.25, false)
	}
	c.Sample(p.sample(5 * time.Second))
	p.diagnose(c)
	b.Reset()
	c.WriteRequests(&b, time.Minute)
	for _, want := range []string{"2.00/s", "0.0 %", "     0.50       -", "100.0 %  GET /api/v1/things/0/{id}", "running 25 %", "pool 25 %", "dependency 0 8 %"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	p.routes[0].took(.25, false)
	p.routes[0].cpu = 1
	s := p.sample(5 * time.Second)
	s.CPU = 4
	c.Sample(s)
	b.Reset()
	if c.WriteRequests(&b, time.Minute); !strings.Contains(b.String(), " 25.0 % 100.0 %  GET") {
		t.Errorf("no share of the CPU in\n%s", b.String())
	}
}

func TestNilConsoleKeepsNothing(t *testing.T) {
	var c *Console
	c.Sample(Sample{})
	c.Diagnosed(doctor.Window{}, doctor.Report{}, nil)
	if c.Due(time.Now()) {
		t.Error("a sample is due")
	}
}

func TestSamplesAreAPointApart(t *testing.T) {
	p := newProcess(0)
	c := New(Config{Started: p.now})
	if !c.Due(p.now) {
		t.Error("the first is not due")
	}
	c.Sample(p.sample(time.Second))
	if c.Due(p.now.Add(time.Second)) {
		t.Error("a second later the next is due")
	}
	if !c.Due(p.now.Add(4900 * time.Millisecond)) {
		t.Error("five seconds later the next is not due")
	}
}

func TestStreamBeginsWithEverything(t *testing.T) {
	p := newProcess(3)
	c := New(Config{Service: "shop", Started: p.now})
	c.Sample(p.sample(5 * time.Second))
	server := httptest.NewServer(c.Handler())
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, "GET", server.URL+"/debug/console/events?range=60", nil)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if kind := answer.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Error(kind)
	}
	lines := bufio.NewReader(answer.Body)
	next := func() frameJSON {
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				return decode(t, []byte(data))
			}
		}
	}
	if f := next(); !f.Full || f.Seq != 1 {
		t.Errorf("first %+v", f)
	}
	p.routes[1].took(.1, false)
	c.Sample(p.sample(5 * time.Second))
	if f := next(); f.Full || f.Seq != 2 || f.Total.C != 1 {
		t.Errorf("then %+v", f)
	}
	if c.Open() != 1 {
		t.Errorf("%d pages are open", c.Open())
	}
	cancel()
	for deadline := time.Now().Add(30 * time.Second); c.Open() != 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("the page that went away is still open")
		}
	}
}

// stuck is a connection whose other end does not read.
type stuck struct {
	http.ResponseWriter
	deadline time.Time
	room     int // bytes that are taken before
}

func (s *stuck) SetWriteDeadline(t time.Time) error { s.deadline = t; return nil }
func (s *stuck) Flush()                             {}
func (s *stuck) Write(p []byte) (int, error) {
	if len(p) <= s.room {
		s.room -= len(p)
		return len(p), nil
	}
	time.Sleep(time.Until(s.deadline))
	return 0, os.ErrDeadlineExceeded
}
func (s *stuck) WriteString(p string) (int, error) { return s.Write([]byte(p)) }

func TestSlowReaderIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcess(3)
		c := New(Config{Started: p.now})
		c.Sample(p.sample(5 * time.Second))
		ended := make(chan time.Duration)
		began := time.Now()
		go func() {
			c.serveEvents(&stuck{ResponseWriter: httptest.NewRecorder(), room: 100}, httptest.NewRequest("GET", "/debug/console/events", nil))
			ended <- time.Since(began)
		}()
		if took := <-ended; took != writeTimeout {
			t.Errorf("cut off after %v, want %v", took, writeTimeout)
		}
		if c.Open() != 0 {
			t.Error("it is still counted")
		}
	})
}

// A page that is open for days is told each sample and quiet comments, and holds nothing.
func TestPageOpenForDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcess(3)
		c := New(Config{Started: p.now})
		ctx, cancel := context.WithCancel(t.Context())
		w := &counting{header: http.Header{}}
		ended := make(chan bool)
		go func() {
			c.serveEvents(w, httptest.NewRequestWithContext(ctx, "GET", "/debug/console/events", nil))
			ended <- true
		}()
		const samples = 2 * 24 * 720
		for range samples {
			time.Sleep(5 * time.Second)
			c.Sample(p.sample(5 * time.Second))
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if w.frames != samples+1 || w.quiet != 4 {
			t.Errorf("%d frames and %d comments, want %d and 4", w.frames, w.quiet, samples+1)
		}
		if n := len(c.pages.frames); n != 1 {
			t.Errorf("%d frames are kept", n)
		}
		cancel()
		<-ended
	})
}

type counting struct {
	header        http.Header
	frames, quiet int
}

func (w *counting) Header() http.Header              { return w.header }
func (w *counting) WriteHeader(int)                  {}
func (w *counting) Flush()                           {}
func (w *counting) SetWriteDeadline(time.Time) error { return nil }
func (w *counting) Write(p []byte) (int, error) {
	w.frames += strings.Count(string(p), "event: frame")
	w.quiet += strings.Count(string(p), ": quiet")
	return len(p), nil
}

func TestTwoHundredPagesShareOneFrame(t *testing.T) {
	asked := 0
	p := newProcess(10)
	c := New(Config{Started: p.now, State: func(context.Context) State { asked++; return State{} }})
	c.Sample(p.sample(5 * time.Second))
	key := frameKey{5 * time.Minute, false}
	first := c.shared(t.Context(), key)
	for range 200 {
		if again := c.shared(t.Context(), key); &again[0] != &first[0] {
			t.Fatal("made again")
		}
	}
	if asked != 1 {
		t.Errorf("the state was asked for %d times", asked)
	}
	for range maxPages {
		if c.pages.add() == nil {
			t.Fatal("no room")
		}
	}
	w := httptest.NewRecorder()
	c.serveEvents(w, httptest.NewRequest("GET", "/debug/console/events", nil))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("one page too many gets %d", w.Code)
	}
}

// What was made for a page is gone with the sample after it was closed.
func TestFramesAreNotKeptForNobody(t *testing.T) {
	p := newProcess(10)
	c := New(Config{Started: p.now})
	page := c.pages.add()
	c.Sample(p.sample(5 * time.Second))
	c.shared(t.Context(), frameKey{5 * time.Minute, true})
	c.Sample(p.sample(5 * time.Second))
	if len(c.pages.frames) != 1 {
		t.Errorf("%d frames while a page is open", len(c.pages.frames))
	}
	c.pages.remove(page)
	c.Sample(p.sample(5 * time.Second))
	if len(c.pages.frames) != 0 {
		t.Errorf("%d frames are kept for nobody", len(c.pages.frames))
	}
}

// The page is small, loads nothing from elsewhere, and makes no markup of data.
func TestPageIsSmallAndStrict(t *testing.T) {
	total := 0
	for name, a := range assets {
		total += len(a.content)
		if a.kind == "" {
			t.Errorf("%s: of no kind", name)
		}
		text := string(a.content)
		for _, bad := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "DOMParser", "createContextualFragment", "srcdoc", "javascript:"} {
			if strings.Contains(text, bad) {
				t.Errorf("%s: %s", name, bad)
			}
		}
		for _, url := range regexp.MustCompile(`(?i)(https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\s"']*`).FindAllString(text, -1) {
			if !strings.Contains(url, "www.w3.org/2000/svg") { // a name, not an address
				t.Errorf("%s: names %s", name, url)
			}
		}
	}
	if total == 0 || total > 150_000 {
		t.Errorf("%d bytes, want below 150 kB", total)
	}
	index := string(assets["index.html"].content)
	if regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=|<script>|<script(?:[^>](?:$|[^s]))*>[^<]`).MatchString(index) {
		t.Error("inline script or style")
	}
	if !strings.Contains(index, "<noscript>") || !strings.Contains(index, "/debug/doctor") {
		t.Error("no text pages for those without JavaScript")
	}
}

func TestAssetsAreRevalidated(t *testing.T) {
	h := New(Config{}).Handler()
	ask := func(path, tag string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("If-None-Match", tag)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	w := ask("/debug/console/app.js", "")
	if w.Code != 200 || w.Header().Get("Content-Security-Policy") != Policy || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/javascript") {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if again := ask("/debug/console/app.js", w.Header().Get("ETag")); again.Code != 304 {
		t.Errorf("asked again: %d", again.Code)
	}
	for _, path := range []string{"/debug/console/none.js", "/debug/console/..%2fdoc.go", "/debug/console/route?name=none"} {
		if w := ask(path, ""); w.Code != 404 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if b, _ := io.ReadAll(ask("/debug/console/data?range=x", "").Body); !json.Valid(b) {
		t.Errorf("%s", b)
	}
}
