// Package server starts the real servers of the end-to-end tests: each on free
// loopback ports, with a scratch folder of its own, waited for on its health
// endpoint, stopped by pid when the test ends.
//
// A server that cannot be started fails the test and shows the end of its log.
package server

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// Lane says which set of servers a test runs against.
type Lane string

const (
	// Quick is Debian's Prometheus and Alertmanager and a collector.
	Quick Lane = "quick"
	// Full is Prometheus 3, Alertmanager 0.34, Jaeger and a collector.
	Full Lane = "full"
)

// Root is the folder of the end-to-end module.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	for err == nil && dir != "/" {
		if _, err := os.Stat(filepath.Join(dir, "tools", "collector", "go.mod")); err == nil {
			return dir
		}
		dir = filepath.Dir(dir)
	}
	t.Fatalf("no end-to-end module above the working directory: %v", err)
	return ""
}

// Binary is the path of one of the programs that ./run has put in .bin.
func Binary(t testing.TB, set, name string) string {
	t.Helper()
	path := filepath.Join(Root(t), ".bin", set, name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s is not there: begin the tests with internal/e2e/run, which fetches it: %v", name, err)
	}
	return path
}

// Command describes a program to start.
type Command struct {
	Name string
	Path string
	Args []string
	Dir  string
	// Env is added to the test's own environment, from which every OTEL_
	// variable is removed first.
	Env []string
	// Health is a URL that answers 200 when the program is ready.
	Health string
	// Ready takes the place of Health where there is none.
	Ready func(*Process) error
	// User runs the program as somebody else. Default: as the test.
	User *syscall.Credential
	// Within is how long the program may take until it is ready. Default: 30 s.
	Within time.Duration
	// Grace is how long the program may take to end after SIGTERM before it
	// is killed. Default: 5 s.
	Grace time.Duration
}

// Process is a started program.
type Process struct {
	name  string
	cmd   *exec.Cmd
	grace time.Duration
	done  chan struct{} // closed when the program has ended

	mu  sync.Mutex
	log bytes.Buffer
}

// Write keeps what the program prints.
func (p *Process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

// Log is all that the program has printed.
func (p *Process) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// ExitCode is the program's exit code, -1 when a signal ended it. Valid after Done.
func (p *Process) ExitCode() int { return p.cmd.ProcessState.ExitCode() }

// Signal sends s to the program.
func (p *Process) Signal(s os.Signal) { _ = p.cmd.Process.Signal(s) }

// Kill ends the program with SIGKILL and waits for its end.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Stop ends the program with SIGTERM, then, after its grace, SIGKILL.
func (p *Process) Stop() {
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(p.grace):
		p.Kill()
	}
}

// RSS is the program's resident memory in bytes, 0 once it has ended.
func (p *Process) RSS() int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	var size, resident int64
	if err == nil {
		_, _ = fmt.Sscan(string(b), &size, &resident)
	}
	return resident * int64(os.Getpagesize())
}

// CPU is the processor time that the program has used, 0 once it has ended.
func (p *Process) CPU() time.Duration {
	var t syscall.Timespec
	clock := ^p.cmd.Process.Pid<<3 | 2 // of a process, CPUCLOCK_SCHED: as clock_getcpuclockid(3) makes it
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&t)), 0); errno != 0 {
		return 0
	}
	return time.Duration(t.Nano())
}

// Descriptors is how many files and connections the program has open.
func (p *Process) Descriptors() int {
	open, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	return len(open)
}

// Start starts the program and waits until it is ready. It ends with the test.
func Start(t testing.TB, c Command) *Process {
	t.Helper()
	p, err := start(c)
	if err != nil {
		t.Fatal(err)
	}
	p.register(t)
	return p
}

// StartOnPorts starts the program described for n free ports, as Start does,
// with other ports when one of them was taken in the meantime.
func StartOnPorts(t testing.TB, n int, describe func(ports []string) Command) *Process {
	t.Helper()
	for attempt := 1; ; attempt++ {
		p, err := start(describe(freePorts(t, n)))
		if err == nil {
			p.register(t)
			return p
		}
		if attempt == 3 || !strings.Contains(err.Error(), "address already in use") {
			t.Fatal(err)
		}
	}
}

func (p *Process) register(t testing.TB) {
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("%s ended with code %d; the end of its log:\n%s", p.name, p.ExitCode(), p.tail())
		}
	})
}

func (p *Process) tail() string {
	lines := strings.Split(strings.TrimSpace(p.Log()), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

func start(c Command) (*Process, error) {
	p := &Process{name: c.Name, grace: c.Grace, done: make(chan struct{})}
	if p.grace == 0 {
		p.grace = 5 * time.Second
	}
	p.cmd = exec.Command(c.Path, c.Args...)
	p.cmd.Dir = c.Dir
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "OTEL_") {
			p.cmd.Env = append(p.cmd.Env, v)
		}
	}
	p.cmd.Env = append(p.cmd.Env, c.Env...)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	// The server must not outlive a test binary that was killed by its timeout.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: c.User}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	ready := c.Ready
	if ready == nil {
		ready = answersOK(c.Health)
	}
	within := c.Within
	if within == 0 {
		within = 30 * time.Second
	}
	deadline := time.Now().Add(within)
	for {
		err := ready(p)
		if err == nil {
			return p, nil
		}
		select {
		case <-p.done:
			return nil, fmt.Errorf("%s ended at once with code %d:\n%s", c.Name, p.ExitCode(), p.tail())
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.Kill()
			return nil, fmt.Errorf("%s is not ready after %v: %w\n%s", c.Name, within, err, p.tail())
		}
	}
}

func answersOK(url string) func(*Process) error {
	client := &http.Client{Timeout: time.Second}
	return func(*Process) error {
		resp, err := client.Get(url)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("GET %s: %s", url, resp.Status)
		}
		return nil
	}
}

// FreeAddr is a loopback address that was free a moment ago.
func FreeAddr(t testing.TB) string {
	t.Helper()
	return "127.0.0.1:" + freePorts(t, 1)[0]
}

func freePorts(t testing.TB, n int) (ports []string) {
	t.Helper()
	for range n {
		// All are held until the last is found, so that they differ.
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		ports = append(ports, port)
	}
	return ports
}

// Eventually calls try every 100 ms until it returns nil, and fails the test
// with its last error after the time given.
func Eventually(t testing.TB, within time.Duration, try func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %v", within, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func writeFile(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
