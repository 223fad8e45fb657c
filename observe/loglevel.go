package observe

import (
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
)

// logLevel is a level set at run time, which LogHandler's handlers go by in
// place of those they pass records on to. Those write what they are given: a
// slog.Handler is asked Enabled before, and not again.
type logLevel struct {
	used atomic.Bool // there is a LogHandler
	set  atomic.Pointer[slog.Level]
}

// parse sets the level: debug, info, warn, error, also with an offset, as
// "info+2"; "default" leaves it to the program again.
func (l *logLevel) parse(text string) error {
	if strings.EqualFold(text, "default") {
		l.set.Store(nil)
		return nil
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(text)); err != nil {
		return errors.New("level: want debug, info, warn, error or default")
	}
	l.set.Store(&level)
	return nil
}

func (l *logLevel) String() string {
	if level := l.set.Load(); level != nil {
		return strings.ToLower(level.String())
	}
	return "default"
}
