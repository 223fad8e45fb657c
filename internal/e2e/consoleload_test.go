package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/memory"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/loadline-go/loadline/internal/e2e/server"
)

// strangers are names that nobody would choose for a route. Each would set
// __pwned if the page made markup or code of it.
var strangers = []string{
	`<script>window.__pwned=1</script>`,
	`<img src=x onerror=window.__pwned=1>`,
	`"><svg/onload=window.__pwned=1>`,
	`' onmouseover='window.__pwned=1' x='`,
	`javascript:window.__pwned=1//`,
	`</title></script></textarea><iframe srcdoc="<script>parent.__pwned=1</script>">`,
	"a\u202egnp.exe\u2066 right to left \u05d0\u05d1\u05d2",
	"line\none\r\n\nevent: frame\ndata: {\"full\":true}\n\n\u2028end",
	"{{constructor.constructor('window.__pwned=1')()}}${window.__pwned=1}",
	`__proto__`,
	`%2e%2e/..;?range=900&q=x#/config`,
	"\x00\x1b[2J\x7f\u200b\ufeff",
	strings.Repeat("very-long-", 400),
	strings.Repeat("W", 400),
}

// startCrowded starts internal/e2e/crowded.
func startCrowded(t *testing.T, names []string, args ...string) *subject {
	t.Helper()
	if names != nil {
		text, err := json.Marshal(names)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "names.json")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "-names", file)
	}
	s, path := &subject{}, build(t, "internal/e2e/crowded")
	s.Process = server.StartOnPorts(t, 2, func(ports []string) server.Command {
		addr, admin := "127.0.0.1:"+ports[0], "127.0.0.1:"+ports[1]
		s.url, s.admin = "http://"+addr, "http://"+admin
		return server.Command{
			Name: "crowded", Path: path, Env: []string{"TMPDIR=" + t.TempDir()}, Health: s.admin + "/livez", Grace: 30 * time.Second,
			Args: append([]string{"-addr", addr, "-admin", admin}, args...),
		}
	})
	return s
}

// Five hundred routes, some with names made to break out of a page, do so in no
// view; the table of them is filtered, sorted and gone through while it changes.
func TestConsoleOfStrangers(t *testing.T) {
	t.Parallel()
	lanes(t, func(t *testing.T, _ server.Lane) {
		const routes = 500
		ctx := server.StartChromium(t)
		s := startCrowded(t, strangers, "-routes", fmt.Sprint(routes-2*len(strangers)), "-interval", "1s", "-keep", "3m", "-diagnose", "2s")
		b := &browser{t: t, ctx: ctx, base: s.admin}
		b.listen()
		all := map[string]bool{}
		server.Eventually(t, time.Minute, func() error {
			clear(all)
			for _, r := range consoleData(t, s.admin).Routes {
				all[r.N] = true
			}
			for _, name := range strangers {
				for _, method := range []string{"GET /", "_OTHER /"} {
					if !all[method+name] {
						return fmt.Errorf("no route %q among %d", method+name, len(all))
					}
				}
			}
			if len(all) != routes {
				return fmt.Errorf("%d routes", len(all))
			}
			if b := fetch(t, s.admin+"/debug/console/data?range=60", ""); !strings.Contains(b, `"dependency":[{`) {
				return errors.New("no diagnosis yet")
			}
			return nil
		})

		for _, view := range consoleViews {
			if view.name == "route" {
				continue // comes below, for each
			}
			b.open(view.hash, view.wait)
			b.harmless(view.name)
			b.window("strangers-" + view.name)
		}
		b.phone("#/requests", "table.routes tbody a", "strangers-phone")

		b.open("#/services", "table.routes tbody a")
		server.Eventually(t, time.Minute, func() error {
			shown := eval[[]string](b, `[...document.querySelectorAll("table.routes td.name a")].map(a => a.textContent)`)
			for _, name := range strangers {
				n := 0
				for _, s := range shown {
					if s == marked(name) || len(name) > 255 && strings.HasPrefix(s, name[:100]) { // names are clipped
						n++
					}
				}
				if n < 5 {
					return fmt.Errorf("%.80q stands %d times among dependencies, pools, queues, jobs and caches", name, n)
				}
			}
			return nil
		})

		b.open("#/requests", "table.routes tbody a")
		if n := eval[int](b, `document.querySelectorAll("table.routes tbody tr").length`); n >= routes {
			t.Errorf("all %d routes are drawn before anybody asked for them", n)
		}
		b.press("button.more")
		shown := eval[[]string](b, `[...document.querySelectorAll("table.routes td.name a")].map(a => a.textContent)`)
		if len(shown) != routes {
			t.Errorf("the table has %d routes, want %d", len(shown), routes)
		}
		for name := range all {
			if !slices.Contains(shown, marked(name)) {
				t.Errorf("route %.80q is not shown", name)
			}
		}
		b.sorts()
		for i, name := range strangers {
			b.opens("GET /"+name, i == 0 || i == 6 || i == 7 || len(name) > 255)
		}
		// As text, and what a browser makes of that.
		for _, path := range []string{"/debug/", "/debug/requests", "/debug/traces", "/debug/doctor", "/debug/runtime", "/debug/leaks", "/debug/config", "/debug/pprof/", "/readyz"} {
			b.do(path, chromedp.Navigate(s.admin+path), chromedp.WaitReady(chromedp.CSS("body")))
			b.unmarked(path)
		}
		b.quiet()
		b.hears()
	}, server.Quick)
}

