//go:build unix

package observe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/loadline-go/loadline/tracing"
)

// freeAddr returns an address that was free a moment ago.
func freeAddr(t *testing.T) string { return closedPort(t) }

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

func status(url string) int {
	r, err := http.Get(url)
	if err != nil {
		return 0
	}
	defer r.Body.Close()
	io.Copy(io.Discard, r.Body)
	return r.StatusCode
}

// counted is an exporter that counts spans and notes the state at its end.
type counted struct {
	discard
	spans atomic.Int64
}

func (c *counted) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	c.spans.Add(int64(len(spans)))
	return nil
}

func TestServeEndsInTheRightOrderOnSIGTERM(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	exporter := &counted{}
	addr := freeAddr(t)
	tel := start(t, Config{
		AdminAddr: "127.0.0.1:0", DrainDelay: 300 * time.Millisecond,
		Tracing: tracing.Config{Exporter: exporter, Sampler: sdktrace.AlwaysSample()},
	})
	entered, release := make(chan struct{}), make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-release
		if exporter.spans.Load() != 0 || r.Context().Err() != nil {
			http.Error(w, "too early", http.StatusTeapot)
		}
	})
	mux.HandleFunc("GET /quick", func(http.ResponseWriter, *http.Request) {})
	// The program's own NotifyContext is the usual parent.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- tel.Serve(ctx, &http.Server{Addr: addr, Handler: tel.Handler(mux)}) }()
	eventually(t, "serving", func() bool { return status("http://"+addr+"/quick") == 200 })

	slow := make(chan int, 1)
	go func() { slow <- status("http://" + addr + "/slow") }()
	<-entered
	if got := status("http://" + tel.AdminAddr() + "/readyz"); got != 200 {
		t.Errorf("/readyz is %d before the signal", got)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "unready", func() bool { return status("http://"+tel.AdminAddr()+"/readyz") == 503 })
	if got := status("http://" + addr + "/quick"); got != 200 {
		t.Errorf("a request during the delay got %d", got)
	}
	eventually(t, "refusing", func() bool { return status("http://"+addr+"/quick") == 0 })
	close(release)
	if got := <-slow; got != 200 {
		t.Errorf("the running request got %d", got)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if got := exporter.spans.Load(); got < 3 {
		t.Errorf("%d spans were sent, want also those of the end", got)
	}
	if status("http://"+tel.AdminAddr()+"/livez") != 0 {
		t.Error("the admin address still listens")
	}
}

// TestMain's process serves as the child when this variable is set.
const childVariable = "LOADLINE_TEST_SERVE"

