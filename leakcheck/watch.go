package leakcheck

import (
	"context"
	"fmt"
	"maps"
	"math"
	"regexp"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"time"
)

// Watch looks at the program once a window until ctx ends: at its goroutines,
// at its heap after a garbage collection, and at what [Config.Sources] have
// open. It calls report, on its own goroutine, for each group that leaks: once,
// and again when it has doubled. It returns nil when ctx has ended, and an
// error at once if c cannot work.
//
// A group leaks if its old members never end while new ones grow old, and the
// growth neither slows down nor falls back nor follows the load. That takes
// 10 windows where goroutines are blocked in a way that nobody is for long on
// purpose (a send, a mutex, a WaitGroup), 24 where they wait for input, time
// or work, as pools, ramps and long polls do, 16 of these under a load that is
// known and steady, and 21 collections for heap. What is one piece of memory and
// doubles whenever it is full, such as a bytes.Buffer that is only written to,
// cannot be told from a buffer that grows to its size, and is not found.
//
// A suspect is withdrawn when a third of it has gone; when a quarter of those
// that were old have ended, which shows in the windows that tell one from
// another; when it has not grown, under a load that is known and no less than it
// was, for 8 windows of which old ones ended in some, or else for as long as a
// leak of its pace takes for 24 steps, at least 24 windows and at most 48; and when
// it has not grown for 48 windows, whatever the load. Sessions that begin with the
// process and last for longer than that are suspects until some have ended.
//
// Descriptors are judged in the same way: files by directory, connections by
// peer, pipes and the like by kind. Connections that the peer has closed or
// reset, and we have not, take 10 windows; those over which nothing went since
// newer ones to the same peer were made, as no pool has them, 24, or 16 as above;
// others 36, because pools grow slowly, and 72 while they are in use.
// Listeners, mapped files, and accepted connections whose peer is there are not
// judged. Systems other than Linux do not tell, and the [Look] says so.
//
// Each window counts goroutines by stack, which stops the program for an
// instant. To tell one from another Watch has to stop it for about 10 µs a
// goroutine: it measures that, does so only as far as [Config.MaxPause]
// allows, and judges by counts alone otherwise, which takes longer. Where
// even counting takes more than about 0.1 % of a processor, windows become
// longer. The [Look] says so.
//
// Watch never forces a garbage collection. It asks the runtime for proof,
// which may end the process, only if [Config.Proof] says so. A process may
// have any number of Watches, each with its own readings. A nil report is
// told nothing.
func Watch(ctx context.Context, c Config, report func(Suspect)) error {
	if err := c.validate(); err != nil {
		return fmt.Errorf("leakcheck: %w", err)
	}
	w := newWatcher(c, report, time.Now())
	timer := time.NewTimer(w.config.Interval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			timer.Reset(w.window(time.Now()))
		}
	}
}

// probeEvery is how many windows lie between two costly readings, unless
// each window can afford one.
const probeEvery = 3

type watcher struct {
	config  Config
	report  func(Suspect)
	windows int
	budget  *budget
	counter counter
	heap    heapReader

	goroutines, heapSites detector
	sources               []detector

	used func() time.Duration // CPU time of this thread
	cost time.Duration        // of the last look
	// probed is the window in which the goroutines were last told apart,
	// proved the one in which the runtime was last asked for proof.
	probed, proved int
	before         process
	// suspects are the present ones, by kind and key.
	suspects map[string]*present
}

// A process is what the process had done by some time.
type process struct {
	at                  time.Time
	requests            uint64
	created, goroutines float64
	cycles              uint64
}

func newWatcher(c Config, report func(Suspect), now time.Time) *watcher {
	c = c.withDefaults()
	if !c.NoDescriptors {
		c.Sources = append(newOpenFiles(c.ignoresPath).sources(), c.Sources...)
	}
	return &watcher{
		config:    c,
		used:      threadTime,
		report:    report,
		budget:    newBudget(c.MaxPause, now),
		heapSites: detector{heap: true},
		sources:   make([]detector, len(c.Sources)),
		suspects:  map[string]*present{},
		before:    process{at: now, created: math.NaN()},
	}
}

