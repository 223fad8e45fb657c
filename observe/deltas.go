package observe

import (
	"bytes"
	rtm "runtime/metrics"
	"runtime/pprof"
	"time"

	"github.com/grafana/pyroscope-go/godeltaprof"
	"github.com/grafana/pyroscope-go/upstream"
)

// deltas takes the profiles beside that of the CPU: of heap, locks and waiting
// what came since the last one, of goroutines what there is.
type deltas struct {
	heap         *godeltaprof.HeapProfiler
	mutex, block *godeltaprof.BlockProfiler
	kinds        []*delta
	collections  uint64 // of garbage, at the last profile of the heap
}

// delta is one kind of profile.
type delta struct {
	name   string
	take   func(*bytes.Buffer) error // nothing written: nothing new
	sample map[string]*upstream.SampleType
	units  string // with an average instead of a sum; empty: those of sample
	from   time.Time
	next   time.Time // not before, for its cost
}

// deltaTaken is a profile of one kind.
type deltaTaken struct {
	kind     *delta
	from, to time.Time
	data     []byte
}

func newDeltas(leaks bool) *deltas {
	d := &deltas{heap: godeltaprof.NewHeapProfiler(), mutex: godeltaprof.NewMutexProfiler(), block: godeltaprof.NewBlockProfiler()}
	d.kinds = []*delta{
		{name: "heap", take: d.takeHeap, sample: map[string]*upstream.SampleType{
			"alloc_objects": {Units: "objects"},
			"alloc_space":   {Units: "bytes"},
			"inuse_objects": {Units: "objects", Aggregation: "average"},
			"inuse_space":   {Units: "bytes", Aggregation: "average"},
		}},
		{name: "mutex", take: func(b *bytes.Buffer) error { return d.mutex.Profile(b) }, sample: contention("mutex")},
		{name: "block", take: func(b *bytes.Buffer) error { return d.block.Profile(b) }, sample: contention("block")},
		{name: "goroutine", take: profileNamed("goroutine"), units: "goroutines", sample: map[string]*upstream.SampleType{
			"goroutine": {DisplayName: "goroutines", Units: "goroutines", Aggregation: "average"},
		}},
	}
	if leaks && pprof.Lookup(leakProfile) != nil {
		d.kinds = append(d.kinds, &delta{name: leakProfile, take: profileNamed(leakProfile), units: "goroutines", sample: map[string]*upstream.SampleType{
			leakProfile: {DisplayName: "goroutine_leak", Units: "goroutines", Aggregation: "average"},
		}})
	}
	return d
}

func contention(kind string) map[string]*upstream.SampleType {
	return map[string]*upstream.SampleType{
		"contentions": {DisplayName: kind + "_count", Units: "lock_samples"},
		"delay":       {DisplayName: kind + "_duration", Units: "lock_nanoseconds"},
	}
}

func profileNamed(name string) func(*bytes.Buffer) error {
	return func(b *bytes.Buffer) error { return pprof.Lookup(name).WriteTo(b, 0) }
}

// takeHeap waits for the collector: the profile is that of the last collection,
// and none is forced for it.
func (d *deltas) takeHeap(b *bytes.Buffer) error {
	count := []rtm.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	rtm.Read(count)
	if n := count[0].Value.Uint64(); n != d.collections {
		d.collections = n
		return d.heap.Profile(b)
	}
	return nil
}

// collect takes the profiles whose time has come, at the end all of them.
func (d *deltas) collect(c *costs, end bool) (all []deltaTaken) {
	for _, k := range d.kinds {
		now := time.Now()
		if now.Before(k.next) && !end {
			continue
		}
		var b bytes.Buffer
		var err error
		cost := threadCost(func() { err = k.take(&b) })
		k.next = now.Add(c.add(k.name, cost))
		if err == nil && b.Len() > 0 {
			all = append(all, deltaTaken{kind: k, from: k.from, to: now, data: b.Bytes()})
			k.from = now
		}
	}
	return all
}

// jobs makes uploads of profiles, for an application of this name.
func (d *deltas) jobs(name string, all []deltaTaken) []*upstream.UploadJob {
	jobs := make([]*upstream.UploadJob, 0, len(all))
	for _, t := range all {
		j := &upstream.UploadJob{
			Name: name, StartTime: t.from, EndTime: t.to, SpyName: "gospy", Format: upstream.FormatPprof, Profile: t.data, SampleTypeConfig: t.kind.sample,
		}
		if t.kind.units != "" {
			j.Units, j.AggregationType = t.kind.units, "average"
		}
		jobs = append(jobs, j)
	}
	return jobs
}

// cpuRate is runtime/pprof's, in samples a second.
const cpuRate = 100

// job makes an upload of a CPU profile.
func (d cpuData) job(name string) *upstream.UploadJob {
	return &upstream.UploadJob{
		Name: name, StartTime: d.from, EndTime: d.to, SpyName: "gospy", Format: upstream.FormatPprof, Profile: d.bytes,
		SampleRate: cpuRate, Units: "samples", AggregationType: "sum",
	}
}
