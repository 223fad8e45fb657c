package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/loadline-go/loadline/internal/e2e/server"
)

// screenshots, when set, is where the pictures of the README are written:
//
//	./internal/e2e/run quick -run 'TestConsole$' -screenshots $PWD/internal/e2e/screenshots
var screenshots = flag.String("screenshots", "", "`folder` for the README's pictures of the console")

// consoleViews are all that the page can show, by the name of their picture.
var consoleViews = []struct{ name, hash, wait string }{
	{"requests", "#/requests", "table.routes tbody tr:nth-child(3) a"},
	{"route", "#/requests/" + url.PathEscape("POST /orders") + "?range=60", ".trace .spans"},
	{"services", "#/services", "#view > div > *"},
	{"runtime", "#/runtime", "figure svg path"},
	{"leaks", "#/leaks", "#view .panel"},
	{"captures", "#/captures", "#view table, #view .empty"},
	{"business", "#/business", "figure svg path"},
	{"config", "#/config", "#view table"},
}

// A person's browser shows the console of the quickstart: each view in both
// themes, without an error, with names for what can be used, by keyboard, on a
// phone and enlarged, and with the figures that Prometheus has.
func TestConsole(t *testing.T) {
	lanes(t, func(t *testing.T, lane server.Lane) {
		ctx := server.StartChromium(t)
		load := "45s"
		if *screenshots != "" {
			load = "75s" // the pictures wait for a profile of the CPU
		}
		// One order in fifty fails, so that there are failed traces, too.
		q := startQuickstart(t, nil, "-load", load, "-rate", "60")
		prometheus := server.StartPrometheus(t, lane, server.PrometheusConfig{Targets: map[string]string{"shop": q.adminAddr()}, Native: true})
		b := &browser{t: t, ctx: ctx, base: q.admin}
		b.listen()
		server.Eventually(t, 2*time.Minute, func() error { // two points make a line
			d := consoleData(t, q.admin)
			if len(d.T) < 3 || len(d.Routes) < 4 || *screenshots != "" && d.Total.U == 0 {
				return fmt.Errorf("%d samples of %d routes, %v cores by a profile", len(d.T), len(d.Routes), d.Total.U)
			}
			return nil
		})
		for _, theme := range []string{"light", "dark"} {
			b.theme(theme)
			for _, view := range consoleViews {
				b.open(view.hash, view.wait)
				b.named(view.name)
				b.shot(view.name + "-" + theme)
			}
		}
		b.keyboard()
		b.narrow()
		b.withoutScripts()

		r := q.wait(t)
		prometheus.WaitScrape(t, "shop")
		b.agrees(r, prometheus)
		b.quiet()
	}, server.Quick)
}

// browser is one tab on the console.
type browser struct {
	t    *testing.T
	ctx  context.Context
	base string

	mu    sync.Mutex
	wrong []string // what the page complained about
}

// listen notes errors, among them what the Content-Security-Policy forbids.
func (b *browser) listen() {
	messages := chromedp.Console(b.ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.IsException() || m.Type == "error" || m.Type == "warning" || m.Source == "security" {
				b.mu.Lock()
				b.wrong = append(b.wrong, m.String()+" "+m.URL)
				b.mu.Unlock()
			}
		}
	}()
}

func (b *browser) quiet() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.wrong {
		b.t.Errorf("the page complains: %s", w)
	}
}

func (b *browser) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		page, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.body.innerText.slice(0, 2000)"))
		b.t.Fatalf("%s: %v; the page says:\n%s", what, err, page)
	}
}

func eval[T any](b *browser, expression string, options ...chromedp.EvaluateOption) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, options...))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// theme sets what the operating system would say.
func (b *browser) theme(name string) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}},
	}); err != nil {
		b.t.Fatal(err)
	}
}

// open shows a view anew and waits for what it is about.
func (b *browser) open(hash, wait string) {
	b.t.Helper()
	b.do(hash, chromedp.Navigate("about:blank"), chromedp.Navigate(b.base+"/"+hash),
		chromedp.WaitVisible(chromedp.CSS("#live.on")), chromedp.WaitReady(chromedp.CSS(wait)))
}

