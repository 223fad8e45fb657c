package observe

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/loadline-go/loadline/observe/console"
	"github.com/loadline-go/loadline/runtimemetrics"
)

// consoleData is what the page is told.
type consoleData struct {
	State struct {
		NoCPU  string `json:"no_cpu"`
		SLOs   []console.SLO
		Inside map[string][]console.Inside
	}
	Total struct {
		C, E, S float64
		U       *float64
	}
	Routes []struct {
		N       string
		C, E, S float64
		U       *float64
		P       []float64
		D       map[string]float64
	}
	Report struct{ Verdict string }
	Groups map[string][]struct {
		N string
		V map[string][]*float64
	}
}

func readConsole(t *testing.T, tel *Telemetry) (d consoleData) {
	t.Helper()
	r := ask(tel, "GET", "/debug/console/data?range=900")
	if err := json.NewDecoder(r.Body).Decode(&d); r.StatusCode != 200 || err != nil {
		t.Fatalf("%s: %v", r.Status, err)
	}
	return d
}

// feedConsole does what the sampler does at each of its intervals.
func feedConsole(tel *Telemetry, now time.Time) {
	tel.feed.sample(runtimemetrics.Delta{Time: now, Interval: 5 * time.Second})
}

// The cells of both packages are the same.
func TestConsoleKnowsTheHistogram(t *testing.T) {
	if console.FirstOctave != secondsScale.low || console.PerOctave != perOctave || console.Cells != 1+(secondsScale.high-secondsScale.low)*perOctave {
		t.Error("console.Cells are not those of secondsScale")
	}
}

// The figures on the page are those of a scrape at the same moment: counts,
// errors and seconds the same, quantiles in the same classic bucket.
func TestConsoleAgreesWithAScrape(t *testing.T) {
	tel := start(t, Config{Interval: time.Hour}) // the test takes the samples
	mux := http.NewServeMux()
	mux.HandleFunc("GET /fast/{id}", func(w http.ResponseWriter, r *http.Request) {})
	mux.HandleFunc("/both", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
		if rand.IntN(5) == 0 {
			w.WriteHeader(503)
		}
	})
	h := tel.Handler(mux)
	now := time.Now()
	for range 3 {
		for range 50 {
			do(h, "GET", "/fast/1")
			do(h, "GET", "/both")
			do(h, "POST", "/both")
		}
		now = now.Add(5 * time.Second)
		feedConsole(tel, now)
	}
	type sums struct {
		count, errors, seconds float64
		buckets                map[float64]float64
	}
	want := map[string]*sums{}
	for _, m := range parse(t, scrape(t, tel, "text/plain"))["http_server_request_duration_seconds"].Metric {
		labels := map[string]string{}
		for _, l := range m.Label {
			labels[l.GetName()] = l.GetValue()
		}
		name := labels["http_request_method"] + " " + labels["http_route"]
		s := want[name]
		if s == nil {
			s = &sums{buckets: map[float64]float64{}}
			want[name] = s
		}
		s.count += float64(m.Histogram.GetSampleCount())
		s.seconds += m.Histogram.GetSampleSum()
		if labels["http_response_status_code"] == "503" {
			s.errors += float64(m.Histogram.GetSampleCount())
		}
		for _, b := range m.Histogram.Bucket {
			s.buckets[b.GetUpperBound()] += float64(b.GetCumulativeCount())
		}
	}
	got := readConsole(t, tel)
	if len(got.Routes) != 3 || len(want) != 3 {
		t.Fatalf("%d routes, %d in the scrape", len(got.Routes), len(want))
	}
	for _, r := range got.Routes {
		w := want[r.N]
		if w == nil || r.C != w.count || r.E != w.errors || math.Abs(r.S-w.seconds) > .001*w.seconds {
			t.Errorf("%+v, the scrape says %+v", r, w)
			continue
		}
		for i, q := range []float64{.5, .95, .99} {
			for bound, below := range w.buckets {
				// A native bucket that a bound cuts through counts on both sides.
				if r.P[i] > bound*1.1 && below >= q*w.count+1 || r.P[i] < bound/1.1 && below < q*w.count-1 {
					t.Errorf("%s: p%g is %v, but the scrape has %v of %v up to %v", r.N, 100*q, r.P[i], below, w.count, bound)
				}
			}
		}
	}
	var one consoleData
	if err := json.Unmarshal([]byte(bodyOf(t, ask(tel, "GET", "/debug/requests?format=json&range=900"))), &one); err != nil || one.Total != got.Total {
		t.Errorf("/debug/requests: %+v, %v", one.Total, err)
	}
	for _, part := range []string{"GET /fast/{id}", "POST /both"} {
		if text := bodyOf(t, ask(tel, "GET", "/debug/requests")); !strings.Contains(text, part) {
			t.Errorf("no %q in\n%s", part, text)
		}
	}
}

