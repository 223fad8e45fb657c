package observe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/loadline-go/loadline/internal/span"
	"github.com/loadline-go/loadline/tracing"
)

// tracesOf asks the admin page for the traces of a route, or for one.
func tracesOf(t *testing.T, tel *Telemetry, query string) (found struct {
	Traces []span.Trace
	Logs   []span.TraceLog
}) {
	t.Helper()
	r := ask(tel, "GET", "/debug/traces?format=json&"+query)
	if err := json.NewDecoder(r.Body).Decode(&found); err != nil {
		t.Fatal(err)
	}
	return found
}

// silent is a logger whose records go nowhere but through the LogHandler.
func silent(tel *Telemetry) *slog.Logger {
	return slog.New(tel.LogHandler(slog.NewTextHandler(io.Discard, nil)))
}

type secretValue struct{ v string }

func (secretValue) LogValue() slog.Value { return slog.StringValue("(hidden)") }

type panicking struct{ text string }

func (p *panicking) Error() string { return p.text }

// What was logged in a request stands with its trace, on the page and as text.
func TestTraceShowsItsLogs(t *testing.T) {
	tel := start(t, Config{Redact: []string{"card"}})
	log := silent(tel)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /pay", func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		log.With("order", 7).InfoContext(ctx, "begun", "card", "4111", "method", "by card")
		log.InfoContext(context.Background(), "of nobody")
		tracing.Do(ctx, "charge", func(ctx context.Context) error {
			log.WithGroup("g").With("b", 2).WarnContext(ctx, "refused", "err", errors.New("no money"), "took", 3*time.Second, "who", secretValue{"x"}, "all", []int{1}, "none", (*panicking)(nil),
				slog.Group("in", "a", true, "f", 1.5), "u", uint64(9), "nil", nil)
			return nil
		})
		log.DebugContext(ctx, "not enabled")
		slog.New(log.Handler()).With("trace_id", tracing.ID(ctx), "bound", true).Error("without a context")
		w.WriteHeader(503)
	})
	do(tel.Handler(mux), "POST", "/pay")
	found := tracesOf(t, tel, "route=POST%20/pay").Traces
	if len(found) != 1 {
		t.Fatalf("%d traces", len(found))
	}
	var got []string
	for _, l := range found[0].Logs {
		got = append(got, l.Level+" "+l.Message+" "+l.Attributes)
	}
	want := []string{
		`INFO begun order=7 card=[REDACTED] method="by card"`,
		`WARN refused g={b=2 err="no money" took=3s who=(hidden) all=([]int) none=(panicked) in={a=true f=1.5} u=9 nil=(nil)}`,
		`ERROR without a context bound=true`,
	}
	want[0] = strings.ReplaceAll(want[0], "[REDACTED]", redacted)
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if l := found[0].Logs; l[0].Span != found[0].Spans[0].ID || l[1].Span != found[0].Spans[1].ID || l[1].Offset < l[0].Offset {
		t.Errorf("spans and times: %+v of %+v", l, found[0].Spans)
	}
	text := bodyOf(t, ask(tel, "GET", "/debug/traces?trace="+found[0].ID))
	for _, part := range []string{"INFO   begun  order=7", "ERROR  without a context"} {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in\n%s", part, text)
		}
	}
	if strings.Contains(text, "4111") || strings.Contains(text, "of nobody") {
		t.Errorf("too much is told in\n%s", text)
	}
}

