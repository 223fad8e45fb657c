package leakcheck

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

const (
	// oldAge is after how many windows a member counts as old. Requests and
	// jobs that are under way at a reading are mostly gone by then.
	oldAge = 2
	// stuckWindows and idleWindows are how many readings it takes to judge a
	// group: fewer where nobody waits long on purpose.
	stuckWindows = 10
	idleWindows  = 24
	// steadyWindows is how many are enough for those that wait for time or
	// work while the load is known and stays as it is: pools have grown to
	// its size by then. Who waits for the network may wait for clients.
	steadyWindows = 16
	// heapWindows is how many it takes for a site of which next to nothing is
	// ever freed; twice as many where memory comes and goes.
	heapWindows = 21
	// maxWindows is how far back a site remembers. A leak of one goroutine in
	// ten windows shows within it.
	maxWindows = 4 * idleWindows
	// maxSites bounds what a program with ever new stacks can make the
	// detector remember. Younger ones are not looked at, which is told.
	maxSites = 2000
	// maxDeaths is the share of the old members up to which they may end. In a
	// leak they never do; in a ramp with turnover they do all the time.
	maxDeaths = 0.10
	// minSteps is in how many windows a leak must have grown, and stepShare in
	// which share of them: an autoscaler grows in a few leaps.
	minSteps  = 5
	stepShare = 0.125
	// minKept is the share of what a heap site allocates that a leak keeps,
	// if half the windows are to be enough. What comes and goes keeps half of
	// it while it rises. Below a third of this share it takes twice as many
	// again, unless the load is known not to rise.
	minKept = 0.75
	// minBytes and minShare are how much a heap site must have grown by:
	// absolutely, and of the live heap. Less is noise of the samples, and no
	// reason to wake anybody.
	minBytes = 1 << 20
	minShare = 0.05
)

// A tally is one group at one reading.
type tally struct {
	size  float64  // members, or bytes
	ids   []uint64 // of each member, when the reading tells one from another
	stuck int      // members that wait as nobody does for long on purpose
	// Of heap sites: members, bytes that were ever allocated, and how many
	// samples in use the estimates come from.
	count, made, samples float64
	// many says that it takes longer to judge.
	many bool
	// handling is how many members have a request in hand, remote how many
	// wait for the network.
	handling, remote int
	// unused is how many members lie idle while newer ones were made, busy how
	// many of those that are not new were used lately.
	unused, busy int
	// proofs is 1 if the runtime was asked for proof, proven how many members
	// it proved to be leaked.
	proofs, proven int
	// wide groups have members of several stacks, each of which is a group
	// too; they tell leaks that wander from stack to stack.
	wide bool
	// about is what a Suspect would say of the group, by the member id; 0 is
	// any.
	about func(id uint64) Suspect
}

// A reading is what one kind has at the end of one window.
type reading struct {
	at     time.Time
	groups map[string]*tally
	// each says that every member is told from another.
	each bool
	// What the program did meanwhile. NaN is unknown.
	rate     float64 // requests a second
	inFlight float64 // requests under way
	ended    float64 // goroutines of the whole process that ended in this window
	live     float64 // bytes of heap that the last collection found in use
	// abandoned says that clients hang up and are not noticed: requests in
	// hand are then as stuck as a send that nobody receives.
	abandoned bool
	// collected says that there was a garbage collection.
	collected bool
}

// A detector judges by a row of readings which groups of one kind leak: in a
// leaking group the old members never end while new ones grow old.
type detector struct {
	heap   bool
	window int
	sites  map[string]*site
	// omitted is how many groups the last reading had beyond maxSites.
	omitted int
	// Rows by window, as those of sites.
	rate, inFlight, ended, live []float64
}

// A site is a group over the windows: goroutines with one stack of functions,
// descriptors that were opened in one place.
type site struct {
	first time.Time // when the site was first seen
	since int       // the window in which the site was first seen
	last  int       // the window in which it had members last
	now   int       // the window of the last reading
	wide  bool
	born  map[uint64]member
	// Rows, one value a window. old, grown, ended and deaths are of members
	// told one from another; old is NaN in windows that did not.
	size, low, made []float64
	samples         []float64
	old             []float64
	// grown and ended are, by the window of their birth, how many members
	// became old and how many of those have ended.
	grown, ended []float64
	deaths       []float64 // how many old members ended, by the window they ended in
	many, remote bool      // as in tally
	stuck        bool      // most members were in a stuck state at the last reading
	unused, busy bool      // most old members were unused, busy, at the last reading
	count        float64
	proofs       int // how often in a row the runtime proved ever more to be leaked
	proven       int
	oldest       uint64 // member at the last reading
	creator      Frame  // of the oldest when they were last told apart
	about        func(id uint64) Suspect
}