// window takes the readings that it may, and returns when to take the next.
func (w *watcher) window(at time.Time) time.Duration {
	runtime.LockOSThread() // or there would be no telling what it used
	defer runtime.UnlockOSThread()
	used := w.used()
	w.windows++
	look := Look{At: at, Windows: w.windows}
	unknown := func(format string, args ...any) {
		look.Unknown = append(look.Unknown, fmt.Errorf("leakcheck: "+format, args...))
	}
	r := w.meanwhile(at)

	w.goroutineReading(&r, &look, unknown)
	w.proof(&r, unknown)
	w.judge("goroutine", &w.goroutines, r)
	if n := w.goroutines.omitted; n > 0 {
		unknown("%d groups of goroutines are not watched: there are more than %d", n, maxSites)
	}

	if !w.config.NoHeap {
		w.heapReading(r, unknown)
	}
	for i, s := range w.config.Sources {
		open, err := s.Open()
		if err != nil {
			unknown("what is open of kind %s: %w", s.Kind, err)
			continue
		}
		r.groups, r.each = memberGroups(s.Kind, open), true
		w.judge(s.Kind, &w.sources[i], r)
		if n := w.sources[i].omitted; n > 0 {
			unknown("%d groups of kind %s are not watched: there are more than %d", n, s.Kind, maxSites)
		}
	}

	for _, p := range w.suspects {
		look.Suspects = append(look.Suspects, p.Suspect)
	}
	slices.SortFunc(look.Suspects, func(a, b Suspect) int {
		switch {
		case a.Confidence != b.Confidence:
			return int(math.Copysign(1, b.Confidence-a.Confidence))
		case a.Count != b.Count:
			return b.Count - a.Count
		}
		return strings.Compare(a.String(), b.String())
	})
	look.Cost = w.used() - used
	// The first look at a stack costs more than those that follow; a program that
	// has become too large to look at is so in the next look, too.
	cost := min(look.Cost, w.cost)
	w.cost = look.Cost
	look.Next = stretch(w.config.Interval, cost)
	if look.Next > w.config.Interval {
		unknown("looking took %v, so the next window takes %v instead of %v", cost.Round(time.Millisecond), look.Next.Round(time.Second), w.config.Interval)
	}
	if w.config.Looked != nil {
		w.config.Looked(look)
	}
	return look.Next
}

// meanwhile returns what the program did since the last window.
func (w *watcher) meanwhile(at time.Time) reading {
	samples := []metrics.Sample{
		{Name: "/sched/goroutines-created:goroutines"},
		{Name: "/gc/heap/live:bytes"},
		{Name: "/gc/cycles/total:gc-cycles"},
	}
	metrics.Read(samples)
	value := func(i int) float64 {
		if samples[i].Value.Kind() != metrics.KindUint64 {
			return math.NaN()
		}
		return float64(samples[i].Value.Uint64())
	}
	now := process{at: at, created: value(0), goroutines: float64(runtime.NumGoroutine())}
	if samples[2].Value.Kind() == metrics.KindUint64 {
		now.cycles = samples[2].Value.Uint64()
	}
	r := reading{at: at, rate: math.NaN(), inFlight: math.NaN(), live: value(1)}
	r.ended = now.created - w.before.created - (now.goroutines - w.before.goroutines)
	if w.config.Load != nil {
		inFlight, requests := w.config.Load()
		now.requests = requests
		if elapsed := at.Sub(w.before.at).Seconds(); w.windows > 1 && elapsed > 0 && requests >= w.before.requests {
			r.rate = float64(requests-w.before.requests) / elapsed
		}
		r.inFlight = float64(inFlight)
	}
	for _, p := range w.suspects {
		r.abandoned = r.abandoned || p.Kind == "close_wait" && strings.HasPrefix(p.Group, "accepted ")
	}
	r.collected = now.cycles != w.before.cycles
	w.before = now
	return r
}

// goroutineReading counts the goroutines, or tells them one from another if
// that may be and is worth it.
func (w *watcher) goroutineReading(r *reading, look *Look, unknown func(string, ...any)) {
	n := runtime.NumGoroutine()
	w.budget.earn(r.at)
	switch {
	case w.budget.pause(n) > w.budget.limit:
		unknown("goroutines are counted, not told one from another: reading %d of them one by one would stop the program for about %v, more than Config.MaxPause %v",
			n, w.budget.pause(n).Round(time.Millisecond), w.budget.limit)
	case w.worthProbing(n):
		begin := time.Now()
		text, truncated := tracebackText()
		took := time.Since(begin)
		w.budget.spend(took, n)
		look.Pause = took
		w.probed = w.windows
		gs, err := parseTraceback(text)
		if truncated {
			err = errTruncated
		}
		if err != nil {
			// Members may be missing, which must not look as if they had ended.
			unknown("reading the goroutines' stacks: %w", err)
			break
		}
		var watched []*goroutine
		for i := range gs {
			if g := &gs[i]; !w.mayGrow(g) && !runs(g, readFunc) {
				watched = append(watched, g)
			}
		}
		r.groups, r.each = goroutineGroups(watched), true
		return
	}
	r.groups, r.each = w.counter.read(w.mayGrow), false
}

