package observe

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loadline-go/loadline/observe/doctor"
)

// diagnosed is a report of one finding, or of none.
func diagnosed(tel *Telemetry, interval int, findings ...doctor.Finding) *doctor.Report {
	return &doctor.Report{Time: tel.started.Add(time.Duration(interval) * 10 * time.Second), Interval: 10 * time.Second, Verdict: doctor.Sick, Findings: findings}
}

func TestAFindingBeginsAndEndsWithTwoIntervals(t *testing.T) {
	out := &lines{}
	tel := start(t, Config{Logger: slog.New(slog.NewTextHandler(out, nil))})
	f := doctor.Finding{Cause: "dependency-slow", Subject: "payments:443", Level: doctor.Page, Share: .5, Confidence: .6, Summary: "payments is slow",
		Proof: []doctor.Proof{{Metric: "m", Value: 2, Threshold: 1, Text: "2 s a call"}}, Next: "curl ADMIN/debug/traces"}
	active := func() string {
		var all []string
		for _, m := range family(t, tel, "observe_finding_active") {
			if m.GetGauge().GetValue() == 1 {
				var labels []string
				for _, l := range m.GetLabel() {
					labels = append(labels, l.GetValue())
				}
				all = append(all, strings.Join(labels, " "))
			}
		}
		return strings.Join(all, ", ")
	}
	const on = "dependency-slow page payments:443"
	for i, step := range []struct {
		there bool
		want  string
	}{
		{false, ""}, {true, ""}, {false, ""}, {false, ""}, {true, ""}, {false, ""}, {true, on}, // two of three
		{true, on}, {false, on}, {true, on}, {false, on}, {false, ""}, {true, ""}, {true, on},
	} {
		r := diagnosed(tel, i)
		if step.there {
			r = diagnosed(tel, i, f)
		}
		if paging := tel.diagnoses.found.update(r); active() != step.want || paging != (step.want != "") {
			t.Fatalf("interval %d: %q is active (%t), want %q", i, active(), paging, step.want)
		}
	}
	var told []string
	for line := range strings.Lines(out.String()) {
		if strings.Contains(line, "diagnosis") {
			told = append(told, line)
		}
	}
	if len(told) != 3 || !strings.Contains(told[0], `proof="2 s a call"`) || !strings.Contains(told[0], `subject=payments:443 level=page share=0.5`) || !strings.Contains(told[1], "duration=1m20s") {
		t.Errorf("%q", told)
	}
	// A level that changes tells the old one as 0, and so does the end.
	f.Level = doctor.Ticket
	tel.diagnoses.found.update(diagnosed(tel, 20, f))
	if got := active(); got != "dependency-slow ticket payments:443" {
		t.Errorf("%q is active", got)
	}
	tel.diagnoses.found.update(diagnosed(tel, 21))
	tel.diagnoses.found.update(diagnosed(tel, 22))
	wantValues(t, tel, "observe_finding_share", map[string]float64{"dependency-slow payments:443": 0})
	if n := len(family(t, tel, "observe_finding_active")); n != 2 || active() != "" {
		t.Errorf("%d series, %q is active", n, active())
	}
	for i := range tellEnded + 1 {
		tel.diagnoses.found.update(diagnosed(tel, 23+i))
	}
	wantValues(t, tel, "observe_finding_share", map[string]float64{})
	if len(tel.diagnoses.found.all) != 0 {
		t.Error("an ended finding is kept for ever")
	}
}

// What was good to know and has become an alarm is told again, and not each time.
func TestAFindingThatGetsWorseIsLoggedAgain(t *testing.T) {
	out := &lines{}
	tel := start(t, Config{Logger: slog.New(slog.NewTextHandler(out, nil))})
	for i, level := range []doctor.Level{doctor.Info, doctor.Info, doctor.Page, doctor.Ticket, doctor.Page} {
		tel.diagnoses.found.update(diagnosed(tel, i, doctor.Finding{Cause: "pool-exhausted", Subject: "orders", Level: level, Confidence: .6}))
	}
	var levels []string
	for line := range strings.Lines(out.String()) {
		if _, rest, ok := strings.Cut(line, "msg=\"observe: diagnosis\""); ok {
			_, rest, _ = strings.Cut(rest, " level=")
			level, _, _ := strings.Cut(rest, " ")
			levels = append(levels, level)
		}
	}
	if want := []string{"info", "page"}; !slices.Equal(levels, want) {
		t.Errorf("told %q, want %q: %s", levels, want, out)
	}
}

