package observe

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/google/pprof/profile"
)

const (
	// wallProfile is what the field calls a profile of all goroutines by wall
	// time, after its first tool.
	wallProfile = "fgprof"
	// At most so often are the goroutines looked at.
	wallEvery = 10 * time.Millisecond
	// A look at 1,000 goroutines by stack takes 4 to 8 ms and stops the program
	// for 0.1 ms (measured); with four times as long a pause after each, that is a
	// fifth of one processor.
	wallPause = 4
	// A look at 10,000 takes a tenth of a second; at more than these, so long
	// that a minute has few.
	maxWallGoroutines = 50_000
	// Looks that are added up at once.
	wallBatch = 16
)

// writeWall samples the stacks of all goroutines, running or waiting, until ctx
// ends or d is over, and writes a profile of the time that they spent there: 10
// s in which one goroutine waited for a lock are 10 s of that stack. Stacks
// carry the labels of requests and jobs that began while it runs.
func writeWall(ctx context.Context, w io.Writer, d time.Duration) error {
	p, err := takeWall(ctx, d)
	if err != nil {
		return err
	}
	return p.Write(w)
}

func takeWall(ctx context.Context, d time.Duration) (*profile.Profile, error) {
	if n := runtime.NumGoroutine(); n > maxWallGoroutines {
		return nil, &pageError{http.StatusServiceUnavailable, fmt.Sprintf("%d goroutines: looking at more than %d of them many times a second costs too much; see /debug/pprof/goroutine", n, maxWallGoroutines)}
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	began := time.Now()
	last := began
	var all []*profile.Profile
	timer := time.NewTimer(wallEvery)
	defer timer.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		start := time.Now()
		look, err := lookAtGoroutines(start.Sub(last))
		if err != nil {
			return nil, err
		}
		last = start
		if all = append(all, look); len(all) == wallBatch {
			sum, err := profile.Merge(all)
			if err != nil {
				return nil, err
			}
			all = []*profile.Profile{sum}
		}
		timer.Reset(max(wallEvery, wallPause*time.Since(start)))
	}
	sum, err := profile.Merge(all)
	if err != nil {
		return nil, err
	}
	sum.TimeNanos, sum.DurationNanos = began.UnixNano(), int64(last.Sub(began))
	sum.DefaultSampleType = "time"
	return sum, nil
}

// lookAtGoroutines returns the stacks of this moment, each as having lasted for d.
func lookAtGoroutines(d time.Duration) (*profile.Profile, error) {
	var data bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&data, 0); err != nil {
		return nil, err
	}
	p, err := profile.ParseData(data.Bytes())
	if err != nil {
		return nil, err
	}
	p.Sample = slices.DeleteFunc(p.Sample, func(s *profile.Sample) bool { // what looks is not looked at
		return slices.ContainsFunc(s.Location, func(l *profile.Location) bool {
			return slices.ContainsFunc(l.Line, func(l profile.Line) bool {
				return l.Function != nil && strings.HasSuffix(l.Function.Name, "observe.lookAtGoroutines")
			})
		})
	})
	for _, s := range p.Sample {
		s.Value = []int64{s.Value[0], s.Value[0] * int64(d)}
	}
	p.SampleType = []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "time", Unit: "nanoseconds"}}
	p.PeriodType, p.Period = &profile.ValueType{Type: "wallclock", Unit: "nanoseconds"}, int64(wallEvery)
	return p, nil
}