// worthProbing reports whether to spend a pause now: always when each window
// can afford one; else when there is a use for it, or it would be lost.
func (w *watcher) worthProbing(goroutines int) bool {
	pause := w.budget.pause(goroutines)
	if pause > w.budget.left {
		return false
	}
	perWindow := time.Duration(float64(w.budget.limit) * float64(w.config.Interval) / float64(pauseEvery))
	switch {
	case pause <= perWindow, w.windows == 1:
		return true
	case w.windows-w.probed < probeEvery:
		return false
	}
	return w.budget.left >= w.budget.limit || w.goroutines.growing()
}

// mayGrow reports whether there may be ever more like g.
func (w *watcher) mayGrow(g *goroutine) bool {
	return knownInProduction(g) != "" || w.config.ignores(g)
}

func (w *watcher) heapReading(r reading, unknown func(string, ...any)) {
	if !r.collected {
		return // the profile is still that of the last window
	}
	groups, err := w.heap.read(func(frames []frame) bool {
		return w.config.ignores(&goroutine{frames: frames})
	})
	if err != nil {
		unknown("heap sites: %w", err)
		return
	}
	r.groups, r.each = groups, false
	w.judge("heap", &w.heapSites, r)
	if n := w.heapSites.omitted; n > 0 {
		unknown("%d heap sites are not watched: there are more than %d", n, maxSites)
	}
}

// judge lets d judge, keeps the present suspects of the kind, and reports
// those that are new or have doubled.
func (w *watcher) judge(kind string, d *detector, r reading) {
	found := map[string]bool{}
	for _, f := range d.observe(r) {
		if f.site.about == nil {
			continue
		}
		size := f.site.size[len(f.site.size)-1]
		key := kind + "\n" + f.key
		p := w.suspects[key]
		if p == nil {
			p = &present{grew: w.windows, top: size}
			w.suspects[key] = p
		}
		found[key] = true
		s := f.site.about(f.site.oldest)
		s.Since, s.Confidence, s.Basis = f.site.first, f.confidence, f.basis
		s.Next = next(s)
		s.PerHour = f.slope * hourly(r.at.Sub(s.Since), d.window-f.site.since)
		if s.Creator == (Frame{}) {
			s.Creator = f.site.creator
		}
		p.Suspect = s
		p.measure(f.site)
		p.remember(d, f)
		if (p.reported == 0 || size >= 2*p.reported) && w.report != nil {
			p.reported = size
			w.report(p.Suspect)
		}
	}
	for key, p := range w.suspects {
		siteKey, ok := strings.CutPrefix(key, kind+"\n")
		if !ok || p.Kind != kind {
			continue
		}
		s := d.sites[siteKey]
		if s == nil {
			delete(w.suspects, key)
			continue
		}
		size := p.measure(s)
		if size > p.top {
			p.top, p.grew = size, w.windows
		}
		if !found[key] {
			p.update(d, s, hourly(r.at.Sub(p.Since), d.window-s.since))
		}
		// Cleared: a third has gone after all, or it has long stopped.
		if size < p.top*2/3 || w.windows-p.grew > forgetAfter || !found[key] && p.refuted(d, s) {
			delete(w.suspects, key)
		}
	}
}

// hourly returns how many windows an hour has, by the mean of those so far.
func hourly(elapsed time.Duration, windows int) float64 {
	if elapsed <= 0 || windows < 2 {
		return 0
	}
	return float64(windows-1) / elapsed.Hours()
}

// next returns the command to type next, for a program whose admin address is
// the usual one.
func next(s Suspect) string {
	const admin = "http://localhost:9464/debug/pprof/"
	fn := regexp.QuoteMeta(s.Site.Function)
	switch s.Kind {
	case "goroutine":
		return "curl -s '" + admin + "goroutine?debug=2' | grep -F -B3 -A8 '" + s.Site.Function + "('"
	case "heap":
		return "go tool pprof -sample_index=inuse_space -peek '^" + fn + "$' " + admin + "heap"
	}
	return "ls -l /proc/$(pidof NAME)/fd"
}

func stackText(frames []frame) string {
	var b strings.Builder
	for _, f := range frames {
		fmt.Fprintf(&b, "%s\n\t%s\n", plainName(f.fn), f.position())
	}
	return b.String()
}

// growing reports whether there is a group that may turn out to leak, so that
// it is worth knowing its members.
func (d *detector) growing() bool {
	for s := range maps.Values(d.sites) {
		if n := len(s.low); !s.wide && n > oldAge && s.low[n-1] >= 3 {
			row := s.low[max(n-8, 0):]
			if s.low[n-1] > row[0] && falls(row) == 0 {
				return true
			}
		}
	}
	return false
}
