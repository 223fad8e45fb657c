package observe

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheEndWaitsForJobs(t *testing.T) {
	for _, test := range []struct {
		takes, want time.Duration
		says        string
	}{
		{3 * time.Second, 3 * time.Second, "all jobs have ended"},
		{time.Hour, 10 * time.Second, "jobs are still running at the end"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			tel := start(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() {
				ended <- tel.Run(ctx, Job{Name: "confirm"}, func(ctx context.Context) error {
					select {
					case <-time.After(test.takes):
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				})
			}()
			synctest.Wait()
			began := time.Now()
			tel.endJobs(began.Add(10 * time.Second))
			if took := time.Since(began); took < test.want || took > test.want+lookAtJobs {
				t.Errorf("a job of %v was waited for for %v, want %v", test.takes, took, test.want)
			}
			if !strings.Contains(log.String(), test.says) {
				t.Errorf("the log does not say %q:\n%s", test.says, log.String())
			}
			cancel()
			if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			began = time.Now()
			tel.endJobs(began.Add(time.Hour)) // there is none
			if took := time.Since(began); took != 0 {
				t.Errorf("nothing was waited for for %v", took)
			}
		})
	}
	var none *Telemetry
	none.endJobs(time.Now().Add(time.Hour))
}

// What a job tells at its end is told before the telemetry ends.
func TestServeEndsAfterTheJobAtHand(t *testing.T) {
	tel := start(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	begun, finish := make(chan bool), make(chan bool)
	go tel.Run(ctx, Job{Name: "confirm"}, func(context.Context) error {
		close(begun)
		<-finish
		return nil
	})
	<-begun
	served := make(chan error, 1)
	go func() { served <- tel.Serve(ctx, &http.Server{Addr: "localhost:0"}) }()
	cancel()
	select {
	case err := <-served:
		t.Fatalf("Serve returned while a job was running: %v", err)
	case <-time.After(100 * time.Millisecond): // it would have, were it not waiting
	}
	if tel.ending.Load() {
		t.Error("the telemetry ends while a job is running")
	}
	close(finish)
	if err := <-served; err != nil {
		t.Error(err)
	}
}
