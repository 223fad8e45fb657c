package leakcheck

import "time"

// A Stepper is a Watch whose windows end when the test says so.
type Stepper struct {
	w  *watcher
	at time.Time
}

func NewStepper(c Config, report func(Suspect)) *Stepper {
	at := time.Now()
	return &Stepper{newWatcher(c, report, at), at}
}

// Window ends a window, as if it had taken Config.Interval.
func (s *Stepper) Window() {
	s.at = s.at.Add(s.w.config.Interval)
	s.w.window(s.at)
}
