package leakcheck

import (
	"errors"
	"math"
	"runtime"
	"strconv"
	"strings"
)

// ownPackage allocates too, and knows its own bounds.
const ownPackage = "github.com/loadline-go/loadline/leakcheck."

// A heapReader reads the memory profile: how many bytes of each site the last
// garbage collection found in use, estimated from samples.
type heapReader struct {
	records []runtime.MemProfileRecord
	stacks  stackCache[*heapStack]
}

// A heapStack is one stack that has allocated.
type heapStack struct {
	key    string
	site   frame
	frames []frame
}

// errNoHeapProfile is told in place of sites.
var errNoHeapProfile = errors.New("the memory profile is off: runtime.MemProfileRate is 0")

// read returns the sites that have memory in use, by the first frame outside
// the standard library.
func (h *heapReader) read(ignore func([]frame) bool) (map[string]*tally, error) {
	rate := runtime.MemProfileRate
	if rate <= 0 {
		return nil, errNoHeapProfile
	}
	for {
		n, ok := runtime.MemProfile(h.records[:cap(h.records)], false)
		if ok {
			h.records = h.records[:n]
			break
		}
		h.records = make([]runtime.MemProfileRecord, n+n/8+64)
	}
	groups := map[string]*tally{}
	largest := map[string]float64{}
	for i := range h.records {
		r := &h.records[i]
		s := h.stacks.of(r.Stack0, func(frames []frame) *heapStack {
			for len(frames) > 0 && inRuntime(frames[0].fn) {
				frames = frames[1:]
			}
			for len(frames) > 0 && inRuntime(frames[len(frames)-1].fn) {
				frames = frames[:len(frames)-1]
			}
			if len(frames) == 0 || ignore(frames) {
				return &heapStack{}
			}
			site := blockedIn(frames)
			if strings.HasPrefix(site.fn, ownPackage) {
				return &heapStack{}
			}
			return &heapStack{site.fn + "\n" + site.file + ":" + strconv.Itoa(site.line), site, frames}
		})
		if s.key == "" {
			continue
		}
		t := groups[s.key]
		if t == nil {
			t = &tally{}
			groups[s.key] = t
		}
		t.samples += float64(r.InUseObjects())
		bytes := unsampled(r.InUseBytes(), r.InUseObjects(), rate)
		t.size += bytes
		if bytes > 0 {
			t.count += bytes * float64(r.InUseObjects()) / float64(r.InUseBytes())
		}
		t.made += unsampled(r.AllocBytes, r.AllocObjects, rate)
		if t.about == nil || bytes > largest[s.key] {
			largest[s.key] = bytes
			t.about = func(uint64) Suspect {
				return Suspect{Kind: "heap", Site: s.site.public(), Stack: stackText(s.frames)}
			}
		}
	}
	return groups, nil
}

// unsampled estimates what a site has really allocated: an object of some
// size is sampled with probability 1-exp(-size/rate).
func unsampled(bytes, objects int64, rate int) float64 {
	if objects <= 0 || bytes <= 0 {
		return 0
	}
	if rate <= 1 {
		return float64(bytes)
	}
	each := float64(bytes) / float64(objects)
	return float64(bytes) / -math.Expm1(-each/float64(rate))
}