// marked is a name as it is shown: with a mark for what has no shape of its own.
func marked(name string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && r != '\u200d' && !unicode.IsGraphic(r) {
			return '\ufffd'
		}
		return r
	}, name)
}

// unmarked checks that nothing ran that has no business on the page.
func (b *browser) unmarked(where string) {
	b.t.Helper()
	if eval[bool](b, `"__pwned" in window`) {
		b.t.Errorf("%s: a name was run as code", where)
	}
	if found := eval[[]string](b, `[...document.querySelectorAll("iframe,object,embed,base,svg[onload],body script,body style,body link")].map(e => e.outerHTML.slice(0, 200))`); len(found) > 0 {
		b.t.Errorf("%s: has %q", where, found)
	}
}

// harmless checks that a view holds only elements of its own, and only
// addresses of this server.
func (b *browser) harmless(where string) {
	b.t.Helper()
	b.unmarked(where)
	found := eval[[]string](b, `[...document.querySelectorAll("*")].filter(e =>
		e.localName === "img" && e.parentElement.className !== "brand" ||
		[...e.attributes].some(a => a.name.startsWith("on") || (a.name === "href" || a.name === "src" || a.name === "action") && !/^(#|\/(debug\/|metrics))/.test(a.value))
	).map(e => e.outerHTML.slice(0, 200))`)
	if len(found) > 0 {
		b.t.Errorf("%s: has %q", where, found)
	}
	if wide := eval[int](b, "document.documentElement.scrollWidth - innerWidth"); wide > 0 {
		b.t.Errorf("%s: %d pixels too wide, as is %.400s", where, wide,
			eval[string](b, `[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth && !e.closest(".scroll, pre")).at(-1)?.outerHTML ?? "nothing"`))
	}
}

// window keeps a picture of what can be seen without scrolling.
func (b *browser) window(name string) {
	b.t.Helper()
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Fatal(err)
	}
	b.keep(b.t.ArtifactDir(), name, png)
}

// phone takes a picture as of a phone.
func (b *browser) phone(hash, wait, name string) {
	b.t.Helper()
	defer b.do("as before", chromedp.EmulateViewport(1280, 860))
	b.do(name, chromedp.EmulateViewport(390, 844, chromedp.EmulateScale(1)))
	b.open(hash, wait)
	b.harmless(name)
	eval[bool](b, `document.querySelector("table.routes").scrollIntoView(), true`)
	b.window(name)
}