// The CPU of a path is that of its counter, and goes to those that differ by
// their method by their time.
func TestConsoleTellsTheCPUOfRoutes(t *testing.T) {
	tel := start(t, Config{Interval: time.Hour})
	mux := http.NewServeMux()
	mux.HandleFunc("/both", func(http.ResponseWriter, *http.Request) {})
	h := tel.Handler(mux)
	now := time.Now()
	sample := func(cores float64) consoleData {
		now = now.Add(5 * time.Second)
		d := runtimemetrics.Delta{Time: now, Interval: 5 * time.Second, CPUUser: cores}
		tel.profiler.sample(d)
		tel.feed.sample(d)
		return readConsole(t, tel)
	}
	do(h, "GET", "/both")
	if d := sample(1); d.Total.U != nil || d.Routes[0].U != nil || !strings.Contains(d.State.NoCPU, "ProfileEvery") {
		t.Errorf("without a profile: %+v, %+v, %q", d.Total, d.Routes[0], d.State.NoCPU)
	}
	tel.profiler.every = time.Minute
	tel.profiler.keep(keptProfile{Time: now, Seconds: .1, Routes: []cpuShare{{noRoute, 1}}}) // another was asked for meanwhile
	if d := sample(0); d.Total.U != nil || d.State.NoCPU == "" {
		t.Errorf("with a few samples: %+v, %q", d.Total, d.State.NoCPU)
	}
	tel.profiler.keep(keptProfile{Time: now, Seconds: 10, Routes: []cpuShare{{"/both", .4}, {noRoute, .35}, {"/nobody's", .25}}})
	do(h, "POST", "/both")
	d := sample(2)
	if d.State.NoCPU != "" || d.Total.U == nil || math.Abs(*d.Total.U-15) > 1e-3 || len(d.Routes) != 2 {
		t.Fatalf("%+v", d)
	}
	sum := *d.Routes[0].U + *d.Routes[1].U
	if math.Abs(sum-.4*15) > 1e-3 || d.Routes[0].N == "POST /both" && *d.Routes[0].U < 6-1e-3 || d.Routes[1].N == "POST /both" && *d.Routes[1].U < 6-1e-3 {
		t.Errorf("%v of %v; all of it is the one's that had requests: %+v", sum, *d.Total.U, d.Routes)
	}
	// Without requests that have ended it goes on by their time so far.
	if d = sample(2); math.Abs(*d.Routes[0].U+*d.Routes[1].U-.4*25) > 1e-3 || *d.Routes[0].U == 0 {
		t.Errorf("%+v", d.Routes)
	}
	counted := 0.0
	for _, m := range parse(t, scrape(t, tel, "text/plain"))[routeCPU.Name].Metric {
		counted += m.Counter.GetValue()
	}
	if math.Abs(counted-*d.Total.U) > 1e-3 {
		t.Errorf("the page has %v s, the counters %v s", *d.Total.U, counted)
	}
	if text := bodyOf(t, ask(tel, "GET", "/debug/requests")); !strings.Contains(text, "cpu") || strings.Contains(text, " - ") {
		t.Errorf("no CPU in\n%s", text)
	}
}

