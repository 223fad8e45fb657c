package capture

import (
	"errors"
	"fmt"
	"io"
	"runtime/trace"
	"sync"
	"time"
)

const (
	// Armed, the flight recorder costs about a tenth of the requests' CPU (9-12 %
	// measured); armed for no more than a tenth of the time, it costs one hundredth.
	armedShare = 0.1
	// So much of it may be used at once, and no more is saved up.
	startCredit = 2 * time.Minute
	maxCredit   = 10 * time.Minute
	// A window of several seconds, as far as its bytes allow.
	recorderAge = 10 * time.Second
)

var (
	errNotArmed = errors.New("the flight recorder is not armed")
	errNever    = errors.New("the flight recorder is never armed: Config.ArmedShare is negative")
)

// recorder is the one owner of the process' flight recorder.
type recorder struct {
	start func() (flight, error)
	share float64 // of the time; negative: never

	mu      sync.Mutex
	f       flight // nil: not armed
	why     string
	until   time.Time
	forever bool
	timer   *time.Timer
	credit  time.Duration // as of counted
	counted time.Time
	stopped bool
}

// flight is what of a running trace.FlightRecorder is used.
type flight interface {
	io.WriterTo
	Stop()
}

func startFlight(bytes uint64) func() (flight, error) {
	return func() (flight, error) {
		f := trace.NewFlightRecorder(trace.FlightRecorderConfig{MinAge: recorderAge, MaxBytes: bytes})
		if err := f.Start(); err != nil {
			return nil, fmt.Errorf("capture: flight recorder: %w", err)
		}
		return f, nil
	}
}

// Arm starts the flight recorder for d, or lets it run for d from now on if it
// does already, because of why; the window of the next bundle then holds it. It
// runs for at most Config.ArmedShare of the time in the long run, and for less
// than d when that is used up; a negative d is for good and not bound by that. Arm returns an error when
// the recorder cannot run, because another part of the program has one.
func (s *Store) Arm(why string, d time.Duration) error {
	if s == nil {
		return nil
	}
	return s.recorder.arm(why, d)
}

// Disarm stops the flight recorder.
func (s *Store) Disarm() {
	if s != nil {
		s.recorder.disarm(time.Time{})
	}
}

// Armed tells whether the flight recorder runs, why, and until when; a zero
// time is for good.
func (s *Store) Armed() (why string, until time.Time, armed bool) {
	if s == nil {
		return "", time.Time{}, false
	}
	r := &s.recorder
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.f == nil {
		return "", time.Time{}, false
	}
	if r.forever {
		return r.why, time.Time{}, true
	}
	return r.why, r.until, true
}

func (r *recorder) arm(why string, d time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.stopped:
		return errNotArmed
	case r.share < 0:
		return errNever
	case r.share >= 1:
		d = -1
	}
	now := time.Now()
	r.account(now)
	if d >= 0 {
		if d = min(d, r.credit); d < time.Second {
			return fmt.Errorf("capture: the flight recorder has run for %.0f %% of the time already", 100*r.share)
		}
	}
	if r.f == nil {
		f, err := r.start()
		if err != nil {
			return err
		}
		r.f, r.why = f, why
	}
	if d < 0 {
		r.forever = true
		return nil
	}
	if end := now.Add(d); !r.forever && end.After(r.until) {
		r.until = end
		if r.timer != nil {
			r.timer.Stop()
		}
		r.timer = time.AfterFunc(d, func() { r.disarm(end) })
	}
	return nil
}

// account brings the credit up to now.
func (r *recorder) account(now time.Time) {
	if r.counted.IsZero() {
		r.credit = startCredit
	} else if passed := now.Sub(r.counted); r.f != nil && !r.forever {
		r.credit = max(0, r.credit-passed)
	} else {
		r.credit = min(maxCredit, r.credit+time.Duration(r.share*float64(passed)))
	}
	r.counted = now
}

// disarm stops the recorder, at end only if it was not armed for longer meanwhile.
func (r *recorder) disarm(end time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.f == nil || !end.IsZero() && (r.forever || r.until.After(end)) {
		return
	}
	r.account(time.Now())
	r.f.Stop()
	r.f, r.why, r.until, r.forever = nil, "", time.Time{}, false
}

func (r *recorder) stop() {
	r.disarm(time.Time{})
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
}

func (r *recorder) armed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.f != nil
}

// snapshot writes the window to w. Only the maker of bundles calls it, one at a time.
func (r *recorder) snapshot(w io.Writer) error {
	r.mu.Lock()
	f := r.f
	r.mu.Unlock()
	if f == nil {
		return errNotArmed
	}
	_, err := f.WriteTo(w)
	return err
}
