package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loadline-go/loadline/leakcheck"
)

func TestMain(m *testing.M) {
	if ok, status := role(); ok { // the service of a program, or its neighbour
		os.Exit(status)
	}
	leakcheck.VerifyMain(m)
}

// causes are all that the doctor may name.
var causes = strings.Fields(`cpu-saturated cpu-burner cpu-throttled noisy-neighbour gomaxprocs-wrong gc-allocation
	gc-memory-limit gc-forced stop-the-world lock-contention lock-held-io backpressure blocking-syscalls disk-stall
	logging-lock timer-storm pool-exhausted database-slow slow-query n-plus-one dependency-slow dependency-failing
	retry-storm connection-churn cache-collapse queue-growing queue-stalled traffic-surge slow-route route-failing panic-loop
	goroutine-leak heap-leak descriptor-leak connection-leak memory-near-limit slow-clients telemetry-loss`)

func TestTableIsWellFormed(t *testing.T) {
	name := regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	seen := map[string]bool{}
	expected := map[string]bool{}
	sick, healthy := 0, 0
	for _, p := range programs {
		if !name.MatchString(p.name) || seen[p.name] {
			t.Errorf("name %q is no name or there twice", p.name)
		}
		seen[p.name] = true
		if !strings.HasSuffix(p.what, ".") || p.seen == "" || strings.HasSuffix(p.seen, ".") {
			t.Errorf("%s: what is a sentence, seen is none: %q, %q", p.name, p.what, p.seen)
		}
		if p.service == nil && p.world == nil {
			t.Errorf("%s does nothing", p.name)
		}
		if p.limited && p.cannot == nil {
			t.Errorf("%s wants a cgroup and does not say when there is none", p.name)
		}
		for _, c := range p.causes {
			if !slices.Contains(causes, c) {
				t.Errorf("%s: there is no cause %q", p.name, c)
			}
			expected[c] = true
		}
		if p.healthy() {
			healthy++
			if len(p.subjects) > 0 {
				t.Errorf("%s is healthy and has a subject", p.name)
			}
		} else {
			sick++
		}
	}
	if sick < 24 || healthy < 10 {
		t.Errorf("%d sick and %d healthy programs, want 24 and 10 at least", sick, healthy)
	}
	for _, c := range causes {
		if !expected[c] {
			t.Errorf("no program has cause %q", c)
		}
	}
	for _, name := range pairable {
		if p, err := lookup(name); err != nil || p.healthy() {
			t.Errorf("%s cannot be one of a pair", name)
		}
	}
}

// Each program works as it says: nothing happens before its time, then it does,
// then it stops, and nothing is left of it.
func TestProgramsAreIllWhenTheyAreToldTo(t *testing.T) {
	for i := range programs {
		p := &programs[i]
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			if p.cannot != nil {
				if why := p.cannot(); why != "" {
					t.Skip("cannot run here: ", why)
				}
			}
			w, err := newWorld(1, true)
			if err != nil {
				t.Fatal(err)
			}
			closed := false
			defer func() {
				if !closed {
					w.close()
				}
			}()
			begin, end, err := w.open(options{interval: 2 * time.Second, rate: 40}, p)
			if err != nil {
				t.Fatal(err)
			}
			dir, limits := w.child.dir, w.cgroup
			w.await(t, "an answered request", func() bool { return w.answered() > 3 })
			if n := w.happened(t); n != 0 {
				t.Fatalf("it happened %d times before its begin", n)
			}
			if err := begin(); err != nil {
				t.Fatal(err)
			}
			w.await(t, "an effect", func() bool { return w.happened(t) > 0 })
			if err := end(); err != nil {
				t.Fatal(err)
			}
			// What was under way may still count.
			last, at := int64(-1), 0
			w.await(t, "an end of the effects", func() bool {
				if w.answered() < at+5 {
					return false
				}
				n := w.happened(t)
				quiet := n == last
				last, at = n, w.answered()
				return quiet
			})
			if err := w.failed(); err != nil {
				t.Error(err)
			}
			closed = true
			if err := w.close(); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Errorf("the service's folder %s is still there: %v", dir, err)
			}
			if limits != nil {
				for _, dir := range limits.dirs {
					if _, err := os.Stat(dir); !os.IsNotExist(err) {
						t.Errorf("the cgroup %s is still there: %v", dir, err)
					}
				}
			}
		})
	}
}

// The doctor's page has what the score reads: here of a queue that stands still,
// which any interval shows, however busy the machine is.
func TestReportIsRead(t *testing.T) {
	p, err := lookup("queue-stalled")
	if err != nil {
		t.Fatal(err)
	}
	w, err := newWorld(1, true)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	begin, _, err := w.open(options{interval: time.Second, rate: 40}, p)
	if err != nil {
		t.Fatal(err)
	}
	var r *report
	read := func() *report {
		var err error
		if r, err = w.child.report(t.Context()); err != nil {
			t.Fatal(err)
		}
		return r
	}
	w.await(t, "a first report", func() bool { return read().Interval > 0 })
	if err := begin(); err != nil {
		t.Fatal(err)
	}
	at := -1
	w.await(t, "a finding", func() bool {
		at = slices.IndexFunc(read().Findings, p.causeIs)
		return at >= 0
	})
	if f := r.Findings[at]; !p.subjectIs(f) || f.Level == "" || f.Summary == "" || r.Time.IsZero() {
		t.Errorf("the report is not read whole: %+v", r)
	}
}

