package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/slogtest"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/tracing"
)

func TestLogHandlerIsASlogHandler(t *testing.T) {
	tel := start(t, Config{})
	for _, inSpan := range []bool{false, true} {
		var out bytes.Buffer
		var h slog.Handler = tel.LogHandler(slog.NewJSONHandler(&out, nil))
		if inSpan {
			h = spanned{h}
		}
		err := slogtest.TestHandler(h, func() []map[string]any {
			var records []map[string]any
			for line := range bytes.Lines(out.Bytes()) {
				var r map[string]any
				if err := json.Unmarshal(line, &r); err != nil {
					t.Fatal(err)
				}
				records = append(records, r)
			}
			return records
		})
		if err != nil {
			t.Errorf("inSpan %v: %v", inSpan, err)
		}
	}
}

// spanned logs everything in the context of a span.
type spanned struct{ slog.Handler }

var spanContext = trace.NewSpanContext(trace.SpanContextConfig{
	TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled,
})

func (s spanned) Handle(ctx context.Context, r slog.Record) error {
	return s.Handler.Handle(trace.ContextWithSpanContext(ctx, spanContext), r)
}
func (s spanned) WithAttrs(a []slog.Attr) slog.Handler { return spanned{s.Handler.WithAttrs(a)} }
func (s spanned) WithGroup(n string) slog.Handler      { return spanned{s.Handler.WithGroup(n)} }

func TestTraceIDsStandAtTheTopLevel(t *testing.T) {
	tel := start(t, Config{})
	var out bytes.Buffer
	plain := slog.NewJSONHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
			return slog.Attr{}
		}
		return a
	}})
	log := slog.New(tel.LogHandler(tel.LogHandler(plain))) // twice is once
	ctx := trace.ContextWithSpanContext(t.Context(), spanContext)
	const ids = `"trace_id":"01000000000000000000000000000000","span_id":"0200000000000000"`
	for _, test := range []struct {
		name string
		log  func()
		want string
	}{
		{"plain", func() { log.InfoContext(ctx, "m", "a", 1) }, `{"msg":"m","a":1,` + ids + `}`},
		{"attrs", func() { log.With("b", 2).InfoContext(ctx, "m", "a", 1) }, `{"msg":"m","b":2,"a":1,` + ids + `}`},
		{"group", func() { log.WithGroup("g").InfoContext(ctx, "m", "a", 1) }, `{"msg":"m","g":{"a":1},` + ids + `}`},
		{"nested", func() {
			log.With("x", 0).WithGroup("g").With("b", 2).WithGroup("h").With("c", 3).InfoContext(ctx, "m", "a", 1)
		}, `{"msg":"m","x":0,"g":{"b":2,"h":{"c":3,"a":1}},` + ids + `}`},
		{"empty group", func() { log.WithGroup("g").InfoContext(ctx, "m") }, `{"msg":"m",` + ids + `}`},
		{"no span", func() { log.WithGroup("g").Info("m", "a", 1) }, `{"msg":"m","g":{"a":1}}`},
		{"no context", func() { log.InfoContext(nil, "m", "a", 1) }, `{"msg":"m","a":1}`}, //lint:ignore SA1012 programs do it
	} {
		out.Reset()
		test.log()
		if got := out.String(); got != test.want+"\n" {
			t.Errorf("%s:\ngot  %swant %s", test.name, got, test.want)
		}
	}
}

func TestLoggersOfOneParentDoNotMix(t *testing.T) {
	tel := start(t, Config{})
	var out bytes.Buffer
	parent := slog.New(tel.LogHandler(slog.NewTextHandler(&out, nil))).WithGroup("g").With("p", 0)
	a, b := parent.With("k", "a"), parent.With("k", "b")
	a.Info("from a")
	b.Info("from b")
	if got := out.String(); !bytes.Contains(out.Bytes(), []byte(`msg="from a" g.p=0 g.k=a`)) || !bytes.Contains(out.Bytes(), []byte(`msg="from b" g.p=0 g.k=b`)) {
		t.Error(got)
	}
}

func TestRecordsAreCountedByLevel(t *testing.T) {
	tel := start(t, Config{MaxSeries: 1}) // levels are not series to be bounded
	log := slog.New(tel.LogHandler(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.Level(-8)})))
	for _, l := range []slog.Level{-8, -4, 0, 1, 4, 5, 8, 12} {
		log.Log(t.Context(), l, "m")
	}
	for level, want := range map[string]float64{"DEBUG": 2, "INFO": 2, "WARN": 2, "ERROR": 2} {
		if got := family(t, tel, "observe_log_records_total")["level="+level].GetCounter().GetValue(); got != want {
			t.Errorf("%s: %v, want %v", level, got, want)
		}
	}
}

func TestLogRecordInASpanAllocatesNoMoreThanBare(t *testing.T) {
	pool := sync.Pool{New: func() any { return new([64]byte) }}
	if n := testing.AllocsPerRun(100, func() {
		for range 100 {
			pool.Put(pool.Get())
		}
	}); n > 1 {
		t.Skip("the race detector empties slog's pools at random")
	}
	tel := start(t, Config{})
	plain := slog.NewJSONHandler(io.Discard, nil)
	ctx, s := otel.Tracer("test").Start(t.Context(), "request")
	defer s.End()
	run := func(h slog.Handler, attrs int) float64 {
		log := slog.New(h)
		all := []slog.Attr{slog.Int("a", 1), slog.Int("b", 2), slog.Int("c", 3)}[:attrs]
		return allocations(200, func() { log.LogAttrs(ctx, slog.LevelInfo, "m", all...) })
	}
	// A slog.Record holds five attributes in itself; two of them are the IDs.
	for attrs := range 4 {
		if bare, ours := run(plain, attrs), run(tel.LogHandler(plain), attrs); ours > bare {
			t.Errorf("%d attributes: %v allocations, bare %v", attrs, ours, bare)
		}
	}
}

func TestLogHandlerAddsNoSecondTraceID(t *testing.T) {
	tel := start(t, Config{})
	var out bytes.Buffer
	log := slog.New(tel.LogHandler(slog.NewJSONHandler(&out, nil)))
	tracing.Do(t.Context(), "step", func(ctx context.Context) error {
		log.With("trace_id", tracing.ID(ctx)).WithGroup("g").InfoContext(ctx, "bound", "k", "v")
		return nil
	})
	for _, key := range []string{`"trace_id"`, `"span_id"`} {
		if n := strings.Count(out.String(), key); n != 1 {
			t.Errorf("%d times %s in %s", n, key, &out)
		}
	}
}
