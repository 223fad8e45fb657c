package observe

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// processor stands for the processor on which a goroutine runs, more or less:
// a number that stays with it. The runtime does not tell which one it is, but a
// sync.Pool keeps what was put back on a processor for that processor.
type processor int

// perProcessor is what a processor has for itself.
type perProcessor struct {
	processor processor
	random    uint64 // state of a generator
}

var (
	locals = sync.Pool{New: func() any {
		return &perProcessor{processor: processor(nextProcessor.Add(1)), random: rand.Uint64()}
	}}
	nextProcessor atomic.Int64
)

// currentProcessor costs about ten nanoseconds: an edge asks once.
func currentProcessor() processor {
	l := locals.Get().(*perProcessor)
	n := l.processor
	locals.Put(l)
	return n
}

// here is currentProcessor with a random number on top, good enough for the ID
// of a span: SplitMix64, which gives no number twice, from a random start.
func here() (p processor, random uint64) {
	l := locals.Get().(*perProcessor)
	l.random += 0x9e3779b97f4a7c15
	p, random = l.processor, l.random
	locals.Put(l)
	random = (random ^ random>>30) * 0xbf58476d1ce4e5b9
	random = (random ^ random>>27) * 0x94d049bb133111eb
	return p, random ^ random>>31
}