func (w *world) happened(t *testing.T) int64 {
	t.Helper()
	n, err := w.child.did()
	if err != nil {
		t.Fatal(err)
	}
	return n + w.acts()
}

func (w *world) answered() int {
	w.load.mu.Lock()
	defer w.load.mu.Unlock()
	return w.load.stats.count
}

func (w *world) await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(90 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 90 s: %s; the service says: %s", what, w.child.stderr())
		}
	}
}

func TestListTellsOfEveryProgram(t *testing.T) {
	var out bytes.Buffer
	if status := run(t.Context(), []string{"-list"}, &out, io.Discard); status != 0 {
		t.Errorf("exit status %d", status)
	}
	for _, p := range programs {
		if !strings.Contains(out.String(), p.name+" ") || !strings.Contains(out.String(), p.expected()) {
			t.Errorf("%s is missing, or what is expected of it", p.name)
		}
	}
}

func TestBadFlagsAreOneLine(t *testing.T) {
	for _, args := range []string{"", "-list -score", "-run nothing", "-score -interval 1ms", "-score -runs 0", "-run idle -during 0", "-score -only (", "-nope", "-list idle"} {
		t.Run(args, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if status := run(t.Context(), strings.Fields(args), &stdout, &stderr); status != 2 {
				t.Errorf("exit status %d, want 2", status)
			}
			if got := stderr.String(); strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, "bottlenecks: ") {
				t.Errorf("want one line:\n%s", got)
			}
			if stdout.Len() > 0 {
				t.Errorf("standard output:\n%s", stdout.String())
			}
		})
	}
}

// The end of the context ends everything, in the middle of a course.
func TestRunEndsWithItsContext(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out bytes.Buffer
	status := make(chan int, 1)
	go func() { status <- run(ctx, []string{"-run", "idle", "-interval", "1h"}, &out, io.Discard) }()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if found, _ := filepath.Glob(filepath.Join(os.TempDir(), "bottlenecks-*", "stderr")); len(found) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no service within a minute")
		}
	}
	cancel()
	select {
	case <-status:
	case <-time.After(90 * time.Second):
		t.Fatal("it did not end")
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "bottlenecks-*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// readings are reports at the ends of intervals of a second each, of an illness
// from 10 to 16.
func readings(words ...string) *course {
	start := time.Unix(1000, 0)
	c := &course{interval: time.Second, begun: start.Add(10 * time.Second), end: start.Add(16 * time.Second)}
	for i, word := range words {
		at := c.begun.Add(time.Duration(i)*time.Second + 500*time.Millisecond)
		r := report{Time: at, Verdict: "healthy"}
		for _, f := range strings.Split(word, "+") {
			if level, rest, ok := strings.Cut(f, ":"); ok {
				cause, subject, _ := strings.Cut(rest, "=")
				r.Verdict = "sick"
				r.Findings = append(r.Findings, finding{Cause: cause, Subject: subject, Level: level})
			}
		}
		c.readings = append(c.readings, reading{r, c.phaseAt(at)})
	}
	return c
}

func TestJudgement(t *testing.T) {
	slow := &program{name: "slow", causes: []string{"slow-route"}, subjects: []string{"/report"}}
	well := &program{name: "well"}
	for _, c := range []struct {
		name    string
		program *program
		words   string
		want    judgement
	}{
		{"right at once", slow, "page:slow-route=/report page:slow-route=/report page:slow-route=/report page:slow-route=/report page:slow-route=/report page:slow-route=/report - - -",
			judgement{cause: true, subject: true, detected: 1, cleared: 1}},
		{"late and long", slow, "- - - page:slow-route=/report page:slow-route=/report page:slow-route=/report page:slow-route=/report - -",
			judgement{cause: true, subject: true, detected: 4, cleared: 2}},
		{"wrong subject", slow, "- page:slow-route=/light page:slow-route=/light page:slow-route=/light page:slow-route=/light - - -",
			judgement{cause: true, detected: 2, cleared: 1}},
		{"not first", slow, "- page:cpu-burner+page:slow-route=/report page:cpu-burner+page:slow-route=/report page:cpu-burner page:cpu-burner page:cpu-burner - - -",
			judgement{cleared: 1}},
		{"never", slow, "- - - - - - - -", judgement{cleared: 1}},
		{"comes again", slow, "- page:slow-route=/report page:slow-route=/report page:slow-route=/report page:slow-route=/report page:slow-route=/report - page:slow-route=/report - -",
			judgement{cause: true, subject: true, detected: 2, cleared: 3}},
		{"a page for nothing", well, "- info:timer-storm ticket:cpu-burner page:cpu-burner - -", judgement{pages: 1, cleared: 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := judge(readings(strings.Fields(c.words)...), c.program)
			if got.cause != c.want.cause || got.subject != c.want.subject || got.detected != c.want.detected || got.cleared != c.want.cleared || got.pages != c.want.pages {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestJudgementOfPairs(t *testing.T) {
	a := &program{causes: []string{"slow-route"}, subjects: []string{"/report"}}
	b := &program{causes: []string{"panic-loop"}, subjects: []string{"/search"}}
	both, one := "page:panic-loop=/search+ticket:slow-route=/report", "page:panic-loop=/search+page:slow-route=/search"
	for words, want := range map[string]bool{
		"- - " + both + " " + both + " " + both + " " + one: true,
		"- - " + both + " " + one + " " + one + " " + one:   false,
		"- - - - - -": false,
	} {
		if got, said := judgePair(readings(strings.Fields(words)...), a, b); got != want {
			t.Errorf("%s: named %v, said %q", words, got, said)
		}
	}
}
