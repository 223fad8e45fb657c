package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/loadline-go/loadline/internal/e2e/server"
)

// instance starts a subject on an address of its own.
func instance(t *testing.T, addr string, args ...string) *subject {
	t.Helper()
	s, path := &subject{url: "http://" + addr}, build(t, "internal/e2e/subject")
	s.Process = server.StartOnPorts(t, 1, func(ports []string) server.Command {
		admin := "127.0.0.1:" + ports[0]
		s.admin = "http://" + admin
		return server.Command{
			Name: "subject " + addr, Path: path, Health: s.admin + "/livez", Grace: 30 * time.Second,
			Args: append([]string{"-addr", addr, "-admin", admin}, args...),
		}
	})
	waitOK(t, s.url+"/leaf")
	return s
}

// A flow is requests at a steady rate, each over a connection of its own: the
// client has nothing to send again, and no connection that could be stale.
type flow struct {
	stop chan struct{}
	done sync.WaitGroup

	mu     sync.Mutex
	sent   int
	failed []string
}

func startFlow(t *testing.T, url, method string, rate, most int) *flow {
	f := &flow{stop: make(chan struct{})}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	one := func(i int) {
		target := url + "/leaf"
		if i%40 == 0 {
			target += "?do=slow" // 1.2 s: some request is under way whenever something ends
		}
		req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader("body"))
		if err != nil {
			f.fail(err.Error())
			return
		}
		req.GetBody = nil // net/http could not send it again if it wanted to
		resp, err := client.Do(req)
		if err != nil {
			f.fail(err.Error())
			return
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || string(body) != "leaf\n" {
			f.fail(fmt.Sprintf("%s %.200q %v", resp.Status, body, err))
		}
	}
	f.done.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for i := range most {
			select {
			case <-f.stop:
				return
			case <-tick.C:
			}
			f.mu.Lock()
			f.sent++
			f.mu.Unlock()
			f.done.Go(func() { one(i) })
		}
	})
	return f
}

func (f *flow) fail(why string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = append(f.failed, why)
}

// wait waits until n more requests were sent.
func (f *flow) wait(t *testing.T, n int) {
	t.Helper()
	f.mu.Lock()
	want := f.sent + n
	f.mu.Unlock()
	server.Eventually(t, 60*time.Second, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.sent < want {
			return fmt.Errorf("%d of %d requests sent", f.sent, want)
		}
		return nil
	})
}

func (f *flow) end(t *testing.T) {
	t.Helper()
	close(f.stop)
	f.done.Wait()
	t.Logf("%d requests, %d failed", f.sent, len(f.failed))
	for _, why := range f.failed[:min(len(f.failed), 10)] {
		t.Error("a request failed: " + why)
	}
}

// Every instance is replaced while requests come in, and none is lost: by an
// nginx that asks the next instance where one is gone, as it does by default,
// and by one that may not, but is told first which instance leaves.
func TestRollingRestartLosesNoRequest(t *testing.T) {
	lanes(t, func(t *testing.T, _ server.Lane) {
		const rate, most = 150, 30_000
		ends := func(s *subject) {
			s.Stop()
			if code := s.ExitCode(); code != 0 || !strings.Contains(s.Log(), "observe: all requests have ended") {
				t.Errorf("an instance ended with code %d:\n%s", code, s.Log())
			}
		}
		t.Run("in place", func(t *testing.T) {
			addrs := []string{server.LowAddr(t), ""}
			a := instance(t, addrs[0], "-drain", "500ms")
			addrs[1] = server.LowAddr(t)
			instances := []*subject{a, instance(t, addrs[1], "-drain", "500ms")}
			nginx := server.StartNginx(t, "", addrs...)
			f := startFlow(t, nginx.URL, http.MethodGet, rate, most)
			for round := range 2 {
				for i := range instances {
					f.wait(t, rate/2)
					if n := sumText(t, instances[i].admin+"/metrics", "http_server_request_duration_seconds_count", `http_route="/leaf"`); n < 2 {
						t.Errorf("instance %d got %v requests", i, n)
					}
					ends(instances[i])
					f.wait(t, rate/10)
					instances[i] = instance(t, addrs[i], "-drain", "500ms")
				}
				if round == 0 {
					nginx.Reload(t, addrs...)
				}
			}
			f.wait(t, rate/2)
			f.end(t)
		})
		t.Run("without asking another", func(t *testing.T) {
			addrs := []string{server.FreeAddr(t), server.FreeAddr(t)}
			instances := []*subject{instance(t, addrs[0]), instance(t, addrs[1])}
			nginx := server.StartNginx(t, "proxy_next_upstream off;", addrs...)
			f := startFlow(t, nginx.URL, http.MethodPost, rate, most)
			for i := range instances {
				f.wait(t, rate/2)
				addr := server.FreeAddr(t)
				next := instance(t, addr)
				addrs[i] = addr
				nginx.Reload(t, addrs...) // nobody is left who sends to the old one
				ends(instances[i])
				instances[i] = next
			}
			f.wait(t, rate/2)
			f.end(t)
		})
	}, server.Quick)
}

