//go:build unix

package observe

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// manages is a service manager's socket that keeps what it is told.
func manages(t *testing.T, name string) (told <-chan string, end func()) {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	messages, ended := make(chan string, 1000), make(chan struct{})
	go func() {
		defer close(ended)
		b := make([]byte, 4096)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			messages <- string(b[:n])
		}
	}()
	return messages, func() { conn.Close(); <-ended; os.Remove(name) }
}

func next(t *testing.T, told <-chan string) string {
	t.Helper()
	select {
	case s := <-told:
		return s
	case <-time.After(20 * time.Second):
		t.Fatal("the manager is told nothing")
		return ""
	}
}

func TestServeTellsTheServiceManager(t *testing.T) {
	dir, err := os.MkdirTemp("", "notify") // t.TempDir's paths can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	names := []string{filepath.Join(dir, "s")}
	if runtime.GOOS == "linux" {
		names = append(names, "@loadline-test-"+strconv.Itoa(os.Getpid()))
	}
	for _, name := range names {
		for kind, tel := range map[string]*Telemetry{"observed": start(t, Config{}), "nil": nil} {
			told, end := manages(t, name)
			t.Setenv("NOTIFY_SOCKET", name)
			t.Setenv("WATCHDOG_USEC", "20000")
			t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
			listening := make(chan net.Addr, 2)
			servers := [2]*http.Server{}
			for i := range servers {
				servers[i] = &http.Server{Addr: "127.0.0.1:0", Handler: http.NotFoundHandler(), BaseContext: func(l net.Listener) context.Context {
					listening <- l.Addr()
					return context.Background()
				}}
			}
			ctx, cancel := context.WithCancel(t.Context())
			served := make(chan error, 1)
			go func() { served <- tel.Serve(ctx, servers[0], servers[1]) }()
			if s := next(t, told); s != "READY=1" {
				t.Errorf("%s: at first the manager is told %q", kind, s)
			}
			for range servers { // the port that was asked for is 0
				if got := status("http://" + (<-listening).String()); got != 404 {
					t.Errorf("%s: status %d", kind, got)
				}
			}
			for range 3 {
				if s := next(t, told); s != "WATCHDOG=1" {
					t.Errorf("%s: then %q", kind, s)
				}
			}
			cancel()
			s := next(t, told)
			for s == "WATCHDOG=1" {
				s = next(t, told)
			}
			if s != "STOPPING=1" {
				t.Errorf("%s: at the end %q", kind, s)
			}
			if err := <-served; err != nil {
				t.Error(err)
			}
			http.DefaultClient.CloseIdleConnections()
			end()
		}
	}
}

func TestWatchdogIsForThisProcessOnly(t *testing.T) {
	pid := strconv.Itoa(os.Getpid())
	for _, test := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"", "", 0},
		{"30000000", "", 15 * time.Second},
		{"30000000", pid, 15 * time.Second},
		{"30000000", "1", 0},
		{"0", pid, 0},
		{"-5", pid, 0},
		{"soon", pid, 0},
		{"9223372036854775807", pid, 0},
		{"99999999999999999999", pid, 0},
	} {
		t.Setenv("WATCHDOG_USEC", test.usec)
		t.Setenv("WATCHDOG_PID", test.pid)
		if got := watchdog(); got != test.want {
			t.Errorf("%q for %q: every %v, want %v", test.usec, test.pid, got, test.want)
		}
	}
}

func TestManagerThatIsNotThereHurtsNobody(t *testing.T) {
	for _, name := range []string{"", "@", "relative", "vsock:2:1234", "/nowhere/at/all"} {
		t.Setenv("NOTIFY_SOCKET", name)
		t.Setenv("WATCHDOG_USEC", "1000")
		var log lines
		tel := start(t, Config{Logger: log.logger()})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := tel.Serve(ctx, &http.Server{Addr: "127.0.0.1:0"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if said := strings.Contains(log.String(), "service manager"); said != (name == "/nowhere/at/all") {
			t.Errorf("%s: the log says %q", name, &log)
		}
	}
}
