//go:build unix

package observe

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/loadline-go/loadline/observe/capture"
)

// captureSignals makes a capture of each SIGUSR2 until ctx ends. One that comes
// while another is being made is told of in the log.
func (c *captures) captureSignals(ctx context.Context) {
	got := make(chan os.Signal, 1)
	signal.Notify(got, syscall.SIGUSR2)
	defer signal.Stop(got)
	close(c.listening)
	for {
		select {
		case <-ctx.Done():
			return
		case <-got:
			if _, err := c.store.Capture(ctx, capture.Reason{Kind: "signal", Detail: "SIGUSR2"}); err == capture.ErrBusy {
				c.t.warn("captures", "observe: SIGUSR2 came while a capture was being made")
			}
		}
	}
}