// What is said of connections and requests is what the kernel and nginx say.
func TestServerAgreesWithTheKernelAndNginx(t *testing.T) {
	lanes(t, func(t *testing.T, _ server.Lane) {
		const n = 400
		s := startSubject(t, nil, "-queue-header", "X-Request-Start")
		addr := strings.TrimPrefix(s.url, "http://")
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		label := `server_port="` + port + `"`
		nginx := server.StartNginx(t, `proxy_set_header X-Request-Start "t=${msec}";`, addr)
		http.DefaultClient.CloseIdleConnections()

		ours := func() float64 {
			return sumText(t, s.admin+"/metrics", "http_server_request_duration_seconds_count", `http_route="/leaf"`)
		}
		requests, accepted := ours(), sumText(t, s.admin+"/metrics", "observe_http_server_connections_accepted_total", label)
		theirs := stubRequests(t, nginx)
		if m := load(t.Context(), nginx.URL+"/leaf", n, 8, 0); m.failed != 0 {
			t.Fatalf("%d of %d failed", m.failed, m.n)
		}
		if got := ours() - requests; got != n {
			t.Errorf("%v requests counted, %d sent", got, n)
		}
		if got := stubRequests(t, nginx) - theirs - 1; got != n { // without the question itself
			t.Errorf("nginx counted %d requests, %d sent", got, n)
		}
		if got := sumText(t, s.admin+"/metrics", "observe_http_server_connections_accepted_total", label) - accepted; got < 1 || got > n/2 {
			t.Errorf("%v connections accepted for %d requests over kept connections", got, n)
		}
		if !strings.Contains(fetch(t, s.admin+"/metrics", "text/plain"), fmt.Sprintf("\nobserve_http_server_queue_duration_seconds_count %d\n", n)) {
			t.Errorf("the queue in front of %d requests was not measured", n)
		}

		// Some connections beside those that nginx keeps: silent ones and busy ones.
		for range 5 {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var slow sync.WaitGroup
		defer slow.Wait()
		for range 3 {
			slow.Go(func() { load(ctx, s.url+"/leaf?do=slow", 5, 1, 0) })
		}
		server.Eventually(t, 30*time.Second, func() error {
			kernel := established(t, port)
			var states [3]float64
			for i, state := range []string{"new", "active", "idle"} {
				states[i] = sumText(t, s.admin+"/metrics", "observe_http_server_connections", label, `state="`+state+`"`)
			}
			if sum := states[0] + states[1] + states[2]; sum != float64(kernel) || states[0] != 5 || states[1] != 3 || states[2] < 1 {
				return fmt.Errorf("new, active, idle are %v, the kernel has %d connections", states, kernel)
			}
			return nil
		})
		cancel()
		slow.Wait()
		s.Signal(syscall.SIGTERM)
		<-s.Done()
		if n := established(t, port); n != 0 {
			t.Errorf("%d connections are open after the end", n)
		}
	}, server.Quick)
}

// stubRequests is the number of requests that nginx has served, with this one.
func stubRequests(t *testing.T, n *server.Nginx) (requests int) {
	t.Helper()
	text := fetch(t, n.Stub, "")
	lines := strings.Split(text, "\n")
	var accepts, handled int
	if len(lines) < 3 {
		t.Fatal(text)
	}
	if _, err := fmt.Sscan(lines[2], &accepts, &handled, &requests); err != nil {
		t.Fatal(text, err)
	}
	return requests
}

// established is the number of connections to a port of this machine, from its side.
func established(t *testing.T, port string) (n int) {
	t.Helper()
	var local int
	if _, err := fmt.Sscan(port, &local); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // without IPv6
		}
		for line := range strings.Lines(string(b)) {
			fields := strings.Fields(line)
			if len(fields) > 3 && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", local)) && fields[3] == "01" {
				n++
			}
		}
	}
	return n
}
