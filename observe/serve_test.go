//go:build unix

package observe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
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

func TestServeWithSeveralServersEndsThemTogether(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	for name, end := range map[string]func(cancel func(), servers []*http.Server){
		"by the context":               func(cancel func(), _ []*http.Server) { cancel() },
		"when somebody shuts one down": func(_ func(), servers []*http.Server) { servers[1].Shutdown(context.Background()) },
	} {
		tel := start(t, Config{})
		addrs := []string{freeAddr(t), freeAddr(t)}
		var servers []*http.Server
		for _, addr := range addrs {
			servers = append(servers, &http.Server{Addr: addr, Handler: tel.Handler(itemsMux())})
		}
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- tel.Serve(ctx, servers[0], servers[1]) }()
		for _, addr := range addrs {
			eventually(t, "serving", func() bool { return status("http://"+addr+"/items/1") == 200 })
		}
		end(cancel, servers)
		if err := <-served; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, addr := range addrs {
			if got := status("http://" + addr + "/items/1"); got != 0 {
				t.Errorf("%s: %s still answers: %d", name, addr, got)
			}
		}
		cancel()
	}
}

func TestServeThatCannotListenLeavesNoListener(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tel := start(t, Config{})
	err = tel.ServeListener(t.Context(), first, &http.Server{}, &http.Server{Addr: taken.Addr().String()})
	if want := "observe: serve: listen " + taken.Addr().String() + ": address already in use"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if _, err := first.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the first listener is open: %v", err)
	}
}

// A client that keeps its connection is told to leave it with an answer, while
// new ones are served still: none is cut between two requests.
func TestServeAsksClientsToLeaveBeforeItCloses(t *testing.T) {
	server, trusting := certificate(t)
	for _, proto := range []int{1, 2} {
		var log lines
		tel := start(t, Config{DrainDelay: time.Hour, Logger: log.logger()})
		mux := itemsMux()
		mux.HandleFunc("GET /upgrade", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, w.Header().Get("Connection"))
		})
		srv := &http.Server{Handler: tel.Handler(mux), TLSConfig: server.Clone()}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- tel.ServeListener(ctx, l, srv) }()
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: trusting.Clone(), ForceAttemptHTTP2: proto == 2}}
		get := func(path, upgrade string) (reused bool, body string) {
			t.Helper()
			trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }}
			req, _ := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "GET", "https://"+l.Addr().String()+path, nil)
			if upgrade != "" {
				req.Header.Set("Upgrade", upgrade)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != 200 || resp.ProtoMajor != proto {
				t.Errorf("%s over %s", resp.Status, resp.Proto)
			}
			b, _ := io.ReadAll(resp.Body)
			return reused, string(b)
		}
		get("/items/1", "")
		if reused, _ := get("/items/1", ""); !reused {
			t.Error("the connection was not kept while serving")
		}
		cancel()
		eventually(t, "the end has begun", func() bool { return strings.Contains(log.String(), "observe: ending") })
		get("/items/1", "")
		eventually(t, "the client has left", func() bool {
			busy := 0
			for _, c := range tel.listeners.all() {
				n := c.count()
				busy += n[0] + n[1] + n[2]
			}
			return busy == 0
		})
		if reused, _ := get("/items/1", ""); reused {
			t.Errorf("HTTP/%d: the connection was kept", proto)
		}
		if proto == 1 {
			if _, body := get("/upgrade", "websocket"); body != "" {
				t.Errorf("an upgrade got the header Connection: %s", body)
			}
		}
		srv.Shutdown(t.Context()) // ends the delay
		if err := <-served; err != nil {
			t.Error(err)
		}
		client.CloseIdleConnections()
		if !strings.Contains(log.String(), `msg="observe: ending" requests=0`) || !strings.Contains(log.String(), `msg="observe: all requests have ended" requests=0`) {
			t.Errorf("HTTP/%d: the log says\n%s", proto, &log)
		}
	}
}

func TestServeLogsWhatItWaitsFor(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	var log lines
	tel := start(t, Config{Logger: log.logger(), ShutdownTimeout: 2 * time.Second})
	entered := make(chan struct{}, 2)
	addr := freeAddr(t)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- tel.Serve(ctx, &http.Server{Addr: addr, Handler: tel.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				entered <- struct{}{}
				<-r.Context().Done()
			}
		}))})
	}()
	eventually(t, "serving", func() bool { return status("http://"+addr+"/") == 200 })
	for range 2 {
		go status("http://" + addr + "/slow")
		<-entered
	}
	cancel()
	if err := <-served; err == nil {
		t.Error("Serve says nothing of what it cut off")
	}
	for _, want := range []string{
		`msg="observe: ending" requests=2 busy_connections=2 cause="context canceled" delay=0s timeout=2s`,
		`msg="observe: cutting off requests" requests=2 busy_connections=2 timeout=2s`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %s:\n%s", want, &log)
		}
	}
}