// leadsTo is the route that a link a leads to.
const leadsTo = `decodeURIComponent(a.hash.slice("#/requests/".length).split("?")[0])`

// sorts filters and sorts the table by hand, while figures come in.
func (b *browser) sorts() {
	b.t.Helper()
	type shown struct {
		Names  []string
		Sorted string
		At     string // what is in focus
	}
	table := func(is func(shown) error) {
		b.t.Helper()
		began := time.Now()
		server.Eventually(b.t, 30*time.Second, func() error {
			return is(eval[shown](b, `({Names: [...document.querySelectorAll("table.routes td.name a")].map(a => `+leadsTo+`),
				Sorted: [...document.querySelectorAll("th[aria-sort]")].map(th => th.textContent + " " + th.getAttribute("aria-sort")).join(), At: document.activeElement.type ?? ""})`))
		})
		b.t.Logf("the table follows within %v", time.Since(began).Round(time.Millisecond))
	}
	eval[bool](b, `new PerformanceObserver(l => { for (const e of l.getEntries()) (window.long ??= []).push(Math.round(e.duration)) }).observe({type: "longtask"}), true`)
	b.press("input[type=search]")
	b.do("filter", chromedp.KeyEvent("<img"))
	table(func(s shown) error {
		if len(s.Names) != 2 || !strings.Contains(s.Names[0], "<img") || s.At != "search" {
			return fmt.Errorf("<img finds %.200q, and %q is in focus", s.Names, s.At)
		}
		return nil
	})
	b.do("all", chromedp.KeyEvent("\b\b\b\b"))
	for _, way := range []string{"ascending", "descending"} {
		b.press("th:first-child button")
		table(func(s shown) error {
			order := slices.Clone(s.Names)
			slices.Reverse(order)
			if way == "ascending" {
				order = s.Names
			}
			// As JavaScript compares, by UTF-16; that is by bytes where there is nothing beyond the first plane.
			if len(s.Names) < 400 || s.Sorted != "Route "+way || !slices.IsSorted(order) {
				return fmt.Errorf("%d routes sorted %q", len(s.Names), s.Sorted)
			}
			return nil
		})
	}
	// It stays as it is while figures come in.
	seq := func() int {
		return eval[int](b, `import("/debug/console/app.js").then(m => m.data.seq)`, chromedp.EvalAwaitPromise)
	}
	first := seq()
	server.Eventually(b.t, time.Minute, func() error {
		if seq() < first+3 {
			return errors.New("no new figures")
		}
		return nil
	})
	table(func(s shown) error {
		if s.Sorted != "Route descending" {
			return errors.New(s.Sorted)
		}
		return nil
	})
	b.t.Logf("the longest tasks of the page, in ms: %v", eval[[]int](b, "window.long ?? []"))
}

// press clicks where a person would: in the middle of what can be seen of it.
func (b *browser) press(selector string) {
	b.t.Helper()
	at := eval[struct {
		X, Y  float64
		Above string
	}](b, fmt.Sprintf(`(e => {
		e.scrollIntoView({block: "center"})
		const r = e.getBoundingClientRect(), x = r.x + r.width / 2, y = r.y + r.height / 2, above = document.elementFromPoint(x, y)
		return {X: x, Y: y, Above: above === e ? "" : above?.outerHTML.slice(0, 200) ?? "nothing"}
	})(document.querySelector(%q))`, selector))
	if at.Above != "" {
		b.t.Fatalf("%s is covered by %s", selector, at.Above)
	}
	b.do("press "+selector, chromedp.MouseClickXY(at.X, at.Y))
}

