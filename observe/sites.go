package observe

import (
	"bytes"
	"cmp"
	"context"
	"math"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/pprof/profile"

	"github.com/loadline-go/loadline/internal/timeline"
	"github.com/loadline-go/loadline/observe/doctor"
)

const (
	// A mean of ten samples tells one goroutine in ten from none, and a second is
	// long enough for what takes a tenth of it to be seen.
	stackSamples = 10
	// Beyond these numbers of goroutines there are fewer samples, and none: a
	// sample takes some microseconds of each.
	manyStacks    = 10_000
	tooManyStacks = 200_000
	// A second of a busy core is a hundred samples of it.
	cpuSitesFor = 2 * time.Second
	// One contention in ten, while sites are looked for.
	denseMutexes = 10
	// What grew in this time is told from what was there before.
	heldFor = 5 * time.Minute
	// An execution trace is taken for so long, and of so much at most; it makes a
	// service about a tenth slower meanwhile, and each request that ends tells.
	tracedFor   = 500 * time.Millisecond
	tracedBytes = 16 << 20
	// maxSites bounds the sites of a kind; the rest is less than what is told.
	maxSites = 20
)

// sites finds the places in the program that a diagnosis asks for.
type sites struct {
	t *Telemetry

	mu   sync.Mutex
	held map[string]weighed // bytes in use by function, when they were first looked at
	at   time.Time
}

// take takes the profiles that are wanted, within a time, a quarter of the
// interval, and returns what they show, the heaviest sites of each kind first.
func (s *sites) take(ctx context.Context, wants []doctor.SiteKind, within time.Duration) []doctor.Site {
	interval := 4 * within // it is asked for so often at most
	within = min(within, cpuSitesFor)
	var found siteSums
	cpu := make(chan *profile.Profile, 1)
	cpuWanted := slices.Contains(wants, doctor.OnCPU) && s.t.profiler.every > 0
	if cpuWanted {
		go func() { cpu <- s.cpu(ctx, within) }()
	}
	allocs := slices.Contains(wants, doctor.Allocates)
	var before map[string]weighed
	if allocs {
		before = s.memory("alloc_space")
	}
	began := time.Now()
	if slices.Contains(wants, doctor.Lock) { // and with it all that stacks show
		s.stacks(ctx, min(within, time.Second), interval, &found)
	}
	if slices.Contains(wants, doctor.Stays) {
		s.staying(&found)
	}
	if slices.Contains(wants, doctor.Holds) {
		s.holding(&found)
	}
	if slices.Contains(wants, doctor.Paced) && s.t.profiler.every > 0 && s.t.config.Captures.ArmedShare >= 0 {
		s.paced(ctx, min(within, tracedFor), &found)
	}
	if allocs {
		select {
		case <-time.After(within - time.Since(began)):
		case <-ctx.Done():
		}
		if took := time.Since(began).Seconds(); took > 0 {
			for name, now := range s.memory("alloc_space") {
				if grown := now.weight - before[name].weight; grown > 0 {
					found.add(doctor.Allocates, now.frame, "", grown/took, "")
				}
			}
		}
	}
	if cpuWanted {
		if p := <-cpu; p != nil {
			cpuSites(p, &found)
		}
	}
	return found.heaviest()
}

// cpu returns a CPU profile, of this moment or, while somebody else profiles,
// the last one of ours if that is not old. It is nil when there is none.
func (s *sites) cpu(ctx context.Context, d time.Duration) *profile.Profile {
	p := s.t.profiler
	turn, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var data []byte
	if len(p.turn) == 0 { // or somebody has his turn, and a profile of ours will come of it
		if taken, err := p.take(ctx, d); err == nil {
			data = taken.bytes
		}
	} else {
		<-turn.Done()
	}
	if data == nil {
		p.mu.Lock()
		if time.Since(p.last.Time) < time.Minute {
			data = p.last.data
		}
		p.mu.Unlock()
	}
	var read *profile.Profile
	cost := 2 * threadCost(func() { read, _ = profile.ParseData(data) })
	p.costs.add("cpu", cost)
	return read
}

// staying counts the goroutines of no request or job, by where they are.
func (s *sites) staying(found *siteSums) {
	if runtime.NumGoroutine() > tooManyStacks {
		return
	}
	cost := threadCost(func() {
		for _, sample := range readProfile("goroutine").Sample {
			frames := framesOf(sample)
			if at := ownFrame(frames); at >= 0 && len(sample.Value) > 0 && !has(frames, servingFrames...) {
				found.add(doctor.Stays, frames[at], "", float64(sample.Value[0]), "")
			}
		}
	})
	s.t.profiler.costs.add("goroutine", cost)
}

