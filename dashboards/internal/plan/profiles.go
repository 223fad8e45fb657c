package plan

import "strings"

// A Profile says by which function what a panel shows is caused. Its name is
// that of the page of flame graphs, /debug/pprof/ui?profile=.
type Profile string

// The profiles.
const (
	CPUProfile       Profile = "profile"
	AllocProfile     Profile = "allocs"
	HeapProfile      Profile = "heap"
	GoroutineProfile Profile = "goroutine"
	LockProfile      Profile = "mutex"
)

// explained says which profile explains a metric; what stands first counts.
var explained = []struct {
	selects string // the beginning of a selector
	by      Profile
}{
	{cpuTime + `{` + onPanel.match + `, go_cpu_state="gc"`, AllocProfile},
	{gcParts + "{", AllocProfile},
	{gcRecent + "{", AllocProfile},
	{allocated + "{", AllocProfile},
	{allocs + "{", AllocProfile},
	{cpuTime + "{", CPUProfile},
	{processCPU + "{", CPUProfile},
	{routeCPU + "{", CPUProfile},
	{schedWait + "{", CPUProfile},
	{schedTotal + "{", CPUProfile},
	{schedRecent + "{", CPUProfile},
	{memoryUsed + "{", HeapProfile},
	{heapLive + "{", HeapProfile},
	{headroom + "{", HeapProfile},
	{timeToLimit + "{", HeapProfile},
	{goroutines + "{", GoroutineProfile},
	{mutexWait + "{", LockProfile},
}

// Profile returns the profile that explains the panel's first query, or
// nothing. A table's columns are of many kinds: its links lead to their pages.
func (p Panel) Profile() Profile {
	if p.Kind == Table || len(p.Queries) == 0 {
		return ""
	}
	for _, e := range explained {
		if strings.Contains(p.Queries[0].Expr, e.selects) {
			return e.by
		}
	}
	return ""
}

// Profiles tells whether a panel of the page leads to flame graphs.
func (d Dashboard) Profiles() bool {
	for _, r := range d.Rows {
		for _, p := range r.Panels {
			if p.Profile() != "" {
				return true
			}
		}
	}
	return false
}
