package observe

import (
	"sync"
	"time"
)

// waits adds up the time that goroutines wait for one thing, those that still
// wait among them: what blocks for an hour is seen before the hour is over. It
// is for where a goroutine waits anyway.
type waits struct {
	mu    sync.Mutex
	n     int64         // that wait now
	began time.Duration // the sum of when they began
	ended time.Duration // waited by those that no longer do
}

func (w *waits) begin(now time.Duration) {
	w.mu.Lock()
	w.n++
	w.began += now
	w.mu.Unlock()
}

// end ends a wait of which other is counted elsewhere.
func (w *waits) end(began, now, other time.Duration) {
	w.mu.Lock()
	w.n--
	w.began -= began
	w.ended += max(0, now-began-other)
	w.mu.Unlock()
}

func (w *waits) seconds(now time.Duration) float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return (w.ended + time.Duration(w.n)*now - w.began).Seconds()
}
