package tracing_test

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"runtime/pprof"
	rt "runtime/trace"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/codes"

	"github.com/loadline-go/loadline/tracing"
)

// labelled reports whether a goroutine has a profile label.
func labelled(t *testing.T, with string) bool {
	t.Helper()
	var b bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
		t.Fatal(err)
	}
	return strings.Contains(b.String(), with)
}

func TestAStepIsAProfileLabelWhileItRuns(t *testing.T) {
	const label = `"step":"price the cart"`
	if err := tracing.Do(t.Context(), "price the cart", func(ctx context.Context) error {
		if v, _ := pprof.Label(ctx, "step"); v != "price the cart" {
			t.Errorf("the context's label is %q", v)
		}
		if !labelled(t, label) {
			t.Error("the goroutine has no label")
		}
		return tracing.Do(ctx, "inner", func(context.Context) error {
			if labelled(t, label) || !labelled(t, `"step":"inner"`) {
				t.Error("the inner step has not its own label")
			}
			return nil
		})
	}); err != nil {
		t.Fatal(err)
	}
	if labelled(t, label) {
		t.Error("the label stays")
	}
}

func TestAStepIsARegionAndItsSpanATaskOfTheExecutionTrace(t *testing.T) {
	if rt.IsEnabled() {
		t.Skip("the execution trace is running already")
	}
	p, arrived := provider(t, tracing.Config{})
	var b bytes.Buffer
	if err := rt.Start(&b); err != nil {
		t.Skip(err)
	}
	ctx, s := p.Tracer("test").Start(t.Context(), "task-of-the-order")
	_ = tracing.Do(ctx, "region-of-the-price", func(context.Context) error { return nil })
	s.End()
	rt.Stop()
	for _, want := range []string{"task-of-the-order", "region-of-the-price"} {
		if !bytes.Contains(b.Bytes(), []byte(want)) {
			t.Errorf("the execution trace knows no %s", want)
		}
	}
	if got := arrived(); len(got) != 2 || got[0].Parent.SpanID() != got[1].SpanContext.SpanID() {
		t.Errorf("the family is broken: %+v", got)
	}
}

func TestHowAStepEndsIsTold(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want codes.Code
	}{
		{"well", nil, codes.Unset},
		{"with an error", fmt.Errorf("no stock"), codes.Error},
		{"because the caller went away", fmt.Errorf("price: %w", context.Canceled), codes.Unset},
		{"because the time was up", context.DeadlineExceeded, codes.Error},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, arrived := provider(t, tracing.Config{})
			ctx, s := p.Tracer("test").Start(t.Context(), "root")
			if err := tracing.Do(ctx, "step", func(context.Context) error { return c.err }); err != c.err {
				t.Errorf("it returned %v", err)
			}
			s.End()
			got := arrived()[0]
			if got.Status.Code != c.want || (len(got.Events) == 1) != (c.err != nil) {
				t.Errorf("%v, %d events", got.Status, len(got.Events))
			}
		})
	}
}

func TestAStepThatExitsItsGoroutineEnds(t *testing.T) {
	p, arrived := provider(t, tracing.Config{})
	ctx, s := p.Tracer("test").Start(t.Context(), "root")
	done := make(chan bool)
	go func() {
		defer close(done)
		_ = tracing.Do(ctx, "step", func(context.Context) error { runtime.Goexit(); return nil })
	}()
	<-done
	s.End()
	if got := arrived(); len(got) != 2 || got[0].Name != "step" || got[0].EndTime.IsZero() {
		t.Errorf("%+v", got)
	}
}