// named checks that a screen reader has a name for all that can be used.
func (b *browser) named(view string) {
	b.t.Helper()
	tree, err := chromedp.Call(b.ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	if err != nil {
		b.t.Fatal(err)
	}
	found := 0
	for _, n := range tree.Nodes {
		if n.Ignored || n.Role == nil {
			continue
		}
		role := strings.Trim(string(n.Role.Value), `"`)
		switch role {
		case "button", "link", "textbox", "searchbox", "combobox", "navigation", "columnheader":
			found++
			if n.Name == nil || strings.Trim(string(n.Name.Value), `"`) == "" {
				if role != "columnheader" { // of a column that says it by itself
					b.t.Errorf("%s: a %s without a name", view, role)
				}
			}
		}
	}
	if found < 15 {
		b.t.Errorf("%s: only %d things that can be used", view, found)
	}
}

// shot keeps a picture with the test's artifacts (go test -artifacts).
func (b *browser) shot(name string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Fatal(err)
	}
	b.keep(b.t.ArtifactDir(), name, png)
	if *screenshots != "" && (name == "requests-light" || name == "route-dark") {
		// What a window shows, not all that can be scrolled to.
		if png, err = chromedp.Run(ctx, chromedp.CaptureScreenshot()); err != nil {
			b.t.Fatal(err)
		}
		b.keep(*screenshots, name, png)
	}
}

func (b *browser) keep(folder, name string, png []byte) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(folder, "console-"+name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// keyboard goes from the top to a route, and through the views, without a mouse.
func (b *browser) keyboard() {
	b.t.Helper()
	b.open("#/requests", "table.routes tbody a")
	reached := map[string]bool{}
	for range 60 {
		b.do("tab", chromedp.KeyEvent("\t"))
		at := eval[string](b, `(a => a.id || a.dataset.view || a.closest("tbody") && "route" || a.type || a.textContent)(document.activeElement)`)
		reached[at] = true
		if at == "route" {
			break
		}
	}
	for _, want := range []string{"Skip to the figures", "pause", "theme", "requests", "config", "search", "route"} {
		if !reached[want] {
			b.t.Errorf("Tab does not reach %q, but %v", want, reached)
		}
	}
	b.do("enter", chromedp.KeyEvent("\r"), chromedp.WaitVisible(chromedp.CSS("dl.facts dd")))
	if hash := eval[string](b, "location.hash"); !strings.HasPrefix(hash, "#/requests/") {
		b.t.Errorf("Enter on a route leads to %q", hash)
	}
	b.do("4", chromedp.KeyEvent("4"), chromedp.WaitVisible(chromedp.CSS(`nav a[data-view="leaks"][aria-current]`)))
	b.do("1", chromedp.KeyEvent("1"), chromedp.WaitVisible(chromedp.CSS("input[type=search]")))
	b.do("filter", chromedp.KeyEvent("/"))
	if at := eval[string](b, "document.activeElement.type"); at != "search" {
		b.t.Errorf("/ leads to a %q", at)
	}
	// The browser here types the key that led there, too.
	eval[bool](b, "document.activeElement.select(), true")
	b.do("orders", chromedp.KeyEvent("orders"))
	server.Eventually(b.t, 30*time.Second, func() error {
		if n := eval[int](b, `document.querySelectorAll("table.routes tbody tr").length`); n != 1 {
			return fmt.Errorf("%d routes have orders in their name", n)
		}
		return nil
	})
	if hash := eval[string](b, "location.hash"); !strings.Contains(hash, "q=orders") {
		b.t.Errorf("the filter is not in the address: %q", hash)
	}
	b.do("pause", chromedp.Click(chromedp.CSS("#pause")))
	if text := eval[string](b, `document.getElementById("live").textContent`); text != "paused" {
		b.t.Errorf("paused, it says %q", text)
	}
}

// narrow looks at the page on a phone and at twice the size.
func (b *browser) narrow() {
	b.t.Helper()
	defer b.do("as before", chromedp.EmulateViewport(1280, 860))
	for name, size := range map[string][2]int64{"phone": {390, 844}, "enlarged": {640, 430}} {
		b.do(name, chromedp.EmulateViewport(size[0], size[1], chromedp.EmulateScale(2)))
		for _, view := range consoleViews {
			b.open(view.hash, view.wait)
			if wide := eval[int](b, "document.documentElement.scrollWidth - innerWidth"); wide > 0 {
				b.t.Errorf("%s, %s: %d pixels too wide", view.name, name, wide)
			}
			if view.name == "requests" || view.name == "route" {
				b.shot(view.name + "-" + name)
			}
		}
	}
}

// withoutScripts finds the text pages.
func (b *browser) withoutScripts() {
	b.t.Helper()
	set := func(off bool) {
		if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: off}); err != nil {
			b.t.Fatal(err)
		}
	}
	set(true)
	defer set(false)
	b.do("without scripts", chromedp.Navigate("about:blank"), chromedp.Navigate(b.base+"/"), chromedp.WaitVisible(chromedp.CSS(`noscript a[href="/debug/requests"]`)))
	b.shot("without-scripts")
	for _, path := range []string{"/debug/doctor", "/debug/requests", "/debug/traces", "/debug/runtime", "/debug/leaks", "/debug/captures", "/debug/config", "/debug/"} {
		if body := fetch(b.t, b.base+path, "text/plain"); len(body) < 20 {
			b.t.Errorf("%s: %q", path, body)
		}
	}
	links, err := chromedp.Run(b.ctx, chromedp.AttributesAll(chromedp.CSSAll("noscript a, footer a")))
	if err != nil || len(links) < 10 {
		b.t.Fatalf("%d links without scripts: %v", len(links), err)
	}
	for _, a := range links {
		b.do(a["href"], chromedp.Navigate(b.base+a["href"]), chromedp.WaitReady(chromedp.CSS("body")))
		if said, err := chromedp.Run(b.ctx, chromedp.Text(chromedp.CSS("body"))); err != nil || len(said) < 20 {
			b.t.Errorf("%s shows %q without scripts, %v", a["href"], said, err)
		}
	}
}

