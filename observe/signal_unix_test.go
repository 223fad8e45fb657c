//go:build unix

package observe

import (
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/loadline-go/loadline/observe/capture"
)

func TestSignalMakesACapture(t *testing.T) {
	// Without a listener the signal would end the tests.
	safe := make(chan os.Signal, 8)
	signal.Notify(safe, syscall.SIGUSR2)
	defer signal.Stop(safe)
	for _, on := range []bool{true, false} {
		tel := start(t, Config{Captures: capture.Config{Dir: t.TempDir(), CPUProfile: -1}, Interval: time.Hour, Triggers: Triggers{SIGUSR2: on}})
		if err := syscall.Kill(os.Getpid(), syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		<-safe
		if on {
			eventually(t, "a capture", func() bool { return len(bundles(t, tel)) > 0 })
			if b := bundles(t, tel)[0]; b.Kind != "signal" {
				t.Errorf("%+v", b.Reason)
			}
		}
		if err := tel.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if n := len(bundles(t, tel)); !on && n != 0 {
			t.Errorf("%d captures though the signal is off", n)
		}
	}
}
