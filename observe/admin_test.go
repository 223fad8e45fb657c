package observe

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/loadline-go/loadline/tracing"
)

// ask sends a request to the admin pages as a client on this machine would.
func ask(tel *Telemetry, method, path string, header ...string) *http.Response {
	r := httptest.NewRequest(method, path, nil)
	r.RemoteAddr, r.Host = "127.0.0.1:40000", "localhost:9464"
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		} else if header[i] == "RemoteAddr" {
			r.RemoteAddr = header[i+1]
		} else {
			r.Header.Set(header[i], header[i+1])
		}
	}
	w := httptest.NewRecorder()
	tel.Admin().ServeHTTP(w, r)
	return w.Result()
}

func bodyOf(t testing.TB, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func scrape(t testing.TB, tel *Telemetry, accept string) string {
	t.Helper()
	r := ask(tel, "GET", "/metrics", "Accept", accept)
	if r.StatusCode != 200 {
		t.Fatal(r.Status)
	}
	return bodyOf(t, r)
}

func parse(t testing.TB, body string) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return families
}

func TestScrapeAsText(t *testing.T) {
	tel := start(t, Config{})
	serveOne(tel)
	families := parse(t, scrape(t, tel, "text/plain"))
	for _, name := range []string{"http_server_request_duration_seconds", "go_goroutines", "process_cpu_seconds_total", "observe_build_info"} {
		if families[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestScrapeAsOpenMetricsHasExemplars(t *testing.T) {
	tel := start(t, Config{Tracing: tracing.Config{Exporter: discard{}, Sampler: sdktrace.AlwaysSample()}})
	serveOne(tel)
	r := ask(tel, "GET", "/metrics", "Accept", "application/openmetrics-text;version=1.0.0")
	if got := r.Header.Get("Content-Type"); !strings.HasPrefix(got, "application/openmetrics-text") {
		t.Error(got)
	}
	body := bodyOf(t, r)
	if !strings.HasSuffix(body, "\n# EOF\n") || strings.Count(body, "# EOF") != 1 {
		t.Error("the end is not # EOF")
	}
	exemplar := regexp.MustCompile(`(?m)^http_server_request_duration_seconds_bucket\{.*\} \d+ # \{(trace_id="[0-9a-f]{32}",span_id="[0-9a-f]{16}"|span_id="[0-9a-f]{16}",trace_id="[0-9a-f]{32}")\} \S+ \S+$`)
	if !exemplar.MatchString(body) {
		t.Errorf("no bucket has an exemplar in\n%s", body)
	}
	openMetrics(t, body)
}

// openMetrics checks the rules of the format that the text parser does not
// know: metadata before samples, families in one piece, nothing empty.
func openMetrics(t *testing.T, body string) {
	t.Helper()
	family, seen := "", map[string]bool{}
	for line := range strings.SplitSeq(strings.TrimSuffix(body, "\n"), "\n") {
		switch {
		case line == "# EOF":
		case strings.HasPrefix(line, "# "):
			name := strings.Fields(line)[2]
			if name != family {
				if seen[name] {
					t.Errorf("family %s comes twice", name)
				}
				family, seen[name] = name, true
			}
		case family == "" || !strings.HasPrefix(line, family):
			t.Errorf("sample %q in family %q", line, family)
		}
	}
}

func TestScrapeAsProtobufHasNativeHistogramsBesideClassicBuckets(t *testing.T) {
	tel := start(t, Config{})
	serveOne(tel)
	r := ask(tel, "GET", "/metrics", "Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	decoder := expfmt.NewDecoder(r.Body, expfmt.ResponseFormat(r.Header))
	for {
		var f dto.MetricFamily
		if err := decoder.Decode(&f); err == io.EOF {
			t.Fatal("http_server_request_duration_seconds is missing")
		} else if err != nil {
			t.Fatal(err)
		}
		if f.GetName() != serverDuration.Name {
			continue
		}
		h := f.Metric[0].Histogram
		if h.GetSampleCount() != 1 || len(h.Bucket) != len(requestSeconds) || h.Schema == nil || len(h.PositiveSpan) == 0 {
			t.Errorf("%v", h)
		}
		return
	}
}

func TestScrapeIsCompressedWhenAskedFor(t *testing.T) {
	tel := start(t, Config{})
	r := ask(tel, "GET", "/metrics", "Accept-Encoding", "gzip")
	if got := r.Header.Get("Content-Encoding"); got != "gzip" {
		t.Fatalf("Content-Encoding %q", got)
	}
	plain, err := gzip.NewReader(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(plain)
	if err != nil {
		t.Fatal(err)
	}
	parse(t, string(b))
}

func TestIdleMetricsAreAsRecorded(t *testing.T) {
	tel := start(t, Config{})
	families, err := tel.gatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, f := range families {
		// The runtime's and the collectors' depend on the platform and the Go release.
		if slices.ContainsFunc(own(), func(d Description) bool { return d.Name == f.GetName() }) {
			fmt.Fprintln(&got, f.GetName(), strings.ToLower(f.GetType().String()))
		}
	}
	const path = "testdata/idle_metrics.golden"
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(path, []byte(got.String()), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("run with -update if this is meant; got\n%s\nwant\n%s", got.String(), want)
	}
}

// slow is a collector that waits in the middle of a scrape.
type slow struct{ entered, release chan struct{} }

func (slow) Describe(chan<- *prometheus.Desc) {}
func (s slow) Collect(chan<- prometheus.Metric) {
	s.entered <- struct{}{}
	<-s.release
}

func TestScrapesAtOnceAreBounded(t *testing.T) {
	tel := start(t, Config{})
	s := slow{make(chan struct{}), make(chan struct{})}
	tel.Registry().MustRegister(s)
	var wg sync.WaitGroup
	for range maxScrapes {
		wg.Go(func() {
			if r := ask(tel, "GET", "/metrics"); r.StatusCode != 200 {
				t.Error(r.Status)
			}
		})
		<-s.entered
	}
	if r := ask(tel, "GET", "/metrics"); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one scrape more got %s", r.Status)
	}
	close(s.release)
	wg.Wait()
}

func TestBrokenCollectorDoesNotHideTheRest(t *testing.T) {
	var log lines
	tel := start(t, Config{Logger: log.logger()})
	tel.Registry().MustRegister(broken{})
	for range 2 {
		if body := scrape(t, tel, ""); !strings.Contains(body, "observe_build_info{") {
			t.Error("our own metrics are gone")
		}
	}
	if got := strings.Count(log.String(), "part of a scrape failed"); got != 1 {
		t.Errorf("%d records, want one a minute", got)
	}
}

type broken struct{}

func (broken) Describe(chan<- *prometheus.Desc) {}
func (broken) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(errors.New("broken")), errors.New("broken"))
}

func TestScraperThatHangsIsCutOff(t *testing.T) {
	tel := start(t, Config{})
	deadlines := make(chan time.Time, 1)
	tel.Admin().ServeHTTP(&deadlineWriter{httptest.NewRecorder(), deadlines}, httptest.NewRequest("GET", "/metrics", nil))
	if left := time.Until(<-deadlines); left <= 0 || left > adminWriteTimeout {
		t.Errorf("the deadline for writing is in %v", left)
	}
}

type deadlineWriter struct {
	*httptest.ResponseRecorder
	set chan time.Time
}

func (w *deadlineWriter) SetWriteDeadline(t time.Time) error { w.set <- t; return nil }

func TestInsideOfTheProcessIsShownToThisMachineOnly(t *testing.T) {
	tel := start(t, Config{})
	for _, test := range []struct {
		name   string
		header []string
		want   int
	}{
		{"the same machine", nil, 200},
		{"by IPv4", []string{"Host", "127.0.0.1:9464"}, 200},
		{"by IPv6", []string{"Host", "[::1]:9464", "RemoteAddr", "[::1]:4"}, 200},
		{"by IPv6 on port 80", []string{"Host", "[::1]"}, 200},
		{"in capitals", []string{"Host", "LOCALHOST:9464"}, 200},
		{"mapped", []string{"RemoteAddr", "[::ffff:127.0.0.1]:4"}, 200},
		{"from elsewhere", []string{"RemoteAddr", "10.0.0.7:4"}, 403},
		{"from elsewhere, claiming to be here", []string{"RemoteAddr", "10.0.0.7:4", "X-Forwarded-For", "127.0.0.1"}, 403},
		{"through a proxy here", []string{"X-Forwarded-For", "10.0.0.7"}, 403},
		{"through a proxy here, unnamed", []string{"X-Forwarded-For", ""}, 403},
		{"through a proxy with the standard header", []string{"Forwarded", "for=10.0.0.7"}, 403},
		{"through a proxy with nginx's header", []string{"X-Real-IP", "10.0.0.7"}, 403},
		{"DNS rebinding", []string{"Host", "evil.example:9464"}, 403},
		{"DNS rebinding with a look-alike", []string{"Host", "localhost.evil.example"}, 403},
		{"no host", []string{"Host", ""}, 403},
		{"no peer", []string{"RemoteAddr", "@"}, 403},
		{"an image on another site's page", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, 403},
		{"a link on another site's page", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, 200},
		{"typed", []string{"Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate"}, 200},
	} {
		for _, path := range []string{"/", "/debug/pprof/", "/debug/pprof/goroutine?debug=1"} {
			if r := ask(tel, "GET", path, test.header...); r.StatusCode != test.want {
				t.Errorf("%s: %s: %s, want %d", test.name, path, r.Status, test.want)
			}
		}
		for _, path := range []string{"/metrics", "/livez", "/readyz"} {
			if r := ask(tel, "GET", path, test.header...); r.StatusCode != 200 {
				t.Errorf("%s: %s: %s", test.name, path, r.Status)
			}
		}
	}
}

func TestAdminPages(t *testing.T) {
	tel := start(t, Config{Service: `<script>alert("shop")</script>`})
	for _, test := range []struct {
		method, path string
		want         int
		part         string
	}{
		{"GET", "/", 200, "&lt;script&gt;alert"},
		{"GET", "/", 200, "http_server_request_duration_seconds"},
		{"HEAD", "/livez", 200, ""},
		{"GET", "/livez", 200, "alive"},
		{"GET", "/debug/pprof/", 200, "/debug/pprof/heap"},
		{"GET", "/debug/pprof/heap?debug=1", 200, "heap profile"},
		{"GET", "/debug/pprof/heap?gc=1", 200, "\x1f\x8b"},
		{"GET", "/debug/pprof/heap?seconds=5", 400, "seconds: only for"},
		{"GET", "/debug/pprof/goroutineleak", 0, ""},
		{"GET", "/debug/pprof/cmdline", 200, "observe.test"},
		{"GET", "/debug/pprof/nothing", 404, "no such profile"},
		{"GET", "/debug/pprof/profile?seconds=0", 400, "seconds: want a number above 0 and up to 60"},
		{"GET", "/debug/pprof/profile?seconds=61", 400, "seconds"},
		{"GET", "/debug/pprof/trace?seconds=NaN", 400, "seconds"},
		{"GET", "/debug/pprof/trace?seconds=Inf", 400, "seconds"},
		{"GET", "/nothing", 404, ""},
		{"POST", "/metrics", 405, ""},
		{"GET", "/debug/vars", 404, ""},
	} {
		r := ask(tel, test.method, test.path)
		if test.want == 0 { // as the runtime has it or not
			if r.StatusCode != 403 && r.StatusCode != 404 {
				t.Errorf("%s: %s", test.path, r.Status)
			}
			continue
		}
		if body := bodyOf(t, r); r.StatusCode != test.want || !strings.Contains(body, test.part) {
			t.Errorf("%s %s: %s, %q; want %d, %q", test.method, test.path, r.Status, clip(body, 200), test.want, test.part)
		}
		if r.Header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(r.Header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: headers %v", test.path, r.Header)
		}
	}
}

func TestOneProfileAtATime(t *testing.T) {
	p := &profiles{busy: make(chan struct{}, 1)}
	p.busy <- struct{}{} // one is being taken
	for _, name := range []string{"profile", "trace", "heap"} {
		r := httptest.NewRequest("GET", "/debug/pprof/"+name, nil)
		r.SetPathValue("profile", name)
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" || strings.Count(w.Body.String(), "\n") != 1 {
			t.Errorf("%s: %d %v %q", name, w.Code, w.Header(), w.Body)
		}
	}
}

func TestProfilerInUseElsewhereIsAConflict(t *testing.T) {
	tel := start(t, Config{})
	if err := pprof.StartCPUProfile(io.Discard); err != nil {
		t.Skip(err) // the test itself runs under -cpuprofile
	}
	defer pprof.StopCPUProfile()
	r := ask(tel, "GET", "/debug/pprof/profile?seconds=1")
	if body := bodyOf(t, r); r.StatusCode != http.StatusConflict || strings.Count(body, "\n") != 1 || r.Header.Get("Content-Disposition") != "" {
		t.Errorf("%s %v %q", r.Status, r.Header, body)
	}
}

func TestProfileEndsWhenItsClientGoesAway(t *testing.T) {
	tel := start(t, Config{AdminAddr: "127.0.0.1:0"})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	r, _ := http.NewRequestWithContext(ctx, "GET", "http://"+tel.AdminAddr()+"/debug/pprof/trace?seconds=60", nil)
	if resp, err := http.DefaultTransport.RoundTrip(r); err == nil {
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if r := ask(tel, "GET", "/debug/pprof/threadcreate"); r.StatusCode == 200 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the profiler is still busy")
		}
	}
}

