package console

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/loadline-go/loadline/observe/doctor"
)

// maxRows bounds the rows of a group; more than that nobody reads, and what is
// beyond stays in /metrics.
const maxRows = 100

// groupFields are what is kept of all but routes, in the order of values.
var groupFields = []struct {
	name   string
	fields []string
}{
	{"dependency", []string{"calls", "errors", "seconds", "p50", "p99", "active", "retries", "connections"}},
	{"pool", []string{"max", "in_use", "pending", "waits", "wait_seconds", "open", "opened", "timeouts", "unclosed"}},
	{"query", []string{"calls", "errors", "seconds"}},
	{"queue", []string{"length", "capacity", "oldest", "added", "taken", "blocked"}},
	{"job", []string{"runs", "errors", "seconds", "wait_seconds", "active", "overdue"}},
	{"cache", []string{"hits", "misses", "stampedes", "load_seconds"}},
	{"leak", []string{"count", "per_hour", "confidence"}},
}

// group is the rings of all things of one kind.
type group struct {
	name   string
	fields []string
	rows   map[string]*row
}

// row is one of them. What is not told is NaN.
type row struct {
	detail string
	json   []byte      // the name as JSON
	seen   uint64      // the last time, from 1
	values [][]float32 // by field
}

func newGroup(name string, fields ...string) *group {
	return &group{name: name, fields: fields, rows: map[string]*row{}}
}

// set notes the values of one row at a place of its rings.
func (g *group) set(seq uint64, length int, name, detail string, values ...float64) {
	r := g.rows[name]
	if r == nil {
		if len(g.rows) >= maxRows {
			return
		}
		escaped, _ := json.Marshal(name)
		r = &row{json: escaped, values: make([][]float32, len(g.fields))}
		for i := range r.values {
			r.values[i] = make([]float32, length)
			for k := range r.values[i] {
				r.values[i][k] = nan
			}
		}
		g.rows[name] = r
	}
	r.detail, r.seen = detail, seq+1
	for i, v := range values {
		r.values[i][seq%uint64(length)] = float32(v)
	}
}

// next prepares a place of all rings and drops the rows that are no longer in them.
func (g *group) next(seq uint64, length int) {
	for name, r := range g.rows {
		if seq+1-r.seen > uint64(length) {
			delete(g.rows, name)
			continue
		}
		for i := range r.values {
			r.values[i][seq%uint64(length)] = nan
		}
	}
}

func (g *group) sorted() []*row {
	rows := make([]*row, 0, len(g.rows))
	for _, name := range slices.Sorted(maps.Keys(g.rows)) {
		rows = append(rows, g.rows[name])
	}
	return rows
}

// Diagnosed adds one diagnosis with what it rests on, and the findings that still
// count though this one has not found them.
func (c *Console) Diagnosed(w doctor.Window, r doctor.Report, still []doctor.Finding) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	seq := c.diagnosed
	c.diagnosed++
	told := r
	told.Split = nil // each route tells its own
	c.report, c.still = &told, still
	at := w.Time
	if at.IsZero() {
		at = r.Time
	}
	c.whens[seq%diagnoses] = at.UnixMilli()
	for _, g := range c.groups {
		g.next(seq, diagnoses)
	}
	set := func(group int, name, detail string, values ...float64) {
		c.groups[group].set(seq, diagnoses, name, detail, values...)
	}
	for _, d := range w.Dependencies {
		set(0, d.Name, d.Kind, d.Calls, d.Errors, d.Seconds, d.P50, d.P99, d.Active, d.Retries, d.Connections)
	}
	for _, p := range w.Pools {
		set(1, p.Name, "", p.Max, p.InUse, p.Pending, p.Waits, p.WaitSeconds, p.Open, p.Opened, p.Timeouts, p.Unclosed)
	}
	for _, q := range w.Queries {
		set(2, q.Pool+": "+q.Summary, "", q.Calls, q.Errors, q.Seconds)
	}
	for _, q := range w.Queues {
		set(3, q.Queue, "", q.Length, q.Capacity, q.Oldest, q.Added, q.Taken, q.Blocked)
	}
	for _, j := range w.Jobs {
		set(4, j.Job, "", j.Runs, j.Errors, j.Seconds, j.WaitSeconds, j.Active, j.Overdue)
	}
	for _, k := range w.Caches {
		set(5, k.Cache, "", k.Hits, k.Misses, k.Stampedes, k.LoadSeconds)
	}
	for _, l := range w.Leaks {
		set(6, l.Kind+" "+l.Site, l.Kind, l.Count, l.PerHour, l.Confidence)
	}
	for _, route := range c.routes {
		if route.split != nil {
			route.split.total[seq%diagnoses] = 0
		}
	}
	for i := range r.Split {
		if route := c.routes[r.Split[i].Route]; route != nil {
			route.divide(seq, &r.Split[i])
		}
	}
}

// divide notes where the time of the route went. Dependencies beyond those that
// have a place of their own count among other.
func (r *route) divide(seq uint64, d *doctor.Split) {
	if r.split == nil {
		r.split = &split{}
	}
	at := seq % diagnoses
	r.split.total[at] = float32(d.Total)
	seconds := [splitParts]float64{d.Running, d.Ready, d.GCAssist, d.Lock, d.Pool, d.Other}
	for _, p := range d.Parts {
		if i := r.split.place(p.Name); i >= 0 {
			seconds[i] += p.Seconds
		} else {
			seconds[fixedParts-1] += p.Seconds
		}
	}
	for i, v := range seconds {
		r.split.parts[at][i] = 0
		if d.Total > 0 && v > 0 {
			r.split.parts[at][i] = uint8(min(255*v/d.Total+.5, 255))
		}
	}
}

// place is where a dependency's part stands, -1 when there is no room.
func (s *split) place(name string) int {
	for i := range s.names {
		switch s.names[i] {
		case "":
			s.names[i] = name
			s.json[i], _ = json.Marshal(name)
			return fixedParts + i
		case name:
			return fixedParts + i
		}
	}
	return -1
}

// mean returns the seconds per second of each part, the mean of the last n
// diagnoses that reach back to since.
func (s *split) mean(seq uint64, whens *[diagnoses]int64, since int64) (parts [splitParts]float64) {
	n := 0
	for i := range min(seq, diagnoses) {
		at := (seq - 1 - i) % diagnoses
		if whens[at] <= since {
			break
		}
		n++
		for k, v := range s.parts[at] {
			parts[k] += float64(v) / 255 * float64(s.total[at])
		}
	}
	for k := range parts {
		parts[k] /= float64(max(n, 1))
	}
	return parts
}

// sampleOwn notes the program's own metrics. A counter is kept as a rate.
func (c *Console) sampleOwn(s Sample, at int) {
	c.own.next(c.seq, points)
	for _, o := range s.Own {
		name := o.Name
		if o.Labels != "" {
			name += " {" + o.Labels + "}"
		}
		rate, mean := float64(nan), float64(nan)
		if before := c.own.rows[name]; before != nil && c.seq > 0 && o.Rate {
			// Rings hold float32; what is counted is kept as it is in since.
			rate = (o.Value - c.since[name].Value) / c.interval(c.seq)
			if o.Sum != 0 && o.Value > c.since[name].Value {
				mean = (o.Sum - c.since[name].Sum) / (o.Value - c.since[name].Value)
			}
		}
		c.own.set(c.seq, points, name, o.Help, o.Value, rate, mean)
		if c.own.rows[name] != nil {
			c.since[name] = o
		}
	}
	for name := range c.since {
		if c.own.rows[name] == nil {
			delete(c.since, name)
		}
	}
}
