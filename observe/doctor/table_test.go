package doctor

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestTable diagnoses each row of testdata/table.txt.
func TestTable(t *testing.T) {
	rows, err := readTable("testdata/table.txt")
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) < 60 {
		t.Fatalf("%d rows were read", len(rows))
	}
	seen := map[Cause]bool{}
	for _, row := range rows[1:] {
		t.Run(row.name, func(t *testing.T) {
			usual := usualWindow(t, rows[0])
			if v, ok := row.figures["washost"]; ok {
				usual.Runtime.HostBusy = v
			}
			for i := range usual.Routes { // its calls were made beside each other
				if r := &usual.Routes[i]; row.figures["beside@"+r.Route] > 0 {
					less := r.Waited * (1 - 1/row.figures["beside@"+r.Route])
					r.Waited -= less
					r.Seconds -= less
				}
			}
			r := Diagnose(Evidence{Now: row.window(t, rows[0]), Usual: usual, Running: time.Hour})
			got := string(r.Verdict)
			if len(r.Findings) > 0 && r.Verdict == Sick {
				f := r.Findings[0]
				seen[f.Cause] = true
				got = strings.Join(strings.Fields(fmt.Sprint(f.Cause, " ", strings.ReplaceAll(f.Subject, " ", "~"), " ", f.Level)), " ")
			}
			if got != row.want {
				t.Errorf("got %q, want %q\n%s\nfigures %v", got, row.want, r, row.figures)
			}
		})
	}
	for _, i := range illnesses {
		if !seen[i.Cause] {
			t.Errorf("no row has the cause %s", i.Cause)
		}
	}
}

// TestTableOfOldFaults: what is as old as the process is usual, too. What is waste
// by nature is told all the same, and nothing of what is healthy.
func TestTableOfOldFaults(t *testing.T) {
	rows, err := readTable("testdata/table.txt")
	if err != nil {
		t.Fatal(err)
	}
	waste := []Cause{
		CPUSaturated, CPUBurner, CPUThrottled, NoisyNeighbour, GOMAXPROCSWrong, GCAllocation, GCMemoryLimit, LockContention, LockHeldIO, LoggingLock,
		PoolExhausted, PanicLoop, DependencyFailing, RouteFailing, ConnectionLeak, DescriptorLeak, HeapLeak, MemoryNearLimit, TelemetryLoss, QueueGrowing, QueueStalled,
	}
	told := 0
	for _, row := range rows[1:] {
		same := row.window(t, rows[0])
		for _, usual := range []Window{{}, same} {
			r := Diagnose(Evidence{Now: same, Usual: usual, Running: time.Hour})
			want, _, _ := strings.Cut(row.want, " ")
			switch {
			case (want == "healthy" || want == "unknown") && r.Verdict == Sick:
				t.Errorf("%s, usual for %v: %s", row.name, usual.Interval, r)
			case row.name == "deadlock" || row.name == "database slow, pool full" || row.name == "goroutine leak" || row.name == "all routes compute more" || !slices.Contains(waste, Cause(want)):
			case len(r.Findings) == 0 || string(r.Findings[0].Cause) != want:
				t.Errorf("%s, usual for %v: %s", row.name, usual.Interval, r)
			default:
				told++
			}
			for _, f := range r.Findings {
				if usual.Interval > 0 && f.Level == Page && f.After == 0 && f.Cause != MemoryNearLimit {
					t.Errorf("%s is as ever, and wakes somebody: %s", row.name, r)
				}
			}
		}
	}
	if told < 40 {
		t.Errorf("%d were told", told)
	}
}

type tableRow struct {
	name    string
	figures map[string]float64
	texts   map[string]string
	sites   []Site
	want    string
}

