package observe

import (
	"context"
	"testing"
	"time"

	"github.com/loadline-go/loadline/observe/capture"
	"github.com/loadline-go/loadline/tracing"
)

func TestDigestTellsConfigurationsApart(t *testing.T) {
	upload := func(context.Context, capture.Bundle) error { return nil }
	seen := map[string]string{}
	for name, c := range map[string]Config{
		"zero":     {},
		"service":  {Service: "shop"},
		"duration": {SlowQuery: time.Second},
		"map":      {Buckets: map[string][]float64{"a": {1}, "b": {2}}},
		"slice":    {Redact: []string{"a"}},
		"slices":   {Redact: []string{"a", "b"}},
		"inside":   {Captures: capture.Config{PerDay: 3}},
		"function": {Captures: capture.Config{Upload: upload}},
		"factor":   {Tracing: tracing.Config{Late: tracing.Late{Factor: 2}}},
		"private":  {adminFrom: "x"},
	} {
		d := c.digest()
		if len(d) != 12 || d != c.digest() {
			t.Errorf("%s: %q, then %q", name, d, c.digest())
		}
		if other, ok := seen[d]; ok {
			t.Errorf("%s and %s have one digest", name, other)
		}
		seen[d] = name
	}
	a := Config{Captures: capture.Config{Upload: func(context.Context, capture.Bundle) error { return context.Canceled }}}
	if b := (Config{Captures: capture.Config{Upload: upload}}); a.digest() != b.digest() {
		t.Error("two functions are told apart: their addresses differ from build to build")
	}
}
