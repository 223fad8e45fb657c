package leakcheck

import "strings"

// A knownGood entry names goroutines of libraries that live on by design
// after the call that started them has returned. Tests and production share
// the list.
type knownGood struct {
	fn  string // see names
	why string
	// unless tells the members that are not good after all.
	unless func(*goroutine) bool
	// many there may be of those that belong to something which can itself
	// leak, such as a connection: a test may leave them, but in production
	// their number must not grow for half as long again as that of others.
	many bool
	// watch are known in production alone; a test must not leave them behind.
	watch bool
}

var knownGoods = []knownGood{
	{fn: "runtime.ReadTrace", why: "an execution trace or flight recording is on"},
	{fn: "runtime/trace.(*traceMultiplexer).startLocked", why: "an execution trace or flight recording is on"},
	{fn: "runtime/pprof.profileWriter", why: "a CPU profile is on"},

	{fn: "os/signal.signal_recv", why: "started by the first signal.Notify, never ends"},
	{fn: "os/signal.loop", why: "started by the first signal.Notify, never ends"},

	{fn: "github.com/loadline-go/loadline/leakcheck.Watch", watch: true, why: "a Watch"},
	{fn: "github.com/loadline-go/loadline/runtimemetrics.(*Sampler).Run", watch: true, why: "the sampler"},

	{fn: "testing.tRunner", why: "a test"},
	{fn: "testing.fRunner", why: "a fuzz test"},
	{fn: "testing.(*B).launch", why: "a benchmark"},
	{fn: "testing.(*B).run1", why: "a benchmark"},
	{fn: "testing.(*M).Run", why: "the main goroutine of a test binary"},
	{fn: "testing.(*M).startAlarm", why: "the time limit of the test binary"},
	{fn: "testing.runExample", why: "reads what an example prints"},
	{fn: "testing/synctest.testingSynctestTest", why: "a bubble's test"},
	{fn: "internal/synctest.Run", why: "a bubble"},

	// A client keeps the connections that it may use again. A connection
	// whose reader is not reading is not idle: somebody has its response's body.
	{fn: "net/http.(*persistConn).readLoop", many: true, why: "a kept-alive connection", unless: perhapsOpen},
	{fn: "net/http.(*persistConn).writeLoop", many: true, why: "a kept-alive connection"},
	{fn: "net/http.(*http2ClientConn).readLoop", many: true, why: "a kept-alive connection (Go 1.26)"},
	{fn: "net/http/internal/http2.(*ClientConn).readLoop", many: true, why: "a kept-alive connection (Go 1.27)"},
	{fn: "golang.org/x/net/http2.(*ClientConn).readLoop", many: true, why: "a kept-alive connection"},

	// How many clients keep a connection is theirs to say.
	{fn: "net/http.(*connReader).backgroundRead", watch: true, why: "watches the client of a request in hand"},
	{fn: "net/http.(*conn).serve", watch: true, why: "a client's kept-alive connection", unless: handles},

	{fn: "database/sql.(*DB).connectionOpener", many: true, why: "an open pool, which is meant to last as long as the program"},
	{fn: "database/sql.(*DB).connectionCleaner", many: true, why: "an open pool, which is meant to last as long as the program"},

	// These libraries start one goroutine at their first use, or when
	// imported, and have no way to end it.
	{fn: "github.com/golang/glog.(*fileSink).flushDaemon", why: "flushes logs for the whole process"},
	{fn: "k8s.io/klog/v2.(*flushDaemon).run", why: "flushes logs for the whole process"},
	{fn: "go.opencensus.io/stats/view.(*worker).start", why: "started by importing the package"},
}

// known returns why g may live on after a test, or "".
func known(g *goroutine) string {
	return knownAs(g, func(k *knownGood) bool { return !k.watch })
}

// knownInProduction returns why there may be ever more like g, or "".
func knownInProduction(g *goroutine) string {
	return knownAs(g, func(k *knownGood) bool { return !k.many })
}

// manyAllowed reports whether there may be many like g, so that it takes
// longer to tell whether they leak.
func manyAllowed(g *goroutine) bool {
	return knownAs(g, func(k *knownGood) bool { return k.many }) != ""
}

func knownAs(g *goroutine, counts func(*knownGood) bool) string {
	if g.system() {
		return "the runtime's own"
	}
	for i := range knownGoods {
		k := &knownGoods[i]
		if counts(k) && runs(g, k.fn) && (k.unless == nil || !k.unless(g)) {
			return k.why
		}
	}
	return ""
}

// runs reports whether a function that pattern names is on g's own stack.
func runs(g *goroutine, pattern string) bool {
	for _, f := range g.frames {
		if names(pattern, f.fn) {
			return true
		}
	}
	return false
}

// bodyOpen reports whether g reads an HTTP/1 connection whose response has a
// body that was neither read to its end nor closed. Between responses the
// loop waits for input; it waits in a select of its own frame only for a body.
func bodyOpen(g *goroutine) bool {
	return g.state == "select" && len(g.frames) > 0 && g.frames[0].fn == "net/http.(*persistConn).readLoop"
}

// perhapsOpen reports whether g's response has a body that is open, or g is
// still on its way to where it shows whether it has.
func perhapsOpen(g *goroutine) bool {
	return bodyOpen(g) || strings.HasPrefix(g.state, "run")
}

// handles reports whether g is a server's goroutine with a request in hand.
func handles(g *goroutine) bool {
	for _, f := range g.frames {
		if f.fn == "net/http.serverHandler.ServeHTTP" {
			return true
		}
	}
	return false
}