// Which line of a function most wait at changes from interval to interval.
func TestAFindingIsTheSameAtEachLineOfItsFunction(t *testing.T) {
	tel := start(t, Config{})
	for i, line := range []int{146, 150, 146, 152} {
		f := doctor.Finding{Cause: "lock-contention", Subject: fmt.Sprintf("main.(*ledger).post (locks.go:%d)", line), Level: doctor.Page, Confidence: .8, Share: .5}
		r := diagnosed(tel, i, f)
		tel.diagnoses.found.update(r)
		tel.diagnoses.report, tel.diagnoses.states = *r, tel.diagnoses.found.list()
	}
	wantValues(t, tel, "observe_finding_active", map[string]float64{"lock-contention page main.(*ledger).post (locks.go:146)": 1})
	var told struct {
		Findings []struct {
			Subject string
			Active  bool
		}
	}
	text, err := tel.diagnoses.json()
	if err != nil || json.Unmarshal(text, &told) != nil || len(told.Findings) != 1 || told.Findings[0].Subject != "main.(*ledger).post (locks.go:152)" || !told.Findings[0].Active {
		t.Errorf("%v: %s", err, text)
	}
}

func TestACertainFindingCountsAtOnce(t *testing.T) {
	tel := start(t, Config{})
	f := doctor.Finding{Cause: "panic-loop", Subject: "GET /", Level: doctor.Page, Confidence: .95}
	if !tel.diagnoses.found.update(diagnosed(tel, 1, f)) {
		t.Error("it does not")
	}
	f = doctor.Finding{Cause: "good-to-know", Level: doctor.Info, Confidence: .95}
	tel.diagnoses.found.update(diagnosed(tel, 2))
	tel.diagnoses.found.update(diagnosed(tel, 3))
	if tel.diagnoses.found.update(diagnosed(tel, 4, f)) {
		t.Error("what is good to know wakes somebody")
	}
}

// Subjects come from clients and from servers: they may be anything, and many.
func TestFindingsAreBoundedAndMended(t *testing.T) {
	tel := start(t, Config{})
	var all []doctor.Finding
	for i := range 1000 {
		all = append(all, doctor.Finding{Cause: "slow-route", Subject: fmt.Sprintf("GET /%d\xff\n\x1b[31m%s", i%600, strings.Repeat("x", 300)), Level: doctor.Ticket, Confidence: 1, Share: .1})
	}
	all = append(all, all[0])
	for i := range 3 {
		tel.diagnoses.found.update(diagnosed(tel, i, all...))
	}
	if n := len(family(t, tel, "observe_finding_active")); n == 0 || n > maxFindings {
		t.Errorf("%d series", n)
	}
	tel.diagnoses.report, tel.diagnoses.states = *diagnosed(tel, 3, all...), tel.diagnoses.found.list()
	var page strings.Builder
	tel.diagnoses.write(&page)
	if strings.ContainsAny(page.String(), "\x1b") {
		t.Error("the page moves the terminal's cursor")
	}
	var told struct{ Findings []map[string]any }
	if text, err := tel.diagnoses.json(); err != nil || json.Unmarshal(text, &told) != nil || len(told.Findings) != len(all) {
		t.Errorf("%d findings, %v", len(told.Findings), err)
	}
}

// get asks an admin page of this process.
func getPage(t *testing.T, tel *Telemetry, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest("GET", "http://localhost"+path, nil)
	r.RemoteAddr = "127.0.0.1:1234"
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	tel.Admin().ServeHTTP(w, r)
	return w
}

