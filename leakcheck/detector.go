package leakcheck

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// oldAge is after how many windows a goroutine counts as old. Requests
	// and jobs that are under way at a reading are mostly gone by then.
	oldAge = 2
	// stuckWindows and idleWindows are how many readings it takes to judge a
	// group: fewer where nobody waits long on purpose.
	stuckWindows = 10
	idleWindows  = 24
	// maxWindows is how far back a site remembers. A leak of one goroutine in
	// ten windows shows within it.
	maxWindows = 4 * idleWindows
	// maxSites bounds what a program with ever new stacks can make the
	// detector remember. Smaller and younger ones are not looked at.
	maxSites = 2000
	// maxDeaths is the share of the old members up to which they may end. In a
	// leak they never do; in a ramp with turnover they do all the time.
	maxDeaths = 0.10
	// minSteps is in how many windows a leak must have grown, and stepShare in
	// which share of them: an autoscaler grows in a few leaps.
	minSteps  = 5
	stepShare = 0.125
)

// stuck are the states in which a goroutine does not wait long on purpose, as
// it does for input, time or work.
var stuck = map[string]bool{
	"chan send": true, "chan send (nil chan)": true, "chan receive (nil chan)": true,
	"select (no cases)": true, "semacquire": true, "sync.Mutex.Lock": true, "sync.RWMutex.Lock": true,
	"sync.RWMutex.RLock": true, "sync.WaitGroup.Wait": true, "coroutine": true,
}

// A tally is one group at one reading.
type tally struct {
	ids   []uint64 // of each member
	stuck int      // members that wait as nobody does for long on purpose
	// about is what a Suspect would say of the group, and about which member.
	about func(id uint64) Suspect
}

// A detector judges by a row of readings which groups of one kind leak: in a
// leaking group the old members never end while new ones grow old.
type detector struct {
	window int
	sites  map[string]*site
}

// A site is a group over the windows: goroutines with one creator and one
// stack of functions, descriptors that were opened in one place.
type site struct {
	first time.Time      // when the site was first seen
	born  map[uint64]int // the window in which a member was first seen
	since int            // the window in which the site was first seen
	floor []float64      // how many members were old, by window
	// grown and ended are, by the window of their birth, how many members
	// became old and how many of those have ended.
	grown, ended []float64
	deaths       []float64 // how many old members ended, by the window they ended in
	stuck        int       // members in a stuck state at the last reading
	oldest       uint64    // member at the last reading
	about        func(id uint64) Suspect
}

// A finding is a site that leaks.
type finding struct {
	key    string
	site   *site
	growth float64 // members per window
}

// siteKey groups goroutines: creator and functions, without the frames of the
// runtime, sync and internal packages, in which a goroutine may be at one line
// or another while it does the same thing.
func siteKey(g *goroutine) string {
	var b strings.Builder
	b.WriteString(g.creator.fn)
	for _, f := range g.frames {
		if inRuntime(f.fn) || isWrapper(f) || strings.HasPrefix(f.fn, "internal/") || strings.HasPrefix(f.fn, "sync.") {
			continue
		}
		b.WriteByte('\n')
		b.WriteString(f.fn)
	}
	return b.String()
}

// goroutineGroups groups goroutines as siteKey says.
func goroutineGroups(gs []*goroutine) map[string]*tally {
	members := map[string][]*goroutine{}
	for _, g := range gs {
		key := siteKey(g)
		members[key] = append(members[key], g)
	}
	groups := make(map[string]*tally, len(members))
	for key, gs := range members {
		t := &tally{}
		for _, g := range gs {
			t.ids = append(t.ids, uint64(g.id))
			if stuck[g.state] {
				t.stuck++
			}
		}
		t.about = func(id uint64) Suspect {
			g := gs[max(slices.Index(t.ids, id), 0)]
			return Suspect{
				Kind: "goroutine", Site: blockedIn(g.frames).public(), Creator: g.creator.public(),
				State: g.state, Stack: stackText(g.frames),
			}
		}
		groups[key] = t
	}
	return groups
}