// Who writes into the log from outside steers neither a terminal nor a page.
func TestHostileLogs(t *testing.T) {
	const evil = "<script>alert(1)</script>\x1b[2J\u202e\r\nERROR  forged\x00\xff\"'&=\u2028"
	tel := start(t, Config{})
	log := silent(tel)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /evil", func(w http.ResponseWriter, r *http.Request) {
		log.ErrorContext(r.Context(), evil, evil, evil, "err", errors.New(evil), "long", strings.Repeat("ä", 10_000), "lost", 1)
		log.InfoContext(r.Context(), strings.Repeat("ö", 10_000), slog.Group(evil, evil, evil))
		w.WriteHeader(500)
	})
	do(tel.Handler(mux), "GET", "/evil")
	found := tracesOf(t, tel, "route=GET%20/evil").Traces
	if len(found) != 1 || len(found[0].Logs) != 2 || !strings.HasPrefix(found[0].Logs[0].Message, "<script>alert(1)</script>\x1b[2J") {
		t.Fatalf("%+v", found)
	}
	for _, l := range found[0].Logs {
		if n := len(l.Message) + len(l.Attributes); n > maxRecord || len(l.Message) > maxMessage {
			t.Errorf("%d bytes of a record", n)
		}
	}
	text := bodyOf(t, ask(tel, "GET", "/debug/traces"))
	if strings.ContainsAny(text, "\x1b\u202e\r\x00\u2028") || strings.Contains(text, "\nERROR") {
		t.Errorf("the text steers a terminal: %q", text)
	}
	raw := bodyOf(t, ask(tel, "GET", "/debug/traces?format=json"))
	if strings.ContainsAny(raw, "<>\u2028\x1b") {
		t.Errorf("the JSON could be more than data: %q", raw)
	}
	for _, id := range []string{evil, "", strings.Repeat("0", 32), strings.Repeat("x", 1<<16)} {
		if logs, _ := tel.traceLogs.of(id, time.Now()); len(logs) != 0 {
			t.Errorf("%.40q: %v", id, logs)
		}
	}
}

// The memory is what the comment says, however much is logged, and what is left
// are the last records, whole.
func TestTraceLogsAreBounded(t *testing.T) {
	if n := unsafe.Sizeof(traceLogs{}); n > 345<<10 {
		t.Errorf("%d bytes", n)
	}
	l := new(traceLogs)
	add := func(id string, i, size int) {
		r := slog.NewRecord(time.Unix(int64(i), 0), slog.LevelInfo, fmt.Sprint("m", i), 0)
		r.AddAttrs(slog.String("text", strings.Repeat("x", size)))
		l.add(id, "", &r, nil)
	}
	a, b := strings.Repeat("a", 32), strings.Repeat("b", 32)
	for _, size := range []int{0, 1, 100, 400, 10_000} {
		for i := range 3 * keptRecords {
			add(a, i, size)
		}
		logs, lost := l.of(a, time.Unix(0, 0))
		sum := 0
		for i, r := range logs {
			sum += len(r.Message) + len(r.Attributes)
			if want := 3*keptRecords - len(logs) + i; r.Message != fmt.Sprint("m", want) || r.Offset != time.Duration(want)*time.Second || !strings.HasPrefix(r.Attributes, "text=") {
				t.Fatalf("%d bytes each: record %d is %+v", size, i, r)
			}
		}
		if len(logs) < 4 || len(logs) > maxTraceRecords || sum > maxTraceText || lost == 0 {
			t.Errorf("%d bytes each: %d records of %d bytes, %d before", size, len(logs), sum, lost)
		}
		add(b, 0, size)
		if logs, lost := l.of(b, time.Unix(0, 0)); len(logs) != 1 || lost != 0 {
			t.Errorf("of another: %d, %d before", len(logs), lost)
		}
		for i := range keptRecords {
			add(a, i, size)
		}
		if logs, _ := l.of(b, time.Unix(0, 0)); len(logs) != 0 {
			t.Errorf("of long ago: %+v", logs)
		}
	}
}

// What is logged after the root has ended, and in traces that are not kept, is found as long as it lasts.
func TestLogsAfterTheEnd(t *testing.T) {
	tel := start(t, Config{})
	log := silent(tel)
	var later context.Context
	mux := http.NewServeMux()
	mux.HandleFunc("GET /late", func(w http.ResponseWriter, r *http.Request) {
		later = r.Context()
		log.InfoContext(r.Context(), "meanwhile")
		w.WriteHeader(500)
	})
	do(tel.Handler(mux), "GET", "/late")
	log.InfoContext(later, "behind it")
	found := tracesOf(t, tel, "route=GET%20/late").Traces[0]
	if len(found.Logs) != 2 || found.Logs[1].Message != "behind it" || found.LostLogs != 0 {
		t.Errorf("%+v", found.Logs)
	}
	for i := range 3 * maxTraceRecords {
		log.InfoContext(later, fmt.Sprint(i))
	}
	if found = tracesOf(t, tel, "route=GET%20/late").Traces[0]; len(found.Logs) != maxTraceRecords || found.LostLogs == 0 || found.Logs[0].Message != fmt.Sprint(2*maxTraceRecords) {
		t.Errorf("%d before %+v", found.LostLogs, found.Logs)
	}
	for range 2 * keptRecords {
		log.With("trace_id", strings.Repeat("c", 32)).Info("of another")
	}
	if found = tracesOf(t, tel, "route=GET%20/late").Traces[0]; len(found.Logs) != 1 || found.Logs[0].Message != "meanwhile" {
		t.Errorf("what was kept with the trace: %+v", found.Logs)
	}
	other := tracesOf(t, tel, "trace="+strings.Repeat("c", 32))
	if len(other.Traces) != 0 || len(other.Logs) != maxTraceRecords || other.Logs[0].Offset != 0 {
		t.Errorf("%+v", other)
	}
	if text := bodyOf(t, ask(tel, "GET", "/debug/traces?trace="+strings.Repeat("c", 32))); !strings.Contains(text, "of another") {
		t.Error(text)
	}
}