type member struct {
	born int // the window in which it was first seen
	aged int // the window in which it was first seen to be old, 0 for not yet
}

// A finding is a site that leaks.
type finding struct {
	key        string
	site       *site
	slope      float64 // members, or bytes, per window
	windows    int     // over which it was judged
	confidence float64
	basis      string
}

// observe takes the reading of one window and returns the sites that leak.
func (d *detector) observe(r reading) []finding {
	if d.sites == nil {
		d.sites = map[string]*site{}
	}
	now := d.window
	d.window++
	keep(&d.rate, r.rate)
	keep(&d.inFlight, r.inFlight)
	keep(&d.ended, r.ended)
	keep(&d.live, r.live)
	d.omitted = 0
	for key := range r.groups {
		if d.sites[key] != nil {
			continue
		}
		if len(d.sites) >= maxSites {
			d.omitted++
			continue
		}
		d.sites[key] = &site{born: map[uint64]member{}, since: now, first: r.at}
	}
	var found []finding
	for _, key := range slices.Sorted(maps.Keys(d.sites)) {
		s := d.sites[key]
		t := r.groups[key]
		s.update(now, t, r.each)
		s.prove(t)
		s.stuck = s.stuck || s.isProven() || t != nil && r.abandoned && 2*float64(t.handling) > t.size
		if now-s.last > oldAge {
			delete(d.sites, key) // none is left; a new one starts afresh
			continue
		}
		if f, ok := d.judge(s); ok {
			f.key = key
			found = append(found, f)
		}
	}
	return withoutWide(found)
}

// withoutWide removes the wide groups if any other has leaked: they hold its
// members too.
func withoutWide(found []finding) []finding {
	if !slices.ContainsFunc(found, func(f finding) bool { return !f.site.wide }) {
		return found
	}
	return slices.DeleteFunc(found, func(f finding) bool { return f.site.wide })
}

// keep appends v to a row and forgets what is too long ago.
func keep(row *[]float64, v float64) {
	*row = append(*row, v)
	if n := len(*row) - maxWindows; n > 0 {
		*row = (*row)[n:]
	}
}

func (s *site) update(now int, t *tally, each bool) {
	switch {
	case t != nil:
		s.last = now
	case s.wide && !each:
		// Only readings that tell members apart have wide groups.
		t, s.last = &tally{wide: true, about: s.about, size: s.size[len(s.size)-1]}, now
	default:
		t = &tally{wide: s.wide, about: s.about}
	}
	s.now = now
	s.wide, s.about, s.count, s.oldest = t.wide, t.about, t.count, 0
	s.stuck = t.size > 0 && 2*float64(t.stuck) > t.size
	// The young have had no time to be unused.
	s.unused = len(s.low) > 0 && 2*float64(t.unused) > s.low[len(s.low)-1] && 4*float64(t.unused) > t.size
	s.busy = len(s.low) > 0 && 2*float64(t.busy) > s.low[len(s.low)-1]
	keep(&s.size, t.size)
	keep(&s.made, t.made)
	keep(&s.samples, t.samples)
	s.many, s.remote = t.many, 2*float64(t.remote) > t.size
	low := t.size
	for _, v := range s.size[max(len(s.size)-1-oldAge, 0):] {
		low = min(low, v)
	}
	if now-s.since < oldAge {
		low = 0 // nobody can be old yet
	}
	keep(&s.low, low)
	old, deaths := math.NaN(), 0.0
	keep(&s.grown, 0)
	keep(&s.ended, 0)
	if each {
		if old, deaths = s.follow(now, t.ids); old >= 3 {
			s.creator = t.about(s.oldest).Creator
		}
	}
	keep(&s.old, old)
	keep(&s.deaths, deaths)
}

