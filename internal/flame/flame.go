// Package flame makes flame graphs of profiles: a tree of functions that is
// small enough for a browser, and the page that draws it.
//
//	g, err := flame.New(p, nil, flame.Options{})
//	json.NewEncoder(w).Encode(g)
//
// The page needs nothing from elsewhere and works under a strict
// Content-Security-Policy. Nothing here has state; all may be called
// concurrently.
package flame

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/google/pprof/profile"
)

const (
	// More frames than a screen has pixels tell nobody anything: the smallest are
	// left out until no more are left.
	maxFrames = 20_000
	// Recursion without end is cut here; runtime/pprof itself keeps 128 frames.
	maxDepth = 256
	// Values of a label to choose from, the largest first.
	maxValues = 50
)

// Options says what of a profile is drawn.
type Options struct {
	Type         string // of the samples; empty: the profile's default, or else the last
	Label, Value string // only samples with this label; an empty Label: all
}

// A Graph is a flame graph, as the page reads it.
type Graph struct {
	Type   string   `json:"type"`
	Unit   string   `json:"unit"`
	Types  []string `json:"types"`
	Names  []string `json:"names"` // of functions
	Files  []string `json:"files"` // of each, "shop.go:12": where it begins
	Diff   bool     `json:"diff"`
	Root   *Frame   `json:"root"`
	Labels []Label  `json:"labels"`
	Cut    int      `json:"cut"` // frames that were too small
	Nanos  int64    `json:"nanos,omitempty"`
	Length int64    `json:"length,omitempty"` // in nanoseconds, of a profile that ran for a time
}

// A Frame is a function called by the one it stands under. It is written as
// [name, value, base, [children]].
type Frame struct {
	Name        int // in Names
	Value, Base int64
	Under       []*Frame // by name

	index map[int]*Frame
}

// A Label is one by which samples can be told apart.
type Label struct {
	Key    string  `json:"key"`
	Values []Value `json:"values"` // the largest first
}

// A Value is one of a label.
type Value struct {
	Value string `json:"value"`
	Total int64  `json:"total"`
}

// MarshalJSON implements json.Marshaler.
func (f *Frame) MarshalJSON() ([]byte, error) {
	under := f.Under
	if under == nil {
		under = []*Frame{}
	}
	return json.Marshal([]any{f.Name, f.Value, f.Base, under})
}

// New makes the graph of a profile, compared with base unless that is nil. The
// base is measured by its own samples of the same type.
func New(p, base *profile.Profile, o Options) (*Graph, error) {
	at, err := indexOf(p, o.Type)
	if err != nil {
		return nil, err
	}
	b := builder{names: map[string]int{}, g: &Graph{
		Type: p.SampleType[at].Type, Unit: p.SampleType[at].Unit, Root: &Frame{}, Nanos: p.TimeNanos, Length: p.DurationNanos, Diff: base != nil,
	}}
	for _, t := range p.SampleType {
		b.g.Types = append(b.g.Types, t.Type)
	}
	b.name("all", "")
	b.g.Labels = labels(p, at)
	b.add(p, at, o, func(f *Frame, v int64) { f.Value += v })
	if base != nil {
		from, err := indexOf(base, b.g.Type)
		if err != nil {
			return nil, fmt.Errorf("the base: %w", err)
		}
		b.add(base, from, o, func(f *Frame, v int64) { f.Base += v })
	}
	b.prune()
	return b.g, nil
}

func indexOf(p *profile.Profile, kind string) (int, error) {
	if len(p.SampleType) == 0 {
		return 0, fmt.Errorf("the profile has no samples")
	}
	if kind == "" {
		kind = p.DefaultSampleType
	}
	i := slices.IndexFunc(p.SampleType, func(t *profile.ValueType) bool { return t.Type == kind })
	switch {
	case i >= 0:
		return i, nil
	case kind == "":
		return len(p.SampleType) - 1, nil
	}
	return 0, fmt.Errorf("the profile has no samples of type %q", kind)
}