// opens follows a route's link as a person does, and comes back.
func (b *browser) opens(name string, picture bool) {
	b.t.Helper()
	quoted, err := json.Marshal(name)
	if err != nil {
		b.t.Fatal(err)
	}
	b.do("back", chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`location.hash = "#/requests?q=" + encodeURIComponent(%s)`, quoted)), chromedp.WaitVisible(chromedp.CSS("table.routes tbody a")))
	if !eval[bool](b, fmt.Sprintf(`(a => (a?.click(), !!a))([...document.querySelectorAll("td.name a")].find(a => `+leadsTo+` === %s))`, quoted)) {
		b.t.Fatalf("no link leads to %.80q", name)
	}
	b.do("open "+name[:min(len(name), 80)], chromedp.WaitVisible(chromedp.CSS("dl.facts dd")), chromedp.WaitReady(chromedp.CSS(".trace .spans")))
	if title := eval[string](b, `document.querySelector("#view h2").textContent`); title != "Routes / "+marked(name) {
		b.t.Errorf("%.80q is shown as %.80q", name, title)
	}
	item, _, _ := strings.Cut(strings.TrimPrefix(eval[string](b, "location.hash"), "#/requests/"), "?")
	if back, err := url.PathUnescape(item); err != nil || back != name {
		b.t.Errorf("%.80q has the address %.200q, %v", name, item, err)
	}
	for _, part := range []string{".note", ".logs"} {
		if said := eval[string](b, `[...document.querySelectorAll(".trace `+part+`")].map(e => e.textContent).join()`); !strings.Contains(said, marked(name[5:min(len(name), 55)])) {
			b.t.Errorf("%s of the trace of %.80q says %.400q", part, name, said)
		}
	}
	b.harmless(name[:min(len(name), 80)])
	if picture {
		b.window(fmt.Sprintf("strangers-route-%.8x", name[5:]))
	}
}

// hears checks that quiet would have heard: the policy forbids an element that
// a name would have made, and says so.
func (b *browser) hears() {
	b.t.Helper()
	b.open("#/requests", "table.routes tbody a")
	b.do("a script", chromedp.Evaluate[chromedp.Void](`(s => { s.textContent = "window.__pwned = 1"; document.body.append(s) })(document.createElement("script"))`))
	server.Eventually(b.t, 30*time.Second, func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, w := range b.wrong {
			if strings.Contains(w, "Content Security Policy") {
				return nil
			}
		}
		return fmt.Errorf("what the policy forbids is not heard; heard is %q", b.wrong)
	})
	if eval[bool](b, `"__pwned" in window`) {
		b.t.Error("the policy lets a script in a name run")
	}
}

// The first paint of the page takes less than 300 ms where nothing is cached,
// and it is not an empty one for long. A page that is never closed holds no more
// than the time that it shows.
func TestConsolePaintsSoonAndStaysSmall(t *testing.T) {
	lanes(t, func(t *testing.T, _ server.Lane) {
		const loads, target = 5, 300 * time.Millisecond
		ctx := server.StartChromium(t)
		q := startQuickstart(t, nil, "-rate", "30")
		b := &browser{t: t, ctx: ctx, base: q.admin}
		server.Eventually(t, time.Minute, func() error {
			if n := len(consoleData(t, q.admin).Routes); n < 4 {
				return fmt.Errorf("%d routes", n)
			}
			return nil
		})
		if _, err := chromedp.Call(ctx, network.SetCacheDisabled, network.SetCacheDisabledParams{CacheDisabled: true}); err != nil {
			t.Fatal(err)
		}
		if _, err := chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `
			new MutationObserver((_, o) => { if (document.querySelector("table.routes tbody a")) { window.figuresAt = performance.now(); o.disconnect() } }).observe(document, {childList: true, subtree: true})`}); err != nil {
			t.Fatal(err)
		}
		var first, figures []time.Duration
		// On a machine that is busy with other things some loads take longer.
		for len(first) < loads || slices.Min(first) >= target {
			if len(first) == 6*loads {
				t.Fatalf("in %d loads the first paint came after %v at best", len(first), slices.Min(first))
			}
			b.do("load", chromedp.Navigate("about:blank"), chromedp.Navigate(q.admin+"/"), chromedp.WaitReady(chromedp.CSS("table.routes tbody a")))
			at := eval[struct{ Paint, Figures float64 }](b, `new Promise(done => {
				const told = () => { const [p] = performance.getEntriesByName("first-contentful-paint"); p ? done({Paint: p.startTime, Figures: figuresAt}) : setTimeout(told, 10) }
				told()
			})`, chromedp.EvalAwaitPromise)
			first = append(first, time.Duration(at.Paint*1e6))
			figures = append(figures, time.Duration(at.Figures*1e6))
		}
		slices.Sort(first)
		slices.Sort(figures)
		t.Logf("first contentful paint after %v at best, %v in the middle of %d loads; the table of routes is there after %v and %v",
			first[0].Round(time.Millisecond), first[len(first)/2].Round(time.Millisecond), len(first), figures[0].Round(time.Millisecond), figures[len(figures)/2].Round(time.Millisecond))
		b.listen()
		b.leftOpen()
		b.quiet()
	}, server.Quick)
}

