package observe

import (
	"net"
	"os"
	"strconv"
	"time"
)

// manager is the service manager that started this process and wants to know
// how it is: systemd with Type=notify, or another that speaks sd_notify(3). The
// zero manager is none.
type manager struct{ socket string }

// newManager finds the manager by NOTIFY_SOCKET: a path, or with @ in front a
// name in Linux's abstract namespace. Other kinds of address are not for
// processes of this machine.
func newManager() manager {
	s := os.Getenv("NOTIFY_SOCKET")
	if len(s) < 2 || s[0] != '/' && s[0] != '@' {
		return manager{}
	}
	return manager{s} // net, too, takes @ for the abstract namespace
}

// tell sends one message. A manager that is not there any more is no reason to
// do anything else.
func (m manager) tell(state string) error {
	if m.socket == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: m.socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetWriteDeadline(time.Now().Add(time.Second)) // the socket's queue may be full
	_, err = conn.Write([]byte(state))
	return err
}

// watch keeps the manager's watchdog from ending the process, until the
// returned function is called. The message goes out at half the time that
// WATCHDOG_USEC allows, as sd_watchdog_enabled(3) advises. That it does is what
// it proves: timers fire and goroutines run. Whether the dependencies answer is
// a matter of readiness, and a restart would not help.
func (m manager) watch() (stop func()) {
	every := watchdog()
	if m.socket == "" || every <= 0 {
		return func() {}
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			m.tell("WATCHDOG=1")
			select {
			case <-tick.C:
			case <-end:
				return
			}
		}
	}()
	return func() { close(end); <-ended }
}

// watchdog returns how often the manager is to be told, 0 when it does not want
// that, or not of this process: a child inherits the variables.
func watchdog() time.Duration {
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || usec <= 0 || usec > int64(24*time.Hour/time.Microsecond) {
		return 0
	}
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	return time.Duration(usec) * time.Microsecond / 2
}