// paced finds which waits of requests and jobs for channels are ended by timers: a
// stack does not tell, but the runtime's execution trace says who woke whom.
func (s *sites) paced(ctx context.Context, within time.Duration, found *siteSums) {
	if runtime.NumGoroutine() > manyStacks { // each begins the trace with its stack
		return
	}
	recording := &atMost{left: tracedBytes}
	if trace.Start(recording) != nil { // somebody else traces
		return
	}
	end := time.NewTimer(within)
	select {
	case <-end.C:
	case <-ctx.Done():
	}
	end.Stop()
	trace.Stop()
	type ends struct {
		at          frame
		timers, all float64
	}
	waits := map[string]*ends{}
	cost := threadCost(func() {
		places := map[*timeline.Frame]*ends{}                                // nil: of no request, or no wait for a channel
		timeline.Wakes(&recording.data, func(blocked, by []timeline.Frame) { // what could be read counts
			if len(blocked) == 0 {
				return
			}
			wait, known := places[&blocked[0]]
			if !known {
				frames := make([]frame, len(blocked))
				for i, f := range blocked {
					frames[i] = frame{f.Func, f.File, f.Line}
				}
				kind, own, ok := waitOfStack(append([]frame{{function: "runtime.gopark"}}, frames...))
				if own--; ok && kind == doctor.Channel && own >= 0 && has(frames, servingFrames...) {
					if wait = waits[frames[own].name()]; wait == nil {
						wait = &ends{at: frames[own]}
						waits[frames[own].name()] = wait
					}
				}
				places[&blocked[0]] = wait
			}
			if wait != nil {
				wait.all++
				if by == nil || byTimer(by) {
					wait.timers++
				}
			}
		})
	})
	s.t.profiler.costs.add("trace", cost)
	for _, w := range waits {
		if w.timers > 0 {
			found.add(doctor.Paced, w.at, "", w.timers/w.all, "")
		}
	}
}

// byTimer reports whether a goroutine that ended a wait is that of a context's deadline.
func byTimer(by []timeline.Frame) bool {
	return slices.ContainsFunc(by, func(f timeline.Frame) bool { return strings.HasPrefix(f.Func, "context.WithDeadlineCause.func") })
}

// atMost keeps the first bytes that are written to it.
type atMost struct {
	data bytes.Buffer
	left int
}

func (a *atMost) Write(b []byte) (int, error) {
	n := min(len(b), a.left)
	a.left -= n
	a.data.Write(b[:n])
	return len(b), nil
}

// stacks samples what goroutines wait for.
func (s *sites) stacks(ctx context.Context, within, interval time.Duration, found *siteSums) {
	n := stackSamples
	switch all := runtime.NumGoroutine(); {
	case all > tooManyStacks:
		return
	case all > manyStacks:
		n = 3
	}
	before := s.unlocked()
	if s.t.profiler.every > 0 && runtime.SetMutexProfileFraction(-1) == mutexFraction { // for a second, as much as a guess needs
		runtime.SetMutexProfileFraction(denseMutexes)
		defer runtime.SetMutexProfileFraction(mutexFraction)
	}
	var samples []*profile.Profile
	tick := time.NewTicker(within / time.Duration(n))
	defer tick.Stop()
	for range n {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		var read *profile.Profile
		cost := threadCost(func() { read = readProfile("goroutine") })
		// While something is wrong, what others than the CPU profile leave of the budget is spent on it.
		interval -= time.Duration(float64(s.t.profiler.costs.add("goroutine", cost)) * otherPart / (1 - cpuPart))
		samples = append(samples, read)
		if interval <= 0 { // it has cost what it may until the next time
			break
		}
	}
	unlockers, holder := s.holders(before)
	sums := siteSums{}
	for _, sample := range samples {
		stackSites(sample, unlockers, &sums)
	}
	for key, one := range sums.all {
		detail := one.detail
		if key.kind == doctor.Lock && holder != "" {
			detail = "held by " + holder
		}
		found.add(key.kind, one.frame, key.route, one.weight/float64(len(samples)), detail)
	}
}

// weighed is a weight at a frame.
type weighed struct {
	frame  frame
	weight float64
}