// leftOpen tells the page in a minute what it would be told in hours: real
// frames, with times that go on and names that come and go.
func (b *browser) leftOpen() {
	b.t.Helper()
	full := fetch(b.t, b.base+"/debug/console/data?range=300", "")
	if _, err := chromedp.Call(b.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `{
		const full = ` + full + `
		window.EventSource = class extends EventTarget {
			readyState = 1
			constructor(url) { super(); this.url = url; window.stream = this; setTimeout(() => this.tell(full)) }
			close() { this.readyState = 2 }
			tell(frame) { this.dispatchEvent(new MessageEvent("frame", {data: JSON.stringify(frame)})) }
		}
		let t = full.to, dt = full.dt.at(-1), n = 0
		const tail = values => values.slice(-1)
		// tick is what is told of one sample: as full, but of each curve the end.
		const tick = () => {
			t += 5000; n++
			const f = structuredClone(full)
			f.full = false; delete f.about
			f.seq += n; f.t = [t]; f.from += 5000 * n; f.to = t
			if (n % 2) dt = t
			f.dt = [dt]
			if (f.report) f.report.time = new Date(dt).toISOString()
			for (const set of [f.series, f.runtime]) for (const k in set) set[k] = tail(set[k])
			for (const r of f.routes) r.k = tail(r.k)
			for (const rows of Object.values(f.groups)) for (const r of rows) for (const k in r.v) r.v[k] = tail(r.v[k])
			const was = Math.floor(n / 7)
			f.routes.push({...f.routes[0], n: "GET /once/" + was})
			for (const kind of ["dependency", "query", "leak", "own"]) if (f.groups[kind]?.length) f.groups[kind].push({...structuredClone(f.groups[kind][0]), n: f.groups[kind][0].n.split(" {")[0] + " {once=" + was + "}"})
			return f
		}
		window.pass = async frames => {
			for (let i = 0; i < frames; i++) {
				window.stream.tell(tick())
				if (i % 10 === 9) await new Promise(r => setTimeout(r))
			}
			return n
		}
	}`}); err != nil {
		b.t.Fatal(err)
	}
	const frames = 100 // of each view and round: more than the rings hold
	b.open("#/requests", "table.routes tbody a")
	type size struct{ nodes, listeners, heap int }
	round := func() (s size) {
		b.t.Helper()
		for _, view := range consoleViews {
			eval[bool](b, fmt.Sprintf("location.hash = %q, true", view.hash))
			eval[int](b, fmt.Sprintf("pass(%d)", frames), chromedp.EvalAwaitPromise)
		}
		eval[bool](b, `location.hash = "#/requests", true`)
		eval[int](b, "pass(10)", chromedp.EvalAwaitPromise)
		if _, err := chromedp.Call(b.ctx, heapprofiler.CollectGarbage, cdp.Empty{}); err != nil {
			b.t.Fatal(err)
		}
		counters, err := chromedp.Call(b.ctx, memory.GetDOMCounters, cdp.Empty{})
		if err != nil {
			b.t.Fatal(err)
		}
		used, err := chromedp.Call(b.ctx, runtime.GetHeapUsage, cdp.Empty{})
		if err != nil {
			b.t.Fatal(err)
		}
		return size{int(counters.Nodes), int(counters.JsEventListeners), int(used.UsedSize)}
	}
	first := round()
	var last size
	for range 2 {
		last = round()
	}
	longest := eval[int](b, `import("/debug/console/app.js").then(({data}) => {
		let most = 0
		const look = v => { if (v && typeof v === "object") { const all = v instanceof Map ? [...v.values()] : Object.values(v); most = Math.max(most, all.length); all.forEach(look) } }
		look(data)
		return most
	})`, chromedp.EvalAwaitPromise)
	b.t.Logf("after %d frames: %+v, after %d: %+v; no list is longer than %d", frames*len(consoleViews), first, 3*frames*len(consoleViews), last, longest)
	if longest != 180 {
		b.t.Errorf("the longest list of what the page was told has %d entries, want 180, as the rings have", longest)
	}
	if last.nodes > first.nodes+first.nodes/5+500 || last.listeners > first.listeners+first.listeners/5+100 || last.heap > first.heap+2<<20 {
		b.t.Errorf("the page grows: %+v, then %+v", first, last)
	}
}