// memberGroups groups what a Source has open.
func memberGroups(kind string, all []Member) map[string]*tally {
	groups := map[string]*tally{}
	for i := range all {
		m := &all[i]
		key := m.Group + "\n" + m.Site.Function + "\n" + m.Site.File + ":" + strconv.Itoa(m.Site.Line)
		t := groups[key]
		if t == nil {
			t = &tally{about: func(uint64) Suspect {
				return Suspect{Kind: kind, Group: m.Group, Site: m.Site, State: m.State, Stack: m.Stack}
			}}
			groups[key] = t
		}
		t.ids = append(t.ids, m.ID)
		if m.Stuck {
			t.stuck++
		}
	}
	return groups
}

// observe takes the reading of one window and returns the sites that leak.
func (d *detector) observe(groups map[string]*tally) []finding {
	if d.sites == nil {
		d.sites = map[string]*site{}
	}
	now := d.window
	d.window++
	for key := range groups {
		if d.sites[key] == nil && len(d.sites) < maxSites {
			d.sites[key] = &site{born: map[uint64]int{}, since: now, first: time.Now()}
		}
	}
	var found []finding
	for _, key := range slices.Sorted(maps.Keys(d.sites)) {
		s := d.sites[key]
		s.update(now, groups[key])
		if len(s.born) == 0 && now-s.since > oldAge {
			delete(d.sites, key) // none is left; a new one starts afresh
			continue
		}
		if rate, ok := s.leaks(); ok {
			found = append(found, finding{key, s, rate})
		}
	}
	return found
}

func (s *site) update(now int, t *tally) {
	if t == nil {
		t = &tally{about: s.about}
	}
	s.stuck, s.about, s.oldest = t.stuck, t.about, 0
	alive := make(map[uint64]bool, len(t.ids))
	for _, id := range t.ids {
		alive[id] = true
		if _, ok := s.born[id]; !ok {
			s.born[id] = now
		}
		if born, ok := s.born[s.oldest]; !ok || s.born[id] < born {
			s.oldest = id
		}
	}
	s.grown, s.ended = append(s.grown, 0), append(s.ended, 0)
	first := now + 1 - len(s.grown) // the window that the rows begin with
	floor, deaths := 0.0, 0.0
	for id, born := range s.born {
		age := now - born
		switch {
		case !alive[id]:
			delete(s.born, id)
			if age > oldAge {
				deaths++
				if born >= first {
					s.ended[born-first]++
				}
			}
			continue
		case age == oldAge && born >= first:
			s.grown[born-first]++
		}
		if age >= oldAge {
			floor++
		}
	}
	s.floor, s.deaths = append(s.floor, floor), append(s.deaths, deaths)
	if n := len(s.floor) - maxWindows; n > 0 {
		s.floor, s.grown, s.ended, s.deaths = s.floor[n:], s.grown[n:], s.ended[n:], s.deaths[n:]
	}
}

// leaks judges the site by its last windows, and by more of them if those do
// not tell: a slow leak needs longer to show.
func (s *site) leaks() (perWindow float64, ok bool) {
	need := idleWindows
	if 2*s.stuck > len(s.born) {
		need = stuckWindows
	}
	for n := need; n <= len(s.floor); n *= 2 {
		floor := s.floor[len(s.floor)-n:]
		if steps(floor) < max(minSteps, int(stepShare*float64(n))) {
			continue // and most sites never cost more than this
		}
		t := trendOf(floor)
		// Five, or a tenth of what there was: less is noise.
		if t.rises(max(5, 0.1*floor[0])) && s.lasting(n, t.growth) {
			return t.slope, true
		}
	}
	return 0, false
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

// steps returns in how many windows the floor has risen.
func steps(floor []float64) (n int) {
	for i := range floor[1:] {
		if floor[i+1] > floor[i] {
			n++
		}
	}
	return n
}
