package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/loadline-go/loadline/internal/e2e/server"
)

func startLeaky(t *testing.T) *subject {
	t.Helper()
	s, path := &subject{}, build(t, "internal/e2e/leaky")
	s.Process = server.StartOnPorts(t, 2, func(ports []string) server.Command {
		addr, admin := "127.0.0.1:"+ports[0], "127.0.0.1:"+ports[1]
		s.url, s.admin = "http://"+addr, "http://"+admin
		return server.Command{
			// Collections often, or 20 of them would be a long test.
			Name: "leaky", Path: path, Env: []string{"GOGC=10", "TMPDIR=" + t.TempDir()}, Health: s.admin + "/livez", Grace: 30 * time.Second,
			Args: []string{"-addr", addr, "-admin", admin},
		}
	})
	waitOK(t, s.url+"/sound")
	return s
}

// leaks is what /debug/leaks says as JSON.
type leaks struct {
	Windows  int
	Suspects []struct {
		Kind, Group, State, Stack string
		Site, Creator             struct {
			Function, File string
			Line           int
		}
		Count   int
		PerHour float64 `json:"per_hour"`
	}
	Unknown []string
}

func leaksOf(t *testing.T, s *subject) (l leaks) {
	t.Helper()
	if err := json.Unmarshal([]byte(fetch(t, s.admin+"/debug/leaks", "application/json")), &l); err != nil {
		t.Fatal(err)
	}
	return l
}

// lineOf finds the line of leaky's source that says so.
func lineOf(t *testing.T, says string) int {
	t.Helper()
	for i, line := range strings.Split(source(t), "\n") {
		if strings.Contains(line, says) {
			return i + 1
		}
	}
	t.Fatalf("leaky has no line %q", says)
	return 0
}