// listener is an open page without a browser: it reads the stream of events.
type listener struct {
	net.Conn
	frames atomic.Int64
	ended  chan error
}

// listens opens a page; what it is told is counted.
func listens(t *testing.T, admin string) *listener {
	t.Helper()
	l := &listener{Conn: dialEvents(t, admin, 0), ended: make(chan error, 1)}
	go func() {
		part, seen := make([]byte, 64<<10), []byte{}
		mark := []byte("event: frame")
		for {
			n, err := l.Read(part)
			seen = append(seen, part[:n]...)
			l.frames.Add(int64(bytes.Count(seen, mark)))
			// What may be the beginning of a mark; a frame's own text has none.
			if at := bytes.LastIndex(seen, mark); at >= 0 {
				seen = seen[at+len(mark):]
			}
			seen = append(seen[:0], seen[max(0, len(seen)-len(mark)+1):]...)
			if err != nil {
				l.ended <- err
				return
			}
		}
	}()
	return l
}

// dialEvents asks for the stream of events with a window of so many bytes, 0 for the usual.
func dialEvents(t *testing.T, admin string, window int) net.Conn {
	t.Helper()
	addr := strings.TrimPrefix(admin, "http://")
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		if window == 0 {
			return nil
		}
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, window)
		})
		return errors.Join(err, failed)
	}}
	conn, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := fmt.Fprintf(conn, "GET /debug/console/events?range=180 HTTP/1.1\r\nHost: %s\r\n\r\n", addr); err != nil {
		t.Fatal(err)
	}
	return conn
}

// hold is what a process holds on to.
type hold struct {
	goroutines, streams, descriptors int
	heap                             int // live, in bytes
}

func held(t *testing.T, s *subject) (h hold) {
	t.Helper()
	http.DefaultClient.CloseIdleConnections()
	for line := range strings.Lines(fetch(t, s.admin+"/debug/pprof/heap?gc=1&debug=1", "")) {
		fmt.Sscanf(line, "# HeapAlloc = %d", &h.heap)
	}
	text := fetch(t, s.admin+"/debug/pprof/goroutine?debug=1", "")
	fmt.Sscanf(text, "goroutine profile: total %d", &h.goroutines)
	for group := range strings.SplitSeq(text, "\n\n") {
		n := 0
		if strings.Contains(group, "serveEvents") {
			fmt.Sscan(strings.TrimPrefix(group, "goroutine profile: total "), &n)
			h.streams += n
		}
	}
	h.descriptors = s.Descriptors()
	return h
}