// follow takes the members of one reading.
func (s *site) follow(now int, ids []uint64) (old, deaths float64) {
	alive := make(map[uint64]bool, len(ids))
	for _, id := range ids {
		alive[id] = true
		if _, ok := s.born[id]; !ok {
			s.born[id] = member{born: now}
		}
		if born, ok := s.born[s.oldest]; !ok || s.born[id].born < born.born {
			s.oldest = id
		}
	}
	first := now + 1 - len(s.grown) // the window that the rows begin with
	for id, m := range s.born {
		switch {
		case !alive[id]:
			delete(s.born, id)
			if m.aged > 0 {
				deaths++
				if m.born >= first {
					s.ended[m.born-first]++
				}
			}
			continue
		case m.aged == 0 && now-m.born >= oldAge:
			m.aged = now
			s.born[id] = m
			if m.born >= first {
				s.grown[m.born-first]++
			}
		}
		if m.aged > 0 {
			old++
		}
	}
	return old, deaths
}

// judge judges the site by its last windows, and by more of them if those do
// not tell: a slow leak needs longer to show.
func (d *detector) judge(s *site) (finding, bool) {
	need := idleWindows
	switch {
	case d.heap:
		need = heapWindows
	case s.stuck:
		need = stuckWindows
	case s.busy:
		need = idleWindows * 3 // whatever it is, nobody has forgotten it
	case s.many && !s.unused:
		need = idleWindows * 3 / 2
	}
	if !d.heap && !s.stuck && (s.unused || !s.many && !s.remote) && len(s.size) >= steadyWindows && d.loadIsSteady(steadyWindows) {
		if f, ok := d.judgeLast(s, steadyWindows, need); ok {
			return f, true
		}
	}
	for n := need; n <= len(s.size); n *= 2 {
		if f, ok := d.judgeLast(s, n, need); ok {
			return f, true
		}
	}
	return finding{}, false
}

func (d *detector) judgeLast(s *site, n, need int) (finding, bool) {
	f := finding{site: s, windows: n}
	if d.heap {
		return f, d.judgeHeap(&f, n)
	}
	row, how := d.floor(s, n, need)
	if row == nil || steps(row) < max(minSteps, int(stepShare*float64(n))) {
		return f, false // and most sites never cost more than this
	}
	// Five, or a tenth of what there was: less is noise.
	t, ok := rising(row, max(5, 0.1*row[0]), maxFall)
	if !ok {
		return f, false
	}
	switch how {
	case seenNever:
		// Where some ended, more may have that nobody saw.
		ok = falls(last(s.size, n)) <= 0.05*t.growth || !s.stuck && d.loadRests(n)
	case seenSome:
		ok = s.lasting(n, t.growth) && s.stayed(n, t.growth)
	default:
		ok = s.lasting(n, t.growth)
	}
	if !ok {
		return f, false
	}
	load := d.load(n, row, how == seenNever)
	if (load.explains || d.fills(s)) && !s.stuck {
		return f, false
	}
	f.slope = t.slope
	switch {
	case how == seenEach && s.stuck:
		f.confidence = 0.97
	case how == seenEach, how == seenSome && s.stuck, how == seenStill:
		f.confidence = 0.9
	case how == seenSome:
		f.confidence = 0.85
	case s.stuck:
		f.confidence = 0.75
	default:
		f.confidence = 0.6
	}
	f.basis = fmt.Sprintf("grew by %.3g in %d windows, never fell back; %s; %s", t.growth, n, how, load)
	if s.isProven() {
		f.confidence = 1
		f.basis += "; " + s.provenText()
	}
	return f, true
}

// How the members of a group were seen.
type sight int

const (
	seenNever sight = iota // counted only
	seenStill              // counted only, and nothing in the process ended
	seenSome               // one by one in some windows
	seenEach               // one by one in nearly each window
)

func (s sight) String() string {
	return [...]string{
		"the members were counted, not told one from another",
		"the members were counted, and hardly any goroutine of the process ended",
		"the members were told one from another in some windows, and the old ones stayed",
		"the members were told one from another, and the old ones stayed",
	}[s]
}

// floor returns the row of how many members were old in the last n windows,
// or nil if too little is known to judge by n windows.
func (d *detector) floor(s *site, n, need int) ([]float64, sight) {
	old := last(s.old, n)
	known, first, latest := 0, -1, -1
	for i, v := range old {
		if !math.IsNaN(v) {
			if known++; first < 0 {
				first = i
			}
			latest = i
		}
	}
	if known >= n*3/4 {
		return filled(old), seenEach
	}
	if s.wide {
		return nil, seenNever // its counts are those of others
	}
	row := last(s.low, n)
	if known >= 2 && latest-first >= max(oldAge+1, n/4) && latest >= n/2 {
		return row, seenSome
	}
	ended := 0.0
	for _, v := range last(d.ended, n) {
		ended += v // NaN stays NaN, and is not less than anything
	}
	if ended <= maxDeaths*(row[n-1]-row[0]) {
		return row, seenStill
	}
	// Without more to go by than counts, wait longer: where members wait on
	// purpose, as long as a morning's ramp may take, unless the load is known
	// not to rise.
	switch {
	case s.stuck && n >= 2*need:
		return row, seenNever
	case !s.stuck && n >= 2*need && d.loadRests(n):
		return lowest(row, need/3), seenNever
	case n >= 4*need:
		return row, seenNever
	}
	return nil, seenNever
}