type builder struct {
	g      *Graph
	names  map[string]int
	frames int
}

func (b *builder) name(name, file string) int {
	i, ok := b.names[name]
	if !ok {
		i = len(b.g.Names)
		b.names[name] = i
		b.g.Names, b.g.Files = append(b.g.Names, name), append(b.g.Files, file)
	}
	return i
}

func (b *builder) add(p *profile.Profile, at int, o Options, count func(*Frame, int64)) {
	for _, s := range p.Sample {
		if o.Label != "" && !slices.Contains(s.Label[o.Label], o.Value) {
			continue
		}
		v := s.Value[at]
		if v == 0 {
			continue
		}
		f := b.g.Root
		count(f, v)
		depth := 0
		for _, l := range slices.Backward(s.Location) {
			for _, line := range slices.Backward(l.Line) { // what was inlined comes first
				if depth++; depth > maxDepth || line.Function == nil {
					continue
				}
				f = b.under(f, b.name(line.Function.Name, place(line.Function)))
				count(f, v)
			}
			if len(l.Line) == 0 {
				f = b.under(f, b.name(fmt.Sprintf("%#x", l.Address), ""))
				count(f, v)
			}
		}
	}
}

func place(f *profile.Function) string {
	if f.StartLine > 0 {
		return fmt.Sprintf("%s:%d", f.Filename, f.StartLine)
	}
	return f.Filename
}

func (b *builder) under(f *Frame, name int) *Frame {
	if next, ok := f.index[name]; ok {
		return next
	}
	next := &Frame{Name: name}
	if f.index == nil {
		f.index = map[int]*Frame{}
	}
	f.index[name] = next
	b.frames++
	return next
}

// prune leaves out what is too small to be seen and puts the rest in order.
func (b *builder) prune() {
	least := int64(1)
	if b.frames > maxFrames {
		sizes := b.g.Root.sizes(nil)
		slices.Sort(sizes)
		least = sizes[len(sizes)-maxFrames]
		if sizes[len(sizes)-maxFrames-1] == least { // as large as one that has no room
			least++
		}
	}
	b.g.Cut = b.frames - b.g.Root.keep(least, b.g.Names)
}

func (f *Frame) size() int64 { return max(f.Value, -f.Value, f.Base, -f.Base) }

func (f *Frame) sizes(all []int64) []int64 {
	for _, under := range f.index {
		all = under.sizes(append(all, under.size()))
	}
	return all
}

func (f *Frame) keep(least int64, names []string) (n int) {
	for _, under := range f.index {
		if under.size() >= least {
			f.Under = append(f.Under, under)
			n += 1 + under.keep(least, names)
		}
	}
	slices.SortFunc(f.Under, func(a, b *Frame) int { return cmp.Compare(names[a.Name], names[b.Name]) })
	return n
}

// labels tells by what the samples can be told apart. The span of a trace is
// told only by who asks for it: there are as many as samples.
func labels(p *profile.Profile, at int) []Label {
	totals := map[string]map[string]int64{}
	for _, s := range p.Sample {
		for key, values := range s.Label {
			if key == "span_id" {
				continue
			}
			if totals[key] == nil {
				totals[key] = map[string]int64{}
			}
			for _, v := range values {
				totals[key][v] += s.Value[at]
			}
		}
	}
	all := []Label{}
	for _, key := range slices.Sorted(maps.Keys(totals)) {
		l := Label{Key: key}
		for _, v := range slices.Sorted(maps.Keys(totals[key])) {
			l.Values = append(l.Values, Value{v, totals[key][v]})
		}
		slices.SortStableFunc(l.Values, func(a, b Value) int { return cmp.Compare(b.Total, a.Total) })
		l.Values = l.Values[:min(len(l.Values), maxValues)]
		all = append(all, l)
	}
	return all
}