// Two hundred pages open on a service of 500 routes are told each sample, one
// that does not read is cut off and harms none, and nothing of them is left when
// they are closed. One page costs less than half a percent of a core.
func TestConsoleOpenPages(t *testing.T) {
	t.Parallel()
	lanes(t, func(t *testing.T, _ server.Lane) {
		const routes, pages, seconds = 500, 200, 6
		// A sample three times a second, not every five seconds: less time is needed.
		s := startCrowded(t, nil, "-routes", fmt.Sprint(routes), "-rate", "100", "-interval", "100ms", "-keep", "1m")
		server.Eventually(t, time.Minute, func() error {
			if n := len(consoleData(t, s.admin).Routes); n != routes {
				return fmt.Errorf("%d routes", n)
			}
			return nil
		})
		before := held(t, s)
		// cost is the CPU time for each second of the next few, and how many samples there were.
		cost := func() (share, samples float64) {
			seq, cpu, began := consoleData(t, s.admin).Seq, s.CPU(), time.Now()
			time.Sleep(seconds * time.Second)
			share = (s.CPU() - cpu).Seconds() / time.Since(began).Seconds()
			return share, float64(consoleData(t, s.admin).Seq-seq) / time.Since(began).Seconds()
		}
		none, _ := cost()
		first := listens(t, s.admin)
		all := []*listener{first}
		told := func(n int64) {
			t.Helper()
			server.Eventually(t, time.Minute, func() error {
				for i, l := range all {
					select {
					case err := <-l.ended:
						t.Fatalf("page %d ended after %d frames: %v", i, l.frames.Load(), err)
					default:
					}
					if got := l.frames.Load(); got < n {
						return fmt.Errorf("page %d was told %d times", i, got)
					}
				}
				return nil
			})
		}
		told(2)
		one, rate := cost()
		stuck, began := dialEvents(t, s.admin, 4096), time.Now()
		for len(all) < pages {
			all = append(all, listens(t, s.admin))
		}
		told(2)
		many, manyRate := cost()
		seq, had := consoleData(t, s.admin).Seq, all[pages-1].frames.Load()
		server.Eventually(t, time.Minute, func() error {
			if n := held(t, s).streams; n != pages+1 {
				return fmt.Errorf("%d streams", n)
			}
			return nil
		})
		t.Logf("CPU %.2f %% %.2f %% %.2f %% at %.1f %.1f samples a second", 100*none, 100*one, 100*many, rate, manyRate)
		server.Eventually(t, 2*time.Minute, func() error {
			time.Sleep(time.Second)
			if n := held(t, s).streams; n != pages {
				return fmt.Errorf("%d streams", n)
			}
			return nil
		})
		t.Logf("who does not read is cut off after %v", time.Since(began).Round(time.Second))
		if n, err := io.Copy(io.Discard, stuck); err != nil {
			t.Logf("it reads %d bytes, then %v", n, err)
		}
		// Meanwhile the others were told, if not each sample where the machine is busy.
		if samples := consoleData(t, s.admin).Seq - seq; all[pages-1].frames.Load()-had < int64(samples/4) {
			t.Errorf("of %d samples a page was told %d while another did not read", samples, all[pages-1].frames.Load()-had)
		}
		told(seconds)
		during := held(t, s)
		for _, l := range all {
			l.Close()
		}
		var after hold
		server.Eventually(t, time.Minute, func() error {
			after = held(t, s)
			if after.streams > 0 || after.goroutines > before.goroutines+20 || after.descriptors > before.descriptors+20 || after.heap > before.heap+6<<20 {
				return fmt.Errorf("held before %+v, after %+v", before, after)
			}
			return nil
		})
		t.Logf("%d routes, without a page %.2f %% of a core, with one %.2f %% at %.1f samples a second, with %d %.2f %% at %.1f; before %+v, with them %+v, after %+v",
			routes, 100*none, 100*one, rate, pages, 100*many, manyRate, before, during, after)
		const usual = 1. / 5 // samples a second
		one, many = (one-none)/rate*usual, (many-none)/manyRate*usual
		t.Logf("at a sample every 5 s one page costs %.3f %% of a core, %d cost %.2f %%", 100*one, pages, 100*many)
		if one > .005 || many > .05 {
			t.Errorf("a page may cost half a percent of a core")
		}
	}, server.Quick)
}