// lowest returns for each value the lowest of the last n.
func lowest(row []float64, n int) []float64 {
	low := make([]float64, len(row))
	for i := range row {
		low[i] = slices.Min(row[max(i-n+1, 0) : i+1])
	}
	return low
}

// stayed reports whether the members that were there, at a reading that told
// them apart, half way through the last n windows are there still: nearly all
// of them, or of those that were old then, if those are enough to tell and
// there are as many more by now as the growth demands.
func (s *site) stayed(n int, growth float64) bool {
	old, low, size := last(s.old, n), last(s.low, n), last(s.size, n)
	half, before, latest := -1, -1, -1
	for i, v := range old {
		if math.IsNaN(v) {
			continue
		}
		if i <= n*2/3 {
			half = i
		}
		before, latest = latest, i
	}
	if half < 0 || before < 0 || latest-half <= oldAge || old[latest] < 0.8*low[before] {
		return false
	}
	all, aged := 0.0, 0.0
	at := s.now - n + 1 + half // its window
	for _, m := range s.born {
		if m.born <= at {
			all++
		}
		if m.aged > 0 && m.aged <= at {
			aged++
		}
	}
	return size[half] > 0 && all >= (1-maxDeaths)*size[half] ||
		old[half] >= growth/4 && aged >= (1-maxDeaths)*old[half]
}

// judgeHeap judges a site of the heap. What is freed is known there, though
// not of which age.
func (d *detector) judgeHeap(f *finding, n int) bool {
	s := f.site
	row, made := last(s.size, n), last(s.made, n)
	if steps(row) < heapWindows/3 {
		return false
	}
	live := last(d.live, n)
	atLeast := max(minBytes, minShare*live[n-1])
	whole := live
	t, ok := rising(row, atLeast, maxBytesFall)
	if !ok && n >= 2*heapWindows && teethRise(row, maxBytesFall) {
		// What is freed in lots, such as a queue's array, makes teeth; then
		// each must begin higher than the last.
		row, whole = remaining(row), remaining(live)
		t, ok = rising(row, atLeast, maxBytesFall)
		ok = ok && steps(row) >= minSteps
	}
	if !ok || rarer(s.size) || leaps(row) {
		return false
	}
	kept := min(1, t.growth/max(made[n-1]-made[0], 1))
	if kept < minKept && n < 2*heapWindows || kept < minKept/3 && n < 4*heapWindows && !d.loadRests(n) {
		return false
	}
	// What comes and goes is in the samples by chance.
	samples := last(s.samples, n)
	if grown := t.growth / max(row[n-1], 1) * samples[n-1]; grown < 3*math.Sqrt(samples[n-1]*(1-kept)) {
		return false
	}
	// The heap as a whole is known exactly. Where most of its growth is this
	// site's, it must rise as a leak does; else the site must all the more.
	growth := median(whole[n-n/6:]) - median(whole[:n/6])
	switch {
	case growth < 0.3*t.growth:
		return false // others shrink in its place
	case math.IsNaN(growth) || t.growth < growth/2:
		ok = goesOn(row) && !slowed(s.size)
	default:
		all := d.live[max(len(d.live)-len(s.size), 0):]
		if _, ok = rising(whole, t.growth/2, maxFall); ok {
			ok = !rarer(all) && !slowed(all)
		} else {
			// Others make the whole restless. It must still have risen lately.
			lately := median(whole[n-n/6:]) - median(whole[n-n/3-n/6:n-n/3])
			ok = n >= 2*heapWindows && lately >= t.slope*float64(n/3)/2 && goesOn(row) && !slowed(s.size)
		}
	}
	if !ok {
		return false
	}
	load := d.load(n, row, kept < minKept)
	if load.explains {
		return false
	}
	f.slope, f.confidence = t.slope, 0.85
	if kept < minKept {
		f.confidence = 0.7
	}
	f.basis = fmt.Sprintf("grew by %s in %d collections, never fell back; %.0f %% of what was allocated stayed; the live heap is %s; %s",
		size(t.growth), n, 100*kept, size(live[n-1]), load)
	return true
}

