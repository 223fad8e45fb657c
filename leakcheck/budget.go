package leakcheck

import "time"

// pauseEvery is how often one pause of Config.MaxPause may be made.
const pauseEvery = 10 * time.Minute

const (
	// cpuShare is the share of one processor that reading may take on average.
	cpuShare = 0.001
	// freeCost is what a reading may take whatever the interval: 0.1 % of the
	// default minute, so that only short intervals ask for more.
	freeCost = 60 * time.Millisecond
)

// A budget decides when the goroutines may be read one by one, which stops
// the program in proportion to their number.
type budget struct {
	limit time.Duration // Config.MaxPause
	// left of the limit, at the time at.
	left time.Duration
	at   time.Time
	// perGoroutine is how long a reading stops the program for each, as measured.
	perGoroutine time.Duration
}

func newBudget(limit time.Duration, now time.Time) *budget {
	return &budget{limit: limit, left: limit, at: now, perGoroutine: 10 * time.Microsecond}
}

func (b *budget) pause(goroutines int) time.Duration {
	return time.Duration(goroutines) * b.perGoroutine
}

// earn adds what the time since the last call allows.
func (b *budget) earn(now time.Time) {
	earned := float64(b.limit) * float64(now.Sub(b.at)) / float64(pauseEvery)
	b.left, b.at = min(b.limit, b.left+time.Duration(earned)), now
}

// spend takes off what a reading took. The time includes waiting for the world
// to stop, so it is too long rather than too short. With few goroutines it
// says nothing about each.
func (b *budget) spend(took time.Duration, goroutines int) {
	b.left -= max(took, b.pause(goroutines))
	if goroutines < 100 {
		return
	}
	// A rise counts at once, a fall slowly.
	b.perGoroutine = max(took/time.Duration(goroutines), b.perGoroutine*9/10, time.Microsecond)
}

// stretch returns how long a window must be that cost so much.
func stretch(interval, cost time.Duration) time.Duration {
	if cost <= freeCost {
		return interval
	}
	return max(interval, time.Duration(float64(cost)/cpuShare))
}
