package leakcheck

import (
	"errors"
	"fmt"
	"time"
)

// Config says what counts as a leak, in tests and in production. The zero
// Config works; [Verify] and [VerifyMain] use it. A Config may be used by many
// at once, as long as nobody changes it.
type Config struct {
	// Ignore names functions whose goroutines are no leaks: those that have
	// one of them on their stack or were created by one. A name is written as
	// in a traceback, "example.com/shop.(*Queue).run"; a package, a type or a
	// function stands for all that belongs to it ("example.com/shop" for the
	// whole package, without the packages below it). A name that begins with a
	// slash is a file or directory whose descriptors may stay open. Default:
	// nothing. The goroutines that the standard library keeps on purpose need
	// no mention.
	Ignore []string

	// Patience is how long what is left may stay as it is, with all of it
	// blocked, before it is called a leak. As long as something still moves
	// or ends, the check waits on, for at most five times as long in all. What
	// moves is what a look finds running or able to run, in another state than the
	// look before, or with more or fewer calls on its stack. A goroutine that
	// sleeps, wakes and sleeps again is found asleep each time and does not move:
	// if it ends by itself, but later than this, make this longer. A check that
	// finds nothing does not wait. Default: 2s, which a machine under load needs
	// to get every closed connection's goroutine to its end.
	Patience time.Duration

	// NoProof keeps the check from asking the runtime for proof, which Go
	// 1.27 offers (the goroutineleak profile). Set it for tests that wake
	// goroutines through a weak.Pointer: when the proof was taken while they
	// were blocked, Go 1.27.0 to 1.27.4 end the process with "fatal error:
	// bad g->status in ready". Default: false.
	NoProof bool

	// NoDescriptors keeps Verify from looking for files, pipes and listeners
	// that were left open, and Watch from watching descriptors. VerifyMain never
	// looks for them. Default: false.
	NoDescriptors bool

	// Timers has Verify and VerifyMain look for what time.AfterFunc and the
	// deadlines of contexts have left: timers that have neither fired nor been
	// stopped, contexts whose cancel function was not called. For that the memory
	// profile takes every allocation from the first such check on (see
	// runtime.MemProfileRate), which makes code that allocates some times
	// slower, and each check collects the garbage twice or more. A stopped timer
	// looks as if it was left if a variable of a package still refers to it. Tickers
	// and time.After need no look: they cost nothing when nobody waits for them,
	// and who waits is a goroutine. Default: false.
	Timers bool

	// Interval is the length of one window of [Watch] while its readings are
	// cheap. Any is allowed, but everything is judged by windows: requests and
	// jobs should last for less than two, sessions for less than 24, or they look
	// like leaks for as long. With windows of less than some 10s, MaxPause lets
	// fewer of them tell goroutines one from another. Default: 1m.
	Interval time.Duration

	// MaxPause is the longest that Watch may stop the program at once, and in
	// ten minutes altogether, to tell goroutines one from another. Beyond, it
	// counts them, which stops the program for some 0.1 ms. The ten minutes are of
	// the clock, whatever Interval is: with short windows it is soon spent, and
	// most of them only count. Default: 10ms, which is enough for 100 goroutines
	// each minute or 1,000 every ten.
	MaxPause time.Duration

	// NoHeap keeps Watch from looking at the heap. Default: false, it looks
	// at the memory profile after garbage collections, but never forces one.
	NoHeap bool

	// Proof has Watch ask the runtime which goroutines nothing reachable can
	// wake (the goroutineleak profile of Go 1.27), every five windows in which
	// some group grows. It finds some three leaks in ten, sooner and for
	// certain. Each time forces a garbage collection, a second or two with a
	// heap of 1 GiB, and Go 1.27.0 to 1.27.4 end the process with "fatal
	// error: bad g->status in ready" when a goroutine found leaked is woken
	// through a weak.Pointer after all. Default: false.
	Proof bool

	// Load is asked once a window for the requests under way and the requests
	// so far, or whatever the program's work is counted in. Growth that goes
	// with the load is no leak, and growth without it is one sooner. Default:
	// nil, the load is not known.
	Load func() (inFlight int, requests uint64)

	// Sources are what Watch watches beside goroutines, heap and descriptors,
	// and what Verify asks before and after its test: what came in between must
	// be closed. Beside tests that run in parallel, give Verify only such as
	// tell of its own test. Default: none.
	Sources []Source

	// Looked is told what Watch knows after each window, on Watch's
	// goroutine, so that silence is not taken for health. Default: nil,
	// nobody is told.
	Looked func(Look)
}

// TestingT is what a check needs of a test; [testing.T], [testing.B] and
// [testing.F] have it.
type TestingT interface {
	Helper()
	Name() string
	Cleanup(func())
	Errorf(format string, args ...any)
}

// TestingM is what VerifyMain needs of a [testing.M].
type TestingM interface {
	// Run runs the tests and returns the exit code.
	Run() int
}

// Verify fails t if goroutines that t started are left when it has ended. It
// is [Config.Verify] of the zero Config.
func Verify(t TestingT) {
	t.Helper()
	Config{}.Verify(t)
}

// VerifyMain runs the tests of m and fails the binary if goroutines are left
// when all have passed. It is [Config.VerifyMain] of the zero Config.
func VerifyMain(m TestingM) {
	Config{}.VerifyMain(m)
}

func (c Config) withDefaults() Config {
	if c.Patience == 0 {
		c.Patience = 2 * time.Second
	}
	if c.Interval == 0 {
		c.Interval = time.Minute
	}
	if c.MaxPause == 0 {
		c.MaxPause = 10 * time.Millisecond
	}
	return c
}

func (c Config) validate() error {
	var errs []error
	for i, name := range c.Ignore {
		if name == "" {
			errs = append(errs, fmt.Errorf("Config.Ignore[%d]: is empty", i))
		}
	}
	for i, s := range c.Sources {
		if s.Kind == "" || s.Open == nil {
			errs = append(errs, fmt.Errorf("Config.Sources[%d]: needs Kind and Open", i))
		}
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"Patience", c.Patience}, {"Interval", c.Interval}, {"MaxPause", c.MaxPause}} {
		if d.value < 0 {
			errs = append(errs, fmt.Errorf("Config.%s: %v is negative", d.name, d.value))
		}
	}
	return errors.Join(errs...)
}

func (c Config) ignores(g *goroutine) bool {
	for _, name := range c.Ignore {
		if g.calls(name) {
			return true
		}
	}
	return false
}