func TestSecondSignalEndsTheProcessAtOnce(t *testing.T) {
	if addr := os.Getenv(childVariable); addr != "" {
		serveAsChild(addr)
		return
	}
	addr := freeAddr(t)
	child := exec.Command(os.Args[0], "-test.run=^TestSecondSignalEndsTheProcessAtOnce$")
	child.Env = append(os.Environ(), childVariable+"="+addr)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Process.Kill()
	defer http.DefaultClient.CloseIdleConnections()
	eventually(t, "serving", func() bool { return status("http://"+addr+"/quick") == 200 })
	go status("http://" + addr + "/slow")
	eventually(t, "a running request", func() bool { return status("http://"+addr+"/slow-has-begun") == 200 })
	child.Process.Signal(syscall.SIGTERM)
	eventually(t, "refusing", func() bool { return status("http://"+addr+"/quick") == 0 })
	child.Process.Signal(syscall.SIGTERM)
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	select {
	case err := <-ended:
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
			t.Errorf("the process ended with %v, want by the signal", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the process waits for the request that never ends")
	}
}

func serveAsChild(addr string) {
	tel, err := Start(context.Background(), Config{AdminAddr: Off, DrainDelay: -1, ShutdownTimeout: time.Minute})
	if err != nil {
		panic(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var begun atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("/quick", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/slow", func(http.ResponseWriter, *http.Request) { begun.Store(true); select {} })
	mux.HandleFunc("/slow-has-begun", func(w http.ResponseWriter, _ *http.Request) {
		if !begun.Load() {
			w.WriteHeader(http.StatusNotFound)
		}
	})
	fmt.Println(tel.Serve(ctx, &http.Server{Addr: addr, Handler: tel.Handler(mux)}))
}

func TestServeOnATakenPortIsOneLine(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, tel := range map[string]*Telemetry{"observed": start(t, Config{}), "nil": nil} {
		err := tel.Serve(t.Context(), &http.Server{Addr: l.Addr().String()})
		if want := "observe: serve: listen " + l.Addr().String() + ": address already in use"; err == nil || err.Error() != want {
			t.Errorf("%s: got  %v\nwant %s", name, err, want)
		}
	}
	if running.Load() != nil {
		t.Error("the telemetry was not ended")
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	for name, tel := range map[string]*Telemetry{"observed": start(t, Config{}), "nil": nil} {
		addr := freeAddr(t)
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() {
			served <- tel.Serve(ctx, &http.Server{Addr: addr, Handler: tel.Handler(itemsMux())})
		}()
		eventually(t, "serving", func() bool { return status("http://"+addr+"/items/1") == 200 })
		cancel()
		if err := <-served; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestServeWaitsForRequestsWhenSomebodyElseShutsTheServerDown(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	exporter := &counted{}
	tel := start(t, Config{Tracing: tracing.Config{Exporter: exporter, Sampler: sdktrace.AlwaysSample()}})
	entered, release := make(chan struct{}), make(chan struct{})
	addr := freeAddr(t)
	srv := &http.Server{Addr: addr, Handler: tel.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(entered)
			<-release
		}
	}))}
	served := make(chan error, 1)
	go func() { served <- tel.Serve(t.Context(), srv) }()
	eventually(t, "serving", func() bool { return status("http://"+addr+"/") == 200 })
	go status("http://" + addr + "/slow")
	<-entered
	done := make(chan error, 1)
	go func() { done <- srv.Shutdown(context.Background()) }()
	eventually(t, "refusing", func() bool { return status("http://"+addr+"/") == 0 })
	select {
	case err := <-served:
		t.Errorf("Serve returned %v while a request was running", err)
	case <-time.After(20 * time.Millisecond):
	}
	before := tel.provider.Stats().Exporters[0].Produced
	close(release)
	if err := errors.Join(<-done, <-served); err != nil {
		t.Error(err)
	}
	if got := exporter.spans.Load(); got != before+1 {
		t.Errorf("%d spans were sent, want %d and the one of the last request", got, before)
	}
}

func TestServeCutsOffWhatDoesNotEnd(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	tel := start(t, Config{ShutdownTimeout: 50 * time.Millisecond})
	entered := make(chan struct{})
	addr := freeAddr(t)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- tel.Serve(ctx, &http.Server{Addr: addr, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				close(entered)
				<-r.Context().Done()
			}
		})})
	}()
	eventually(t, "serving", func() bool { return status("http://"+addr+"/") == 200 })
	go status("http://" + addr + "/slow")
	<-entered
	cancel()
	if err := <-served; err == nil || err.Error() != "observe: serve: requests still running after 50ms were cut off" || strings.Contains(err.Error(), "\n") {
		t.Error(err)
	}
}

// A rolling deploy with a dead collector is not a series of failures.
func TestServeReturnsNilWhenOnlyTelemetryWasLost(t *testing.T) {
	var log lines
	release := make(chan struct{})
	defer close(release)
	tel, err := Start(t.Context(), Config{
		AdminAddr: Off, Logger: log.logger(), ShutdownTimeout: time.Second,
		Tracing: tracing.Config{Exporter: hung{release: release}, Sampler: sdktrace.AlwaysSample()},
	})
	if err != nil {
		t.Fatal(err)
	}
	serveOne(tel)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tel.Serve(ctx, &http.Server{Addr: "127.0.0.1:0"}); err != nil {
		t.Errorf("Serve returned %v", err)
	}
	if !strings.Contains(log.String(), "not all telemetry was sent") {
		t.Errorf("the loss is not logged: %s", &log)
	}
	if err := tel.Shutdown(t.Context()); err == nil {
		t.Error("a later Shutdown does not tell of the loss")
	}
}
