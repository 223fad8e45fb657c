package leakcheck

import (
	"slices"
	"strconv"
	"strings"
)

// siteDepth is how many functions take part in comparing stacks: few enough
// that both sources have them, of which the profile cuts stacks after 32
// frames.
const siteDepth = 16

// siteKey groups goroutines by their functions, without the frames of the
// runtime, sync and internal packages, in which a goroutine may be at one line
// or another while it does the same thing.
func siteKey(frames []frame) string {
	var b strings.Builder
	n := 0
	for _, f := range frames {
		if inRuntime(f.fn) || isWrapper(f) || strings.HasPrefix(f.fn, "internal/") || strings.HasPrefix(f.fn, "sync.") {
			continue
		}
		b.WriteByte('\n')
		b.WriteString(plainName(f.fn))
		if n++; n == siteDepth {
			break
		}
	}
	return b.String()
}

// goroutineGroups groups goroutines by their functions, and in wide groups by
// creator and outermost function alone: a leak that sleeps, dials and sleeps
// again has another stack each time.
func goroutineGroups(gs []*goroutine) map[string]*tally {
	members := map[string][]*goroutine{}
	for _, g := range gs {
		key := siteKey(g.frames)
		members[key] = append(members[key], g)
		if out := g.outermost(); out != "" {
			key = "wide\n" + g.creator.fn + "\n" + out
			members[key] = append(members[key], g)
		}
	}
	groups := make(map[string]*tally, len(members))
	for key, gs := range members {
		t := &tally{size: float64(len(gs)), wide: strings.HasPrefix(key, "wide\n")}
		for _, g := range gs {
			t.ids = append(t.ids, uint64(g.id))
			if isStuck(g) {
				t.stuck++
			}
			if g.state == "IO wait" {
				t.remote++
			}
			if handles(g) {
				t.handling++
			}
			t.many = t.many || manyAllowed(g)
		}
		t.about = func(id uint64) Suspect { return gs[max(slices.Index(t.ids, id), 0)].suspect() }
		groups[key] = t
	}
	return groups
}

// suspect returns what is to be said of g's group.
func (g *goroutine) suspect() Suspect {
	s := Suspect{
		Kind: "goroutine", Site: siteOf(g.frames).public(), Creator: g.creator.public(),
		State: g.state, Stack: stackText(g.frames),
	}
	if bodyOpen(g) {
		s.Group = "a response body was neither read to its end nor closed"
	} else {
		s.Group = hints(g)
	}
	return s
}

// siteOf returns the frame to name a group by: the innermost one outside the
// standard library, or else the outermost, which says what the goroutine is.
func siteOf(frames []frame) frame {
	at := blockedIn(frames)
	if isStandard(at.fn) {
		for _, f := range slices.Backward(frames) {
			if !inRuntime(f.fn) && !isWrapper(f) {
				return f
			}
		}
	}
	return at
}

// memberGroups groups what a Source has open.
func memberGroups(kind string, all []Member) map[string]*tally {
	groups := map[string]*tally{}
	members := map[string][]*Member{}
	for i := range all {
		m := &all[i]
		key := m.Group + "\n" + m.Site.Function + "\n" + m.Site.File + ":" + strconv.Itoa(m.Site.Line)
		members[key] = append(members[key], m)
		t := groups[key]
		if t == nil {
			t = &tally{many: kind == "socket"} // pools of connections grow slowly
			t.about = func(id uint64) Suspect {
				m := members[key][max(slices.Index(t.ids, id), 0)]
				return Suspect{Kind: kind, Group: m.Group, Site: m.Site, State: m.State, Stack: m.Stack}
			}
			groups[key] = t
		}
		t.size++
		t.ids = append(t.ids, m.ID)
		t.remote++
		if m.Stuck {
			t.stuck++
		}
		if m.Unused {
			t.unused++
		}
		if m.busy {
			t.busy++
		}
	}
	return groups
}
