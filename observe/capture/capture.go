package capture

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Config says where bundles go and how many there may be. Only Dir must be set.
type Config struct {
	// Dir is the directory of the bundles; Open makes it when it is missing,
	// readable by this user alone. Several processes may share it.
	Dir string

	// MaxBundles, MaxBytes and MaxAge bound what the directory holds; the oldest
	// bundles go first. The newest one is never removed for its size.
	// Defaults: 20, 512 MiB, 7 days.
	MaxBundles int
	MaxBytes   int64
	MaxAge     time.Duration

	// CPUProfile is how long the CPU profile of a bundle runs; negative: none.
	// Default: 5 s, which is 500 samples of a busy core.
	CPUProfile time.Duration

	// CoolDown is the least time between two bundles that were triggered, PerDay
	// the most of them in 24 hours, and PerKind the most of one Kind, so that one
	// that recurs leaves room for the others. Those that Open finds in the
	// directory count, so a restart opens no gate. A call of [Store.Capture] is
	// somebody's wish and bound by none of these.
	// Defaults: 10 minutes, 24, a third of PerDay.
	CoolDown time.Duration
	PerDay   int
	PerKind  int

	// RecorderBytes bounds the flight recorder's window; Go takes it as a hint,
	// and a service with very many events holds several times as much on its heap.
	// Default: 8 MiB, some seconds of a busy service (12.8 MB measured for 10 s
	// of 10,000 requests).
	RecorderBytes uint64

	// ArmedShare is how much of the time, in the long run, the flight recorder may
	// be armed for a while, up to 1, which arms it for good while Run runs; its
	// window then holds the beginning of everything, for about a tenth more CPU of
	// each request. Negative: it is never armed, and no bundle has a trace.out.
	// Default: 0.1, which costs a hundredth of the CPU at most.
	ArmedShare float64

	// NoLastWords leaves debug.SetCrashOutput alone: a process that crashes then
	// leaves no bundle. Set it when the program has a crash output of its own,
	// which Open would replace. Default: false.
	NoLastWords bool

	// Parts are further files of each bundle, in this order.
	Parts []Part

	// Starved tells that CPU is too short for profiles to be taken: a bundle
	// then holds the flight recording, which is in memory already, and Parts.
	// Default: nil, never.
	Starved func() bool

	// HoldCPU is called before the CPU profile, to stop a profiler that the
	// program runs itself, and release after it: there is one at a time in a
	// process. Default: nil.
	HoldCPU func() (release func())

	// About is what every manifest says of the program. Default: empty.
	About About

	// Upload is called with each whole bundle, one at a time, after it was
	// written; its context ends after five minutes or when Run's does. An error
	// is given to Report. examples/s3 has one for S3-compatible stores. Default: nil.
	Upload func(context.Context, Bundle) error

	// Report is told of each bundle that was made, and of what went wrong.
	// It is called on the goroutine that makes bundles. Default: nil.
	Report func(Bundle, error)
}

// A Part is one file of a bundle that the program writes.
type Part struct {
	Name  string // of the file: letters, digits, dot, dash and underscore
	Write func(context.Context, io.Writer) error

	// From, in place of Write, makes the file of what the others hold, after all
	// of them, when Config.Starved does not tell otherwise. The bundle is not
	// whole yet: Reason, Files and Dir are known of it, and Dir changes. Its
	// context ends after two minutes.
	From func(context.Context, Bundle, io.Writer) error
}

// A Reason says why a bundle is made.
type Reason struct {
	Kind    string `json:"kind"`               // slow_request, manual, memory, ...: part of the bundle's name
	Detail  string `json:"detail,omitempty"`   // a sentence with the numbers
	Route   string `json:"route,omitempty"`    // of the request that was the reason
	TraceID string `json:"trace_id,omitempty"` // the same
}

// About is what a manifest says of the program.
type About struct {
	Service string `json:"service,omitempty"`
	Version string `json:"version,omitempty"`
	Config  string `json:"config,omitempty"` // a digest of the effective configuration
}

// withDefaults returns c with every field set, and all that is wrong with it.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	wrong := func(field, format string, a ...any) {
		errs = append(errs, fmt.Errorf("Config."+field+": "+format, a...))
	}
	if c.Dir == "" {
		wrong("Dir", "not set")
	}
	if c.MaxBundles < 0 {
		wrong("MaxBundles", "%d is negative", c.MaxBundles)
	}
	if c.MaxBytes < 0 {
		wrong("MaxBytes", "%d is negative", c.MaxBytes)
	}
	if c.MaxAge < 0 {
		wrong("MaxAge", "%v is negative", c.MaxAge)
	}
	if c.CPUProfile > time.Minute {
		wrong("CPUProfile", "%v is above a minute", c.CPUProfile)
	}
	if c.CoolDown < 0 {
		wrong("CoolDown", "%v is negative", c.CoolDown)
	}
	if c.PerDay < 0 {
		wrong("PerDay", "%d is negative", c.PerDay)
	}
	if c.ArmedShare > 1 || c.ArmedShare != c.ArmedShare {
		wrong("ArmedShare", "%v is above 1", c.ArmedShare)
	}
	if c.PerKind < 0 {
		wrong("PerKind", "%d is negative", c.PerKind)
	}
	for i, p := range c.Parts {
		if p.Name != fileName(p.Name) || p.Name == "" || p.Name == manifestName {
			wrong("Parts", "%d: %q is no name for a file of a bundle", i, p.Name)
		} else if p.Write == nil && p.From == nil {
			wrong("Parts", "%s: Write is nil", p.Name)
		}
	}
	c.MaxBundles = cmp.Or(c.MaxBundles, 20)
	c.MaxBytes = cmp.Or(c.MaxBytes, 512<<20)
	c.MaxAge = cmp.Or(c.MaxAge, 7*24*time.Hour)
	c.CPUProfile = cmp.Or(c.CPUProfile, 5*time.Second)
	c.CoolDown = cmp.Or(c.CoolDown, 10*time.Minute)
	c.PerDay = cmp.Or(c.PerDay, 24)
	c.PerKind = cmp.Or(c.PerKind, (c.PerDay+2)/3)
	c.ArmedShare = cmp.Or(c.ArmedShare, armedShare)
	c.RecorderBytes = cmp.Or(c.RecorderBytes, 8<<20)
	return c, errors.Join(errs...)
}