func readTable(file string) (rows []tableRow, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for n, text := range strings.Split(string(data), "\n") {
		if text = strings.TrimSpace(text); text == "" || text[0] == '#' {
			continue
		}
		name, rest, ok := strings.Cut(text, ":")
		if !ok {
			return nil, fmt.Errorf("%s:%d: no colon", file, n+1)
		}
		row := tableRow{name: name, figures: map[string]float64{}, texts: map[string]string{}}
		if len(rows) > 0 {
			for k, v := range rows[0].figures {
				row.figures[k] = v
			}
		}
		rest, row.want, _ = strings.Cut(rest, "->")
		row.want = strings.TrimSpace(row.want)
		site := false
		for _, word := range strings.Fields(rest) {
			if word == "site" {
				site = true
				continue
			}
			key, value, _ := strings.Cut(word, "=")
			if site {
				kind, function, _ := strings.Cut(key, ":")
				weight, err := strconv.ParseFloat(value, 64)
				if err != nil {
					return nil, fmt.Errorf("%s:%d: %q: %w", file, n+1, word, err)
				}
				row.sites = append(row.sites, Site{Kind: SiteKind(kind), Function: function, Weight: weight})
				site = false
				continue
			}
			if v, err := strconv.ParseFloat(value, 64); err == nil {
				row.figures[key] = v
			} else if d, err := time.ParseDuration(value); err == nil {
				row.figures[key] = d.Seconds()
			} else {
				row.texts[key] = value
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

const (
	tableSeconds = 10
	tableRate    = 200
)

// The routes' portions of the requests, and of the calls of what they use.
var tableRoutes = []struct {
	name                   string
	portion, db            float64
	prices, stock, percent float64
}{
	{"/light", .5, 0, 0, 0, .2}, {"/orders", .25, 2, 1, 1, .3}, {"/price", .15, 1, 1, 0, .2}, {"/search", .08, 1, 0, 0, .15}, {"/report", .02, 3, 0, 0, .15},
}

func usualWindow(t *testing.T, usual tableRow) Window {
	w := usual.window(t, usual)
	w.Interval *= 30
	for i := range w.Routes {
		r := &w.Routes[i]
		scale(30, &r.Requests, &r.Errors, &r.Panics, &r.Seconds, &r.Waited)
		for k := range r.Parts {
			scale(30, &r.Parts[k].Calls, &r.Parts[k].Errors, &r.Parts[k].Seconds)
		}
	}
	for i := range w.Dependencies {
		d := &w.Dependencies[i]
		scale(30, &d.Calls, &d.Errors, &d.Seconds, &d.Retries, &d.Connections, &d.Connecting)
	}
	for i := range w.Queries {
		scale(30, &w.Queries[i].Calls, &w.Queries[i].Seconds)
	}
	for i := range w.Pools {
		scale(30, &w.Pools[i].WaitSeconds)
	}
	for i := range w.Caches {
		scale(30, &w.Caches[i].Hits, &w.Caches[i].Misses)
	}
	w.Queues = []Queue{{Queue: "mail", Added: 15000, Taken: 15000, Length: 3, Before: 3}}
	return w
}

func scale(by float64, figures ...*float64) {
	for _, f := range figures {
		*f *= by
	}
}

// window is the service of the table with the figures of the row.
func (row tableRow) window(t *testing.T, usual tableRow) Window {
	t.Helper()
	f := row.figures
	get := func(key string, missing float64) float64 {
		if v, ok := f[key]; ok {
			return v
		}
		return missing
	}
	rate := get("rate", tableRate)
	procs := get("procs", 2)
	cpus := get("cpus", 2)
	w := Window{Time: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC), Interval: tableSeconds * time.Second}
	w.Runtime = Runtime{
		Processors: procs, CPUs: cpus, CPULimit: get("limit", math.NaN()), CPU: get("cpu", 0) * procs,
		SchedWait: get("runq", 0), SchedMean: get("delay", get("runq", 0)/2000), SchedP99: get("sched", 0), WakeupP50: get("lag50", 0), WakeupP99: get("lag", 0), MutexWait: get("lock", 0),
		GCShare: get("gc", .01), GCAssist: get("assist", 0), GCPerSecond: get("gcs", .05), ForcedGC: get("forced", 0), PauseShare: get("pause", 0), HeapHeldDown: f["helddown"] > 0,
		AllocatedBytes: get("alloc", 0) * 1e6, Throttled: get("thr", 0), ThrottledShare: get("periods", 0), RunDelay: get("rundelay", .01),
		HostBusy: get("host", .3), HostOwn: min(get("cpu", 0)*procs/cpus, get("host", .3)), Steal: get("steal", 0), IOPressure: get("iopressure", 0),
		MemoryFree: get("free", .6), MemoryBy: "cgroup", HeapLive: get("heap", 50) * (1 << 20), HeapBefore: get("heapbefore", 50) * (1 << 20), MemoryAfter: time.Duration(get("ends", 0)) * time.Minute, HeapRoom: 1 << 30,
		Goroutines: get("goroutines", 0), GoroutinesBefore: get("goroutines", 0) - get("grown", 0), Streams: get("streams", 0), Created: get("created", 200), NotInGo: get("notingo", 0),
		Threads: 12, Descriptors: 30, DescriptorsBefore: 30, DescriptorMax: 1024,
	}
	u := usual.figures
	dependencies := map[string]*Dependency{
		"orders": {Name: "orders", Kind: "db"}, "prices": {Name: "prices", Kind: "http"}, "stock": {Name: "stock", Kind: "http"},
	}
	names := []string{"orders", "prices", "stock"}
	dbCalls, depCalls := 0.0, 0.0
	for _, r := range tableRoutes {
		dbCalls += r.portion * r.db
		depCalls += r.portion * (r.prices + r.stock)
	}
	n := rate * tableSeconds
	extraSelf := map[string]float64{}
	ownSelf := f["self"]
	for _, r := range tableRoutes {
		if v, ok := f["self@"+r.name]; ok {
			extraSelf[r.name] = v - u["self"]*r.percent
		}
	}
	inFlight := 0.0
	for _, r := range tableRoutes {
		route := Route{Route: r.name, Requests: math.Round(n * r.portion), CPU: math.NaN()}
		if r.name == "/report" && f["report"] > 0 {
			route.Requests = 1
		}
		spread := r.percent
		if f["spread"] > 0 {
			spread = r.portion
			route.Seconds -= (u["self"]*r.portion - u["self"]*r.percent) * tableSeconds
		}
		self := (ownSelf*spread + extraSelf[r.name]) * tableSeconds
		if v, ok := f["own@"+r.name]; ok {
			route.CPU = v
		} else {
			route.CPU = get("cpu", 0) * procs * .1 * r.percent
		}
		add := func(name string, calls, seconds float64, errors float64) {
			if calls == 0 {
				return
			}
			route.Parts = append(route.Parts, Part{Name: name, Calls: calls, Errors: errors, Seconds: seconds})
			route.Waited += seconds
			d := dependencies[name]
			d.Calls += calls
			d.Errors += errors
			d.Seconds += seconds
		}
		more := 1.0
		if r.name == "/orders" {
			more = get("dbcalls", r.db) / r.db
		}
		dbSeconds := f["db"] * tableSeconds * r.portion * r.db / dbCalls
		if more > 1 { // all that is beyond the usual is this route's
			dbSeconds = u["db"] * tableSeconds * r.portion * r.db / dbCalls
			dbSeconds += (f["db"] - u["db"]) * tableSeconds
		} else if _, looped := f["dbcalls"]; looped {
			dbSeconds = u["db"] * tableSeconds * r.portion * r.db / dbCalls
		}
		add("orders", route.Requests*r.db*more, dbSeconds, 0)
		for _, name := range names[1:] {
			per := r.prices
			if name == "stock" {
				per = r.stock
			}
			of := u["dep"]
			errors := 0.0
			if row.texts["depof"] == "" || row.texts["depof"] == name {
				of = f["dep"]
			}
			each := of * tableSeconds * r.portion * per / depCalls
			if row.texts["depof"] == name { // all that is beyond the usual is this dependency's
				portion := 0.0
				for _, o := range tableRoutes {
					portion += o.portion * o.prices
				}
				each = u["dep"]*tableSeconds*r.portion*per/depCalls + (f["dep"]-u["dep"])*tableSeconds*r.portion*per/portion
				if v, ok := f["dep@"+r.name]; ok {
					each += (v - u["dep"]) * tableSeconds
				}
				errors = f["deperrors"]
				per *= get("depcalls", 1)
			}
			calls := route.Requests * per
			if row.texts["depof"] == name {
				calls *= get("deprate", 1)
				each *= get("deprate", 1)
			}
			add(name, calls, each, calls*errors)
		}
		route.Seconds += self + route.Waited
		if r.name == "/report" && f["report"] > 0 {
			route.Seconds = 2
			route.Waited = 0
			route.Parts = nil
		}
		if v, ok := f["errors@"+r.name]; ok {
			route.Errors = v * route.Requests
		} else if len(route.Parts) > 1 {
			route.Errors = f["errors"] * route.Requests
		}
		if v, ok := f["panics@"+r.name]; ok {
			route.Panics = v * route.Requests
			route.Errors = route.Panics
		}
		inFlight += route.Seconds / tableSeconds
		if route.Requests > 0 {
			route.P50 = route.Seconds / route.Requests
			route.P99 = 3 * route.P50
		}
		w.Routes = append(w.Routes, route)
	}
	w.InFlight = get("inflight", inFlight)
	for _, name := range names {
		d := dependencies[name]
		if row.texts["depof"] == name {
			d.Active = f["active"]
			d.Retries = f["retries"] * d.Calls
			d.Connections = f["fresh"] * d.Calls
			d.Connecting = f["connecting"] * tableSeconds
			d.Waiting = f["waiting"] * tableSeconds
		}
		w.Dependencies = append(w.Dependencies, *d)
	}
	w.Pools = []Pool{{Name: "orders", Max: 20, InUse: 20, WaitSeconds: f["poolwait"] * tableSeconds, Unclosed: f["unclosed"]}}
	db := dependencies["orders"]
	for i, name := range []string{"SELECT orders", "SELECT stock", "INSERT lines"} {
		q := Query{Pool: "orders", Summary: name, Calls: db.Calls / 3, Seconds: db.Seconds / 3}
		if slow := strings.ReplaceAll(row.texts["query"], "~", " "); slow != "" {
			q.Seconds = u["db"] * tableSeconds / 3
			if name == slow {
				q.Seconds = db.Seconds - 2*q.Seconds
			}
		}
		_ = i
		w.Queries = append(w.Queries, q)
	}
	hits := get("hits", .9)
	w.Caches = []Cache{{Cache: "prices", Hits: 1000 * hits, Misses: 1000 * (1 - hits)}}
	if length, ok := f["queue"]; ok {
		w.Queues = []Queue{{Queue: "mail", Length: length, Before: get("before", 3), Capacity: f["capacity"], Added: f["added"], Taken: f["taken"]}}
	} else if v, ok := f["blocked"]; ok {
		w.Queues = []Queue{{Queue: "mail", Length: 64, Before: 64, Capacity: 64, Added: 500, Taken: 500, Blocked: v * tableSeconds}}
	} else {
		w.Queues = []Queue{{Queue: "mail", Length: 3, Before: 3, Added: 500, Taken: 500}}
	}
	for key, cores := range f {
		if job, ok := strings.CutPrefix(key, "job:"); ok {
			w.Jobs = append(w.Jobs, Job{Job: job, Runs: 1, CPU: cores})
		}
	}
	if kind := row.texts["leak"]; kind != "" {
		w.Leaks = []Leak{{Kind: kind, Site: "main.leak", Count: 500, PerHour: 3000, Confidence: .9}}
	}
	if n := f["lost"]; n > 0 {
		w.Losses = []Loss{{Signal: "traces", Reason: "queue_full", Count: n, Of: 5000}}
	}
	w.Sites = row.sites
	return w
}