// The objectives stand in the head of the page: what is left of the budget since
// the start, and how fast it burns.
func TestConsoleTellsTheObjectives(t *testing.T) {
	tel := start(t, Config{Interval: time.Hour, SLOs: []SLO{
		{Name: "orders", Route: "POST /orders", Objective: .9, Latency: time.Hour},
		{Name: "nobody", Route: "/nobody", Objective: .99},
		{Name: "all", Objective: .5},
	}})
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" {
			w.WriteHeader(500)
		}
	})
	h := tel.Handler(mux)
	for i := range 20 {
		do(h, "POST", []string{"/orders", "/orders?fail"}[i/17])
	}
	got := readConsole(t, tel).State.SLOs
	if len(got) != 3 {
		t.Fatalf("%+v", got)
	}
	for i, want := range []struct {
		bad         uint64
		left, short float64
	}{{3, -.5, 1.5}, {0, math.NaN(), 0}, {3, .7, .3}} {
		s := got[i]
		left := math.NaN()
		if s.Left != nil {
			left = *s.Left
		}
		if s.Bad != want.bad || math.Abs(left-want.left) > 1e-9 || math.IsNaN(left) != math.IsNaN(want.left) || math.Abs(s.Short-want.short) > 1e-9 || s.Long != s.Short || s.Burning {
			t.Errorf("%+v (left %v), want %+v", s, left, want)
		}
	}
	if s := got[0]; s.Name != "orders" || s.Route != "POST /orders" || s.Objective != .9 || s.Within != 3600 || s.Good != 17 {
		t.Errorf("%+v", s)
	}
	if text := bodyOf(t, ask(tel, "GET", "/debug/")); !strings.Contains(text, "orders: 3 of 20 requests") {
		t.Errorf("the text tells none:\n%s", text)
	}
}

func TestConsoleShowsTheProgramsMetrics(t *testing.T) {
	tel := start(t, Config{Interval: time.Hour})
	orders := NewCounter[struct{ Country string }](tel, Metric{Name: "shop_orders_total", Help: "Orders."})
	sizes := NewHistogram[struct{}](tel, Metric{Name: "shop_order_bytes", Help: "Sizes."})
	carts := NewGauge[struct{}](tel, Metric{Name: "shop_carts", Help: "Carts."})
	now := time.Now()
	for range 2 {
		orders.Add(t.Context(), struct{ Country string }{"de"}, 10)
		sizes.Observe(t.Context(), struct{}{}, 7)
		carts.Set(struct{}{}, 3)
		now = now.Add(5 * time.Second)
		feedConsole(tel, now)
	}
	got := map[string]float64{}
	for _, row := range readConsole(t, tel).Groups["own"] {
		got[row.N] = *row.V["value"][1]
		if row.N != "shop_carts" {
			got[row.N+" rate"] = *row.V["rate"][1]
		}
	}
	for name, want := range map[string]float64{"shop_orders_total {country=de}": 20, "shop_orders_total {country=de} rate": 2, "shop_order_bytes": 2, "shop_order_bytes rate": .2, "shop_carts": 3} {
		if got[name] != want {
			t.Errorf("%s: %v, want %v", name, got[name], want)
		}
	}
	// A program with more series than are drawn loses none of them elsewhere.
	for i := range 2 * maxOwnSeries {
		orders.Add(t.Context(), struct{ Country string }{string(rune('a'+i%26)) + string(rune('a'+i/26))}, 1)
	}
	if n := len(tel.metrics.ownSeries(maxOwnSeries)); n != maxOwnSeries {
		t.Errorf("%d series", n)
	}
}

// What the doctor says, and where the time goes, is on the page.
func TestConsoleShowsTheDiagnosis(t *testing.T) {
	inBubble(t, Config{DiagnoseEvery: 10 * time.Second}, func(t *testing.T, tel *Telemetry) {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /pay", func(_ http.ResponseWriter, r *http.Request) {
			tel.Call(r.Context(), "payments", "pay", func(context.Context) error { time.Sleep(10 * time.Millisecond); return nil })
		})
		h := tel.Handler(mux)
		for range 350 {
			do(h, "GET", "/pay")
			time.Sleep(90 * time.Millisecond)
		}
		d := readConsole(t, tel)
		if d.Report.Verdict == "" || len(d.Routes) != 1 || d.Routes[0].N != "GET /pay" || d.Routes[0].D["payments"] < .09 || d.Routes[0].D["payments"] > .11 {
			t.Errorf("%+v", d)
		}
		for _, row := range d.Groups["dependency"] {
			if row.N == "payments" && (len(row.V["calls"]) != 3 || *row.V["calls"][1] < 95) {
				t.Errorf("calls %v", row.V["calls"])
			}
		}
	})
}