// Under load a service leaks goroutines, heap, files and connections: the
// scraped metric, the alerts' expressions and the page tell each of them, with
// its place. The same service that gives back what it takes is not suspected,
// in as many windows.
func TestLeaksOfARunningServiceAreFound(t *testing.T) {
	lanes(t, func(t *testing.T, lane server.Lane) {
		sick, sound := startLeaky(t), startLeaky(t)
		hook := server.StartWebhook(t)
		var rules []string
		for _, file := range ruleFiles(t) {
			rules = append(rules, compressed(t, file))
		}
		prometheus := server.StartPrometheus(t, lane, server.PrometheusConfig{Targets: map[string]string{
			"sick": strings.TrimPrefix(sick.admin, "http://"), "sound": strings.TrimPrefix(sound.admin, "http://"),
		}, Rules: rules, Alertmanager: server.StartAlertmanager(t, lane, hook).Addr})
		ctx, stop := context.WithTimeout(t.Context(), 8*time.Minute)
		var loads sync.WaitGroup
		defer loads.Wait()
		defer stop()
		send := func(url string, rate int) {
			for second := 0; ctx.Err() == nil; second++ {
				load(ctx, fmt.Sprintf(url, second), rate, 1, rate)
			}
		}
		for _, path := range []string{"/goroutine?%d", "/heap?%d-%%d", "/file?%d", "/hijack?%d"} {
			loads.Go(func() { send(sick.url+path, 10) })
		}
		loads.Go(func() { send(sound.url+"/sound?%d", 40) })

		want := []string{"goroutine", "heap", "file", "close_wait"}
		server.Eventually(t, 4*time.Minute, func() error {
			found := prometheus.By(t, "kind", `observe_leak_suspects{job="sick"}`)
			for _, kind := range want {
				if found[kind] == 0 {
					return fmt.Errorf("no suspect of kind %s: %v\n%s", kind, found, fetch(t, sick.admin+"/debug/leaks", ""))
				}
			}
			return nil
		})

		t.Logf("all are suspected in window %d", leaksOf(t, sick).Windows)
		at := map[string]bool{}
		for _, s := range leaksOf(t, sick).Suspects {
			place := fmt.Sprintf("%s %s:%d by %s", s.Site.Function, filepath.Base(s.Site.File), s.Site.Line, s.Creator.Function)
			at[strings.TrimSpace(strings.Join([]string{s.Kind, place, s.Group, s.State}, " | "))] = true
			if s.Count < 5 && s.Kind != "heap" || s.PerHour < 100 {
				t.Errorf("%s: %d, %v more an hour", s.Kind, s.Count, s.PerHour)
			}
		}
		for _, expr := range []string{
			fmt.Sprintf(`^goroutine \| main\.compute main\.go:%d by main\.\(\*service\)\.goroutine \| `, lineOf(t, "// where they are stuck")),
			fmt.Sprintf(`^heap \| main\.\(\*service\)\.remember main\.go:%d by `, lineOf(t, "// what is never freed")),
			`^file \|.* \| deleted$`,
			`^close_wait \|.*\| accepted on port ` + sick.url[strings.LastIndexByte(sick.url, ':')+1:] + ` by Serve \(of its connections \d+ new, \d+ active, \d+ idle, [1-9]\d* hijacked\) \| CLOSE_WAIT$`,
		} {
			matched := false
			for s := range at {
				matched = matched || regexp.MustCompile(expr).MatchString(s)
			}
			if !matched {
				t.Errorf("nothing matches %s in %v", expr, at)
			}
		}
		sites := prometheus.By(t, "site", `observe_leaked_goroutines{job="sick"}`)
		site := fmt.Sprintf("main.(*service).goroutine (main.go:%d)", lineOf(t, "go compute(answer)"))
		if sites[site] < 5 {
			t.Errorf("leaked goroutines by site: %v, want %s", sites, site)
		}
		if log := sick.Log(); !strings.Contains(log, "observe: leak suspected") || !strings.Contains(log, "main.compute") {
			t.Errorf("logged %s", log)
		}

		// Each reaches whoever is on call, with its place where the alert knows it.
		server.Eventually(t, time.Minute, func() error {
			for _, want := range []illness{
				{program: "sick", alert: "GoGoroutineLeak", labels: map[string]string{"site": site, "severity": "warning", "category": "leak"}},
				{program: "sick", alert: "GoHeapLeak", labels: map[string]string{"kind": "heap"}},
				{program: "sick", alert: "FileDescriptorLeak", labels: map[string]string{"kind": "file"}},
				{program: "sick", alert: "SocketsInCloseWait", labels: map[string]string{"kind": "close_wait"}},
			} {
				if !slices.ContainsFunc(hook.Alerts(), want.raised) {
					return fmt.Errorf("%s is not at the webhook: %v", want.alert, hook.Alerts())
				}
			}
			return nil
		})

		// The sound one has been looked at as often, and never suspected.
		server.Eventually(t, 2*time.Minute, func() error {
			if n := leaksOf(t, sound).Windows; n < 60 {
				return fmt.Errorf("%d windows", n)
			}
			if len(prometheus.Query(t, `count_over_time(observe_leak_suspects{job="sound", kind="goroutine"}[10m]) > 10`)) == 0 {
				return errors.New("not scraped often enough")
			}
			return nil
		})
		for _, s := range prometheus.Query(t, `max_over_time(observe_leak_suspects{job="sound"}[10m]) > 0`) {
			t.Errorf("the sound service was suspected: %v\n%s\n%s", s.Labels, fetch(t, sound.admin+"/debug/leaks", ""), sound.Log())
		}
		for _, a := range hook.Alerts() {
			if a.Labels["job"] == "sound" && a.Labels["category"] == "leak" {
				t.Errorf("an alert for the sound service: %v %v", a.Labels, a.Annotations)
			}
		}
		if l := leaksOf(t, sound); len(l.Suspects) > 0 {
			t.Errorf("the sound service is suspected: %+v", l.Suspects)
		}
	}, server.Quick, server.Full)
}

func source(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(server.Root(t), "leaky", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
