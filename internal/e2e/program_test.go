package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/loadline-go/loadline/internal/e2e/server"
)

// lanes runs f as a subtest of each of the lanes, which is how run selects one.
func lanes(t *testing.T, f func(t *testing.T, lane server.Lane), in ...server.Lane) {
	for _, lane := range in {
		t.Run(string(lane), func(t *testing.T) { f(t, lane) })
	}
}

var binaries string // where build puts programs

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "loadline-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binaries = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

var buildMu sync.Mutex

// build builds the main package in a folder of the repository and returns the program.
func build(t *testing.T, folder string) string {
	t.Helper()
	buildMu.Lock()
	defer buildMu.Unlock()
	path := filepath.Join(binaries, filepath.Base(folder))
	if _, err := os.Stat(path); err == nil {
		return path
	}
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", path, ".")
	cmd.Dir = filepath.Join(server.Root(t), "..", "..", folder)
	work := "off"
	if strings.HasPrefix(folder, "examples/") {
		work = "" // they are built as users build them, in the repository's go.work
	}
	cmd.Env = append(os.Environ(), "GOWORK="+work)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", folder, err, out)
	}
	return path
}

// subject is a running internal/e2e/subject.
type subject struct {
	*server.Process
	url, admin string
}

func startSubject(t *testing.T, env []string, args ...string) *subject {
	t.Helper()
	s, path := &subject{}, build(t, "internal/e2e/subject")
	s.Process = server.StartOnPorts(t, 2, func(ports []string) server.Command {
		addr, admin := "127.0.0.1:"+ports[0], "127.0.0.1:"+ports[1]
		s.url, s.admin = "http://"+addr, "http://"+admin
		return server.Command{
			Name: "subject", Path: path, Env: env, Health: s.admin + "/livez", Grace: 30 * time.Second,
			Args: append([]string{"-addr", addr, "-admin", admin}, args...),
		}
	})
	waitOK(t, s.url+"/leaf")
	return s
}

// stop ends the subject in its own order and returns what it then says it
// dropped, by "signal reason".
func (s *subject) stop(t *testing.T) map[string]float64 {
	t.Helper()
	s.Stop()
	log := s.Log()
	var end struct{ Dropped map[string]float64 }
	i := strings.LastIndex(log, `{"dropped":`)
	if i < 0 {
		t.Fatalf("subject ended with code %d without its last line:\n%s", s.ExitCode(), log)
	}
	if err := json.NewDecoder(strings.NewReader(log[i:])).Decode(&end); err != nil {
		t.Fatalf("subject: %v in %s", err, log[i:])
	}
	return end.Dropped
}

// dropped is how many spans the subject says, on its scrape, that it dropped.
func (s *subject) dropped(t *testing.T) float64 {
	t.Helper()
	return sumText(t, s.admin+"/metrics", "observe_dropped_total", `signal="traces"`)
}

// sumText adds up the values of a metric's series on a scrape that have all the labels, each as `name="value"`.
func sumText(t *testing.T, url, metric string, labels ...string) (n float64) {
	t.Helper()
	for line := range strings.Lines(fetch(t, url, "text/plain")) {
		matches := strings.HasPrefix(line, metric+"{")
		for _, l := range labels {
			matches = matches && strings.Contains(line, l)
		}
		if matches {
			v, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]), 64)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			n += v
		}
	}
	return n
}

// sum adds up the reasons of one signal.
func sum(dropped map[string]float64, signal string) (n float64) {
	for k, v := range dropped {
		if strings.HasPrefix(k, signal+" ") {
			n += v
		}
	}
	return n
}

func waitOK(t *testing.T, url string) {
	t.Helper()
	server.Eventually(t, 10*time.Second, func() error {
		resp, err := http.Get(url)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", url, resp.Status)
		}
		return nil
	})
}

// fetch returns the body of a 200 answer; accept is sent when it is not empty.
func fetch(t *testing.T, url, accept string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, resp.Status, err)
	}
	return string(body)
}

// measured is what a load saw from outside.
type measured struct {
	n, failed int // failed: no answer, or another status than 200
	took      []time.Duration
}

func (m measured) quantile(q float64) time.Duration {
	return m.took[min(len(m.took)-1, int(q*float64(len(m.took))))]
}

// load sends n requests for url, a %d in which is the request's number, over
// clients connections at no more than rate a second (0: as fast as it goes).
func load(ctx context.Context, url string, n, clients, rate int) measured {
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	numbers := make(chan int)
	var mu sync.Mutex
	var m measured
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for i := range numbers {
				began := time.Now()
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.ReplaceAll(url, "%d", strconv.Itoa(i)), nil)
				ok := false
				if err == nil {
					var resp *http.Response
					if resp, err = client.Do(req); err == nil {
						_, err = io.Copy(io.Discard, resp.Body)
						_ = resp.Body.Close()
						ok = err == nil && resp.StatusCode == http.StatusOK
					}
				}
				took := time.Since(began)
				mu.Lock()
				m.n++
				if !ok {
					m.failed++
				}
				m.took = append(m.took, took)
				mu.Unlock()
			}
		})
	}
	began := time.Now()
	for i := range n {
		if rate > 0 {
			time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(rate))))
		}
		numbers <- i
	}
	close(numbers)
	wg.Wait()
	slices.Sort(m.took)
	return m
}