func TestNoTraceLogsWithoutConsole(t *testing.T) {
	tel := start(t, Config{ConsoleKeep: -1})
	mux := http.NewServeMux()
	log := silent(tel)
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		log.With("a", 1).InfoContext(r.Context(), "m")
		w.WriteHeader(500)
	})
	do(tel.Handler(mux), "GET", "/")
	if found := tracesOf(t, tel, ""); tel.traceLogs != nil || len(found.Traces) != 1 || len(found.Traces[0].Logs) != 0 {
		t.Errorf("%+v", found)
	}
	tracesOf(t, tel, "trace="+strings.Repeat("c", 32))
}

func TestTraceLogsConcurrently(t *testing.T) {
	tel := start(t, Config{})
	log := silent(tel)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{id}", func(w http.ResponseWriter, r *http.Request) {
		for i := range 5 {
			log.InfoContext(r.Context(), r.PathValue("id"), "i", i)
		}
		w.WriteHeader(500)
	})
	h := tel.Handler(mux)
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			for i := range 100 {
				do(h, "GET", fmt.Sprintf("/%d-%d", w, i))
				tel.recentTraces("", "")
			}
		})
	}
	all.Wait()
	for _, trace := range tel.recentTraces("", "") {
		if len(trace.Logs) != 5 {
			t.Errorf("%d records of %s", len(trace.Logs), trace.ID)
			continue
		}
		for i, l := range trace.Logs {
			if l.Message != trace.Logs[0].Message || l.Attributes != fmt.Sprint("i=", i) {
				t.Errorf("%+v", trace.Logs)
			}
		}
	}
}

// A logger that is wrapped again and again is shown with what it was given last.
func TestLoggersOfLoggers(t *testing.T) {
	tel := start(t, Config{})
	log := silent(tel).With("trace_id", strings.Repeat("d", 32))
	for i := range 10_000 {
		log = log.With("k", i)
	}
	log.Info("m")
	logs := tel.traceLogs.alone(strings.Repeat("d", 32))
	if len(logs) != 1 || !strings.HasSuffix(logs[0].Attributes, "k=9999") {
		t.Errorf("%+v", logs)
	}
}

func TestKeepingARecordAllocatesNothing(t *testing.T) {
	l, err := new(traceLogs), errors.New("no money left")
	id := strings.Repeat("a", 32)
	r := slog.NewRecord(time.Now(), slog.LevelInfo, "paid", 0)
	r.AddAttrs(slog.String("text", "in two words"), slog.Int("n", 7), slog.Float64("f", .1), slog.Bool("b", true), slog.Duration("took", 1234567), slog.Time("at", time.Now()),
		slog.Any("err", err), slog.Any("level", slog.LevelWarn), slog.Any("all", []string{"a"}), slog.Group("g", "a", 1, "b", "c"))
	h := &logHandler{before: &logHandler{attrs: []slog.Attr{slog.String("a", "1")}}, attrs: []slog.Attr{slog.String("b", "2")}}
	if n := allocations(200, func() { l.add(id, id[:16], &r, h) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkKeepRecord(b *testing.B) {
	l := new(traceLogs)
	id := strings.Repeat("a", 32)
	r := slog.NewRecord(time.Now(), slog.LevelInfo, "order paid", 0)
	r.AddAttrs(slog.String("method", "card"), slog.Int("n", 7), slog.Duration("took", 1234567))
	b.ReportAllocs()
	for b.Loop() {
		l.add(id, id[:16], &r, nil)
	}
}