func TestConsolePage(t *testing.T) {
	tel := start(t, Config{Service: "<b>shop"})
	for _, test := range []struct{ path, accept, part string }{
		{"/", "text/html,application/xhtml+xml", `src="/debug/console/app.js"`},
		{"/", "*/*", "&lt;b&gt;shop"}, // without a browser: the page without scripts
		{"/debug/", "text/html", "&lt;b&gt;shop"},
		{"/debug/console/style.css", "", "--bg"},
		{"/debug/runtime", "", "p99 ready"},
		{"/debug/requests", "", "no requests yet"},
		{"/debug/config", "", "ConsoleKeep"},
		{"/debug/loglevel", "", "default"},
	} {
		r := ask(tel, "GET", test.path, "Accept", test.accept)
		body := bodyOf(t, r)
		if r.StatusCode != 200 || !strings.Contains(body, test.part) {
			t.Errorf("%s for %s: %s %.300s", test.path, test.accept, r.Status, body)
		}
		policy := r.Header.Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'") || strings.Contains(body, "app.js") && strings.Contains(policy, "unsafe") {
			t.Errorf("%s: policy %q", test.path, policy)
		}
	}
	for _, bad := range []string{"/debug/requests?range=0", "/debug/requests?range=NaN", "/debug/requests?range=-1"} {
		if r := ask(tel, "GET", bad); r.StatusCode != 400 {
			t.Errorf("%s: %s", bad, r.Status)
		}
	}
}

func TestNoConsole(t *testing.T) {
	tel := start(t, Config{ConsoleKeep: -1})
	feedConsole(tel, time.Now())
	for path, want := range map[string]int{"/": 200, "/debug/": 200, "/debug/requests": 404, "/debug/console/app.js": 404, "/debug/runtime": 200} {
		if r := ask(tel, "GET", path, "Accept", "text/html"); r.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, r.Status, want)
		}
	}
}