func TestShutdownDoesNotWaitForAProfile(t *testing.T) {
	tel := start(t, Config{AdminAddr: "127.0.0.1:0", ShutdownTimeout: 20 * time.Second})
	type answer struct {
		status string
		size   int64
	}
	got := make(chan answer, 1)
	go func() {
		for { // the question below whether it has begun may be in its way
			r, err := http.Get("http://" + tel.AdminAddr() + "/debug/pprof/profile?seconds=60")
			if err != nil {
				got <- answer{err.Error(), 0}
				return
			}
			n, _ := io.Copy(io.Discard, r.Body)
			r.Body.Close()
			if r.StatusCode != http.StatusTooManyRequests {
				got <- answer{r.Status, n}
				return
			}
		}
	}()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if r := ask(tel, "GET", "/debug/pprof/threadcreate"); r.StatusCode == http.StatusTooManyRequests {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the profile did not begin")
		}
	}
	began := time.Now()
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("took %v", took)
	}
	if a := <-got; a.status != "200 OK" || a.size == 0 {
		t.Errorf("the profile until then was thrown away: %v", a)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestDefaultServeMuxIsUntouched(t *testing.T) {
	// What importing client_golang (expvar) and grpc (x/net/trace) puts there is
	// theirs: nothing of ours may come to it.
	start(t, Config{})
	for _, path := range []string{"/", "/metrics", "/livez", "/readyz", "/debug/pprof/", "/debug/pprof/profile", "/debug/pprof/cmdline"} {
		if _, pattern := http.DefaultServeMux.Handler(httptest.NewRequest("GET", path, nil)); pattern != "" {
			t.Errorf("%s is served by %q", path, pattern)
		}
	}
}