func TestTheDoctorDiagnosesEachInterval(t *testing.T) {
	inBubble(t, Config{DiagnoseEvery: 10 * time.Second}, func(t *testing.T, tel *Telemetry) {
		if w := getPage(t, tel, "/debug/doctor"); w.Code != 200 || !strings.HasPrefix(w.Body.String(), "unknown: the first interval has not ended yet") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		slow := held[time.Duration]{v: 10 * time.Millisecond}
		h := tel.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			tel.Call(r.Context(), "payments", "pay", func(context.Context) error { time.Sleep(slow.get()); return nil })
		}))
		serve := func(intervals int) {
			for end := time.Now().Add(time.Duration(intervals) * 10 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				go h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
			}
		}
		serve(6)
		e := tel.diagnoses.evidence()
		if e.Now.Interval != 10*time.Second || !near(e.Now.Routes[0].Requests, 100, 2) || e.Usual.Interval < 20*time.Second || e.Usual.Interval > 50*time.Second {
			t.Errorf("%v with %v requests, usually %v", e.Now.Interval, e.Now.Routes[0].Requests, e.Usual.Interval)
		}
		usual := e.Usual.Interval
		slow.set(time.Second)
		serve(3)
		r, err := tel.Diagnose(t.Context(), 0)
		if err != nil || r.Verdict != doctor.Sick || len(r.Findings) == 0 || r.Findings[0].Cause != "dependency-slow" || r.Findings[0].Subject != "payments" || r.Findings[0].Level != doctor.Page {
			t.Fatalf("%v\n%v", err, r)
		}
		if v := values(t, tel, "observe_finding_active")["dependency-slow page payments"]; v != 1 {
			t.Errorf("active is %v", v)
		}
		text := getPage(t, tel, "/debug/doctor").Body.String()
		if !strings.HasPrefix(text, "sick: ") || !strings.Contains(text, "\nactive\n   dependency-slow payments [page] since ") {
			t.Error(text)
		}
		var page struct {
			Verdict  string
			Findings []struct {
				Cause, Subject, Level string
				Active                bool
				Since                 time.Time
				Share                 float64
			}
		}
		for _, w := range []*httptest.ResponseRecorder{getPage(t, tel, "/debug/doctor?format=json"), getPage(t, tel, "/debug/doctor", "Accept", "application/json")} {
			if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Header().Get("Content-Type") != "application/json" {
				t.Fatalf("%v: %s", err, w.Body)
			}
		}
		if f := page.Findings; page.Verdict != "sick" || len(f) == 0 || !f[0].Active || f[0].Level != "page" || f[0].Since.IsZero() || f[0].Share <= 0 {
			t.Errorf("%+v", page)
		}
		var evidence struct{ Now, Usual map[string]any }
		if err := json.Unmarshal(getPage(t, tel, "/debug/doctor?format=evidence").Body.Bytes(), &evidence); err != nil || evidence.Now["Interval"] != 10. || len(evidence.Now["Routes"].([]any)) != 1 {
			t.Errorf("%v: %v", err, evidence.Now["Interval"])
		}
		if w := getPage(t, tel, "/debug/doctor?format=xml"); w.Code != http.StatusBadRequest {
			t.Errorf("format=xml: %d", w.Code)
		}
		for part, least := range map[string]float64{"payments": 20, "other": 0} { // 200 requests of a second and some more
			if got := routeTimeOf(t, tel, part); got < least || got > 400 {
				t.Errorf("%v s of %s", got, part)
			}
		}
		slow.set(10 * time.Millisecond)
		still := false
		time.Sleep(5 * time.Second) // not while the doctor looks
		for range 4 {               // in the first of them some requests were still slow
			serve(1)
			var console struct {
				Report struct {
					Findings []struct{ Cause doctor.Cause }
				}
				Still []struct{ Cause doctor.Cause }
			}
			if err := json.Unmarshal(getPage(t, tel, "/debug/console/data").Body.Bytes(), &console); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(getPage(t, tel, "/debug/doctor?format=json").Body.Bytes(), &page); err != nil {
				t.Fatal(err)
			}
			for _, f := range console.Still {
				still = still || f.Cause == "dependency-slow"
			}
			if n := len(console.Report.Findings) + len(console.Still); n != len(page.Findings) {
				t.Errorf("the console tells %d findings, the doctor %d", n, len(page.Findings))
			}
		}
		if !still {
			t.Error("the console lets a finding go that counts until it was missing twice")
		}
		if v, told := values(t, tel, "observe_finding_active")["dependency-slow page payments"]; v != 0 || !told {
			t.Errorf("active is %v, told: %t", v, told)
		}
		if e := tel.diagnoses.evidence(); e.Usual.Interval > usual+30*time.Second || e.Usual.Routes[0].Seconds/e.Usual.Routes[0].Requests > .02 {
			t.Errorf("a fault became usual: %v s in %v requests", e.Usual.Routes[0].Seconds, e.Usual.Routes[0].Requests)
		}
	})
}

func routeTimeOf(t *testing.T, tel *Telemetry, part string) (sum float64) {
	t.Helper()
	for _, m := range family(t, tel, "observe_route_time_seconds_total") {
		for _, l := range m.GetLabel() {
			if l.GetName() == "part" && l.GetValue() == part {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

func TestDiagnoseLooksAtTheTimeItIsGiven(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, tel *Telemetry) { // without the doctor's own intervals
		h := tel.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(50 * time.Millisecond) }))
		stop := make(chan struct{})
		go func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(100 * time.Millisecond):
					go h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
				}
			}
		}()
		defer time.Sleep(time.Second)
		defer close(stop)
		r, err := tel.Diagnose(t.Context(), 20*time.Second)
		if err != nil || r.Interval != 20*time.Second || r.Verdict == doctor.Unknown || len(r.Split) != 1 || !near(r.Split[0].Total, .5, .05) {
			t.Errorf("%v\n%v", err, r)
		}
		if r, err := tel.Diagnose(t.Context(), 0); err != nil || r.Verdict != doctor.Unknown || !strings.Contains(r.Reason, "off") {
			t.Errorf("%v\n%v", err, r)
		}
		for _, d := range []time.Duration{-1, time.Millisecond, 2 * time.Hour} {
			if _, err := tel.Diagnose(t.Context(), d); err == nil || !strings.Contains(err.Error(), "is not from 1s to 1h") {
				t.Errorf("%v: %v", d, err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := tel.Diagnose(ctx, time.Minute); err == nil || !strings.Contains(err.Error(), "context deadline exceeded") {
			t.Error(err)
		}
	})
	var none *Telemetry
	if r, err := none.Diagnose(context.Background(), time.Hour); err != nil || r.Verdict != doctor.Unknown || r.Reason != "nothing is observed" {
		t.Errorf("%v\n%v", err, r)
	}
}