// The stream ends when the service does.
func TestConsoleStreamEndsWithTheService(t *testing.T) {
	tel, err := Start(context.Background(), Config{AdminAddr: "localhost:0", ProfileEvery: -1, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.Get("http://" + tel.AdminAddr() + "/debug/console/events")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if err := tel.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil && !strings.Contains(err.Error(), "EOF") {
		t.Error(err)
	}
}

const adminToken = "correct horse battery staple"

func TestAdminToken(t *testing.T) {
	bearer := []string{"Authorization", "Bearer " + adminToken}
	away := []string{"RemoteAddr", "10.0.0.7:4", "Host", "shop.internal:9464"}
	through := []string{"X-Forwarded-For", "10.0.0.7"}
	with := func(all ...[]string) (headers []string) {
		for _, h := range all {
			headers = append(headers, h...)
		}
		return headers
	}
	for name, test := range map[string]struct {
		proxied bool
		header  []string
		want    int
	}{
		"from here":                           {false, nil, 200},
		"from elsewhere":                      {false, away, 401},
		"from elsewhere, with it":             {false, with(away, bearer), 200},
		"in lower case":                       {false, with(away, []string{"Authorization", "bearer " + adminToken}), 200},
		"with a part of it":                   {false, with(away, []string{"Authorization", "Bearer " + adminToken[:10]}), 401},
		"with more than it":                   {false, with(away, []string{"Authorization", "Bearer " + adminToken + "x"}), 401},
		"with nothing":                        {false, with(away, []string{"Authorization", "Bearer "}), 401},
		"by password":                         {false, with(away, []string{"Authorization", "Basic " + adminToken}), 401},
		"it as a cookie":                      {false, with(away, []string{"Cookie", adminCookie + "=" + adminToken}), 401},
		"through a proxy":                     {false, with(through, bearer), 403},
		"through a proxy from elsewhere":      {false, with(away, through, bearer), 403},
		"through a proxy that is allowed":     {true, with(away, through, bearer), 200},
		"through one here, without it":        {true, through, 401},
		"a page of another site":              {true, with(bearer, []string{"Sec-Fetch-Site", "cross-site"}), 403},
		"a browser from elsewhere":            {false, with(away, []string{"Accept", "text/html"}), 303},
		"a browser from elsewhere that sends": {false, with(away, []string{"Accept", "text/html", "Cookie", adminCookie + "="}), 303},
	} {
		t.Run(name, func(t *testing.T) {
			tel := start(t, Config{AdminToken: adminToken, AdminProxied: test.proxied})
			for _, path := range []string{"/", "/debug/pprof/", "/debug/console/events?", "/debug/console/data", "/debug/config", "/debug/traces"} {
				if path == "/debug/console/events?" && test.want == 200 {
					continue // it does not end
				}
				if r := ask(tel, "GET", path, test.header...); r.StatusCode != test.want {
					t.Errorf("%s: %s, want %d", path, r.Status, test.want)
				}
			}
			for _, path := range []string{"/metrics", "/livez", "/readyz"} {
				if r := ask(tel, "GET", path, test.header...); r.StatusCode != 200 {
					t.Errorf("%s: %s", path, r.Status)
				}
			}
		})
	}
}

func TestLogin(t *testing.T) {
	tel := start(t, Config{AdminToken: adminToken, Service: "<i>shop"})
	login := func(token string, header ...string) *http.Response {
		r := httptest.NewRequest("POST", "/login", strings.NewReader(url.Values{"token": {token}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.RemoteAddr, r.Host = "10.0.0.7:4", "shop.internal"
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		tel.Admin().ServeHTTP(w, r)
		return w.Result()
	}
	away := []string{"RemoteAddr", "10.0.0.7:4", "Host", "shop.internal"}
	if form := bodyOf(t, ask(tel, "GET", "/login", away...)); !strings.Contains(form, `name="token"`) || strings.Contains(form, "<i>") {
		t.Errorf("%s", form)
	}
	wrong := login("wrong")
	if wrong.StatusCode != 401 || len(wrong.Cookies()) != 0 || !strings.Contains(bodyOf(t, wrong), "not the token") {
		t.Errorf("the wrong one: %s", wrong.Status)
	}
	if r := login(adminToken, "Sec-Fetch-Site", "cross-site"); r.StatusCode != 403 {
		t.Errorf("from another site's page: %s", r.Status)
	}
	if r := login(adminToken, "Origin", "http://evil.example"); r.StatusCode != 403 {
		t.Errorf("from another origin: %s", r.Status)
	}
	right := login(adminToken)
	if right.StatusCode != 303 || len(right.Cookies()) != 1 {
		t.Fatalf("the right one: %s, %v", right.Status, right.Cookies())
	}
	c := right.Cookies()[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || strings.Contains(c.Value, adminToken) || c.MaxAge <= 0 {
		t.Errorf("%+v", c)
	}
	if r := ask(tel, "GET", "/debug/config", append(away, "Cookie", c.Name+"="+c.Value)...); r.StatusCode != 200 {
		t.Errorf("with the cookie: %s", r.Status)
	}
	// What changes something wants an origin of its own, cookie or not.
	if r := ask(tel, "POST", "/debug/loglevel?level=debug", append(away, "Cookie", c.Name+"="+c.Value, "Origin", "http://evil.example")...); r.StatusCode != 403 {
		t.Errorf("a change from another origin: %s", r.Status)
	}
}

func TestNoLoginWithoutToken(t *testing.T) {
	if r := ask(start(t, Config{}), "GET", "/login"); r.StatusCode != 404 {
		t.Errorf("without a token: %s", r.Status)
	}
}

func TestConfigAdmin(t *testing.T) {
	for field, c := range map[string]Config{
		"Config.AdminToken: 5 characters": {AdminToken: "short"},
		"Config.AdminProxied":             {AdminProxied: true},
		"Config.ConsoleKeep: 1s":          {ConsoleKeep: time.Second},
	} {
		if _, err := c.withDefaults(); err == nil || !strings.Contains(err.Error(), field) || strings.Contains(err.Error(), "short") {
			t.Errorf("%s: %v", field, err)
		}
	}
	t.Setenv("OBSERVE_ADMIN_TOKEN", adminToken)
	if c, err := (Config{}).withDefaults(); err != nil || c.AdminToken != adminToken {
		t.Errorf("from the environment: %v", err)
	}
}

// The configuration tells where a value came from, and no secret.
func TestConditions(t *testing.T) {
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dead, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hush-hush")
	t.Setenv("OTEL_SERVICE_NAME", "from the environment")
	tel := start(t, Config{Service: " ", AdminToken: "hush-hush hush-hush", MaxSeries: 77, Redact: []string{"card"}})
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://somebody:hush-hush@"+l.Addr().String()) // after Start: nothing is to be sent
	t.Setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", dead.Addr().String())
	var c conditions
	body := bodyOf(t, ask(tel, "GET", "/debug/config?format=json"))
	if err := json.Unmarshal([]byte(body), &c); err != nil {
		t.Fatal(err)
	}
	if text := bodyOf(t, ask(tel, "GET", "/debug/config")); strings.Contains(text+body, "hush") {
		t.Errorf("a secret is told:\n%s\n%s", text, body)
	}
	fields := map[string]conditionField{}
	for _, f := range c.Fields {
		fields[f.Field] = f
	}
	for name, want := range map[string]conditionField{
		"MaxSeries":       {"MaxSeries", "77", "field"},
		"Interval":        {"Interval", "5s", "default"},
		"AdminToken":      {"AdminToken", redacted, "field"},
		"Redact":          {"Redact", "[card]", "field"},
		"Tracing.IDs":     {"Tracing.IDs", "default", "default"},
		"Captures.Dir":    {"Captures.Dir", captureDir(" "), "default"},
		"Headers":         {"Headers", "none", "default"},
		"SlowQuery":       {"SlowQuery", "1s", "default"},
		"ShutdownTimeout": {"ShutdownTimeout", "10s", "default"},
	} {
		if fields[name] != want {
			t.Errorf("%+v, want %+v", fields[name], want)
		}
	}
	if len(c.Backends) != 2 || !c.Backends[0].Answers || c.Backends[1].Answers || c.Backends[1].Detail == "" {
		t.Errorf("backends %+v", c.Backends)
	}
}

func TestEndpointAddress(t *testing.T) {
	for endpoint, want := range map[string]string{
		"http://collector:4318": "collector:4318", "https://collector": "collector:443", "collector:4317": "collector:4317",
		"collector": "collector:80", "http://[::1]:4318/v1/traces": "[::1]:4318", "": "", "http://": "", "%zz": "",
	} {
		if got, err := addressOf(endpoint); got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v; want %q", endpoint, got, err, want)
		}
	}
}

func TestLogLevelAtRunTime(t *testing.T) {
	tel := start(t, Config{})
	if r := ask(tel, "POST", "/debug/loglevel?level=debug"); r.StatusCode != 409 {
		t.Errorf("without a LogHandler: %s", r.Status)
	}
	var out strings.Builder
	log := slog.New(tel.LogHandler(slog.NewTextHandler(&out, nil))).With("a", 1)
	log.Debug("first")
	for _, test := range []struct {
		level string
		want  int
	}{{"debug", 200}, {"loud", 400}, {"", 400}} {
		if r := ask(tel, "POST", "/debug/loglevel?level="+test.level); r.StatusCode != test.want {
			t.Errorf("%q: %s", test.level, r.Status)
		}
	}
	log.Debug("second")
	ask(tel, "POST", "/debug/loglevel?level=error")
	log.Warn("third")
	ask(tel, "POST", "/debug/loglevel?level=default")
	log.Info("fourth")
	log.Debug("fifth")
	for text, want := range map[string]bool{"first": false, "second": true, "third": false, "fourth": true, "fifth": false} {
		if strings.Contains(out.String(), text) != want {
			t.Errorf("%s: want %v in\n%s", text, want, out.String())
		}
	}
	if r := ask(tel, "PUT", "/debug/loglevel?level=debug"); r.StatusCode != 405 {
		t.Errorf("PUT: %s", r.Status)
	}
}