// consoleFigures is what the page is told.
type consoleFigures struct {
	Seq    int
	T      []float64
	Total  struct{ C, U float64 }
	Routes []struct {
		N    string
		C, E float64
		P    []float64
	}
}

func consoleData(t *testing.T, admin string) (d consoleFigures) {
	t.Helper()
	if err := json.Unmarshal([]byte(fetch(t, admin+"/debug/console/data?range=900", "")), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// agrees compares what the page shows after the load with what Prometheus has:
// both of the time since the start.
func (b *browser) agrees(r report, p *server.Prometheus) {
	b.t.Helper()
	sum := 0
	for _, route := range r.Routes {
		sum += route.Count
	}
	b.open("#/requests?range=900", "table.routes tbody tr:nth-child(3) a")
	type row struct{ Name, P50, P99, Errors string }
	var rows map[string]row
	figures := map[string]consoleFigures{}
	server.Eventually(b.t, time.Minute, func() error { // until the sample after the load
		d := consoleData(b.t, b.base)
		counted := 0
		for _, route := range r.Routes {
			for _, shown := range d.Routes {
				if shown.N == route.Method+" "+route.Route {
					counted += int(shown.C)
				}
			}
		}
		if counted != sum {
			return fmt.Errorf("the console counts %d requests, the clients made %d", counted, sum)
		}
		figures["page"] = d
		return nil
	})
	server.Eventually(b.t, time.Minute, func() error {
		rows = map[string]row{}
		for _, r := range eval[[]row](b, `[...document.querySelectorAll("table.routes tbody tr")].map(tr => ({Name: tr.cells[0].textContent, Errors: tr.cells[2].textContent, P50: tr.cells[3].textContent, P99: tr.cells[5].textContent}))`) {
			rows[r.Name] = r
		}
		for _, shown := range figures["page"].Routes {
			if got, want := rows[shown.N].P99, words(b, shown.P[2]); got != want {
				return fmt.Errorf("%s: the page shows p99 %q, it was told %q", shown.N, got, want)
			}
		}
		return nil
	})
	const metric = "http_server_request_duration_seconds"
	for _, shown := range figures["page"].Routes {
		method, route, _ := strings.Cut(shown.N, " ")
		selector := fmt.Sprintf(`job="shop",http_request_method=%q,http_route=%q`, method, route)
		count := single(b.t, p, fmt.Sprintf("sum(histogram_count(%s{%s}))", metric, selector))
		failed := 0.0
		if s := p.Query(b.t, fmt.Sprintf(`sum(histogram_count(%s{%s,http_response_status_code=~"5.."}))`, metric, selector)); len(s) == 1 {
			failed = s[0].Value
		}
		if shown.C != count || shown.E != failed {
			b.t.Errorf("%s: the page counts %v, %v failed; Prometheus %v and %v", shown.N, shown.C, shown.E, count, failed)
		}
		for i, quantile := range []float64{.5, .95, .99} {
			want := single(b.t, p, fmt.Sprintf("histogram_quantile(%v, sum(%s{%s}))", quantile, metric, selector))
			if off := shown.P[i]/want - 1; math.Abs(off) > .01+math.Exp2(1./8)-1 { // both are within a native bucket
				b.t.Errorf("%s: p%v is %v, Prometheus has %v", shown.N, 100*quantile, shown.P[i], want)
			}
		}
	}
}

// words is a time as the page writes it.
func words(b *browser, seconds float64) string {
	b.t.Helper()
	s, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](fmt.Sprintf(`import("/debug/console/dom.js").then(m => m.duration(%v))`, seconds), chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}