// holding finds whose memory grew since the first look, or since the one that was
// taken when that was heldFor ago.
func (s *sites) holding(found *siteSums) {
	now := s.memory("inuse_space")
	s.mu.Lock()
	defer s.mu.Unlock()
	age := time.Since(s.at)
	if s.held != nil && age < 2*heldFor {
		for name, one := range now {
			if grown := one.weight - s.held[name].weight; grown > 0 {
				found.add(doctor.Holds, one.frame, "", grown/age.Seconds(), "")
			}
		}
	}
	if s.held == nil || age >= heldFor {
		s.held, s.at = now, time.Now()
	}
}

// memory returns the bytes of a kind in the memory profile, by the program's own
// functions, up to the last but one collection.
func (s *sites) memory(kind string) (sums map[string]weighed) {
	cost := threadCost(func() { sums = byFunction(readProfile("allocs"), kind) })
	s.t.profiler.costs.add("heap", cost)
	return sums
}

// unlocked returns how much contention each function made by what it unlocked.
func (s *sites) unlocked() map[string]weighed {
	if s.t.profiler.every < 0 {
		return nil
	}
	return byFunction(readProfile("mutex"), "delay")
}

// readProfile takes a profile of this moment, an empty one where that fails.
func readProfile(name string) *profile.Profile {
	var b bytes.Buffer
	if pprof.Lookup(name).WriteTo(&b, 0) == nil {
		if read, err := profile.ParseData(b.Bytes()); err == nil {
			return read
		}
	}
	return &profile.Profile{}
}

// byFunction adds up a value of a profile by the program's own functions.
func byFunction(p *profile.Profile, kind string) map[string]weighed {
	sums := map[string]weighed{}
	value := valueOf(p, kind)
	for _, sample := range p.Sample {
		frames := framesOf(sample)
		if at := ownFrame(frames); at >= 0 && value >= 0 {
			one := sums[frames[at].name()]
			sums[frames[at].name()] = weighed{frames[at], one.weight + float64(sample.Value[value])}
		}
	}
	return sums
}

// holders returns the functions that unlocked what others had waited for since
// before, and the one that most of the waiting was for, "" when none stands out.
func (s *sites) holders(before map[string]weighed) (all map[string]frame, most string) {
	all = map[string]frame{}
	sum, largest := 0.0, 0.0
	for name, now := range s.unlocked() {
		grown := now.weight - before[name].weight
		if grown <= 0 {
			continue
		}
		all[name] = now.frame
		sum += grown
		if grown > largest {
			largest, most = grown, now.frame.String()
		}
	}
	if largest < sum/2 {
		most = ""
	}
	return all, most
}

func valueOf(p *profile.Profile, kind string) int {
	return slices.IndexFunc(p.SampleType, func(t *profile.ValueType) bool { return t.Type == kind })
}

// siteSums are sites on their way.
type siteSums struct{ all map[siteKey]*siteSum }

type siteKey struct {
	kind     doctor.SiteKind
	function string
	route    string
}

type siteSum struct {
	frame  frame
	weight float64
	detail string
}

func (s *siteSums) add(kind doctor.SiteKind, at frame, route string, weight float64, detail string) {
	if s.all == nil {
		s.all = map[siteKey]*siteSum{}
	}
	key := siteKey{kind, at.name(), route}
	one := s.all[key]
	if one == nil {
		one = &siteSum{frame: at}
		s.all[key] = one
	}
	one.weight += weight
	one.detail = cmp.Or(one.detail, detail)
}

// heaviest returns the heaviest sites of each kind.
func (s *siteSums) heaviest() (out []doctor.Site) {
	for key, one := range s.all {
		if one.weight > 0 && !math.IsInf(one.weight, 0) {
			out = append(out, doctor.Site{Kind: key.kind, Function: clip(one.frame.String(), 200), Route: key.route, Weight: one.weight, Detail: clip(one.detail, 200)})
		}
	}
	slices.SortFunc(out, func(a, b doctor.Site) int {
		return cmp.Or(strings.Compare(string(a.Kind), string(b.Kind)), cmp.Compare(b.Weight, a.Weight), strings.Compare(a.Function+a.Route, b.Function+b.Route))
	})
	n := map[doctor.SiteKind]int{}
	return slices.DeleteFunc(out, func(s doctor.Site) bool { n[s.Kind]++; return n[s.Kind] > maxSites })
}