// lasting reports whether old members last: few ended in the last n windows,
// measured by the growth, and few of those born in the first third of them,
// who have had the time to end, measured by their own number.
func (s *site) lasting(n int, growth float64) bool {
	var deaths, grown, ended float64
	for i := len(s.deaths) - n; i < len(s.deaths); i++ {
		deaths += s.deaths[i]
		if i < len(s.deaths)-n+n/3 {
			grown, ended = grown+s.grown[i], ended+s.ended[i]
		}
	}
	return deaths <= maxDeaths*growth && ended <= maxDeaths*grown
}

// fills reports whether the site has slowed down since it was first seen, as
// what fills up does, and not because the requests became fewer.
func (d *detector) fills(s *site) bool {
	if !slowed(s.size) {
		return false
	}
	rate := filled(last(d.rate, len(s.size)))
	half := len(rate) / 2
	return !(median(rate[half:]) < 0.8*median(rate[:half])) // so also when it is not known
}

// A load is how the load of the program went while a group grew.
type load struct {
	known    bool
	from, to float64 // requests a second
	explains bool
}

func (l load) String() string {
	if !l.known {
		return "the load is not known"
	}
	return fmt.Sprintf("requests went from %.3g to %.3g a second", l.from, l.to)
}

// load compares a row with the load of the last n windows. The load explains
// the growth if it rises as surely, and by as much: what is under way is in
// proportion to the load (Little's law), what leaks to all requests so far.
// Requests under way explain only what nobody saw stay, because stuck
// requests are under way too.
func (d *detector) load(n int, row []float64, byInFlight bool) load {
	var l load
	third := n / 3
	later := func(y []float64) float64 { return median(y[n-third:]) / max(median(y[third:n-third]), 1e-9) }
	judge := func(by []float64) {
		if slices.ContainsFunc(by, math.IsNaN) || median(by[n-third:]) <= 0 {
			return
		}
		if mannKendall(by) < maxChance && later(row) <= 1.15*later(by) {
			l.explains = true
		}
	}
	rate := filled(last(d.rate, n)) // of the first window there is none
	if !slices.ContainsFunc(rate, math.IsNaN) {
		l.known, l.from, l.to = true, median(rate[:third]), median(rate[n-third:])
	}
	judge(rate)
	if byInFlight {
		judge(last(d.inFlight, n))
	}
	return l
}

// loadRests reports whether the rate of requests is known and did not rise in
// the last n windows.
func (d *detector) loadRests(n int) bool { return rests(last(d.rate, n)) }

// loadIsSteady reports whether there was load in the last n windows, and
// neither the requests nor those under way became more.
func (d *detector) loadIsSteady(n int) bool {
	rate := last(d.rate, n)
	return median(rate) > 0 && rests(rate) && rests(last(d.inFlight, n))
}

func rests(row []float64) bool {
	for _, v := range row[1:] {
		if math.IsNaN(v) {
			return false
		}
	}
	return mannKendall(row[1:]) > 0.05 // of the first window there is no rate
}

// last returns the last n values of a row.
func last(row []float64, n int) []float64 { return row[len(row)-n:] }

// filled returns row with what is unknown taken from before, or else after.
func filled(row []float64) []float64 {
	row = slices.Clone(row)
	for i := 1; i < len(row); i++ {
		if math.IsNaN(row[i]) {
			row[i] = row[i-1]
		}
	}
	for i := len(row) - 2; i >= 0; i-- {
		if math.IsNaN(row[i]) {
			row[i] = row[i+1]
		}
	}
	return row
}

// remaining returns for each value how much of it was never freed after.
func remaining(row []float64) []float64 {
	row = slices.Clone(row)
	for i := len(row) - 2; i >= 0; i-- {
		row[i] = min(row[i], row[i+1])
	}
	return row
}

// steps returns in how many windows the row has risen.
func steps(row []float64) (n int) {
	for i := range row[1:] {
		if row[i+1] > row[i] {
			n++
		}
	}
	return n
}

// falls returns the sum of all steps down.
func falls(row []float64) (sum float64) {
	for i := range row[1:] {
		sum += max(row[i]-row[i+1], 0)
	}
	return sum
}
