package span

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
)

func TestOnlyAllowedBaggageComesInAndGoesOut(t *testing.T) {
	many := make([]string, 0, 200)
	for i := range 200 {
		many = append(many, fmt.Sprintf("k%03d=%d", i, i))
	}
	for _, c := range []struct {
		name    string
		allow   []string
		headers []string
		want    string
	}{
		{"none is allowed", nil, []string{"user=1"}, ""},
		{"one is allowed", []string{"tenant"}, []string{"user=1,tenant=a"}, "tenant=a"},
		{"all are allowed", []string{"*"}, []string{"user=1"}, "user=1"},
		{"in two headers", []string{"a", "b"}, []string{"a=1", "x=1"}, "a=1"},
		{"with white space", []string{"a"}, []string{" \ta = 1 "}, "a=1"},
		{"with properties", []string{"a"}, []string{"a=1;p;q=2"}, "a=1;p;q=2"},
		{"escaped", []string{"a"}, []string{"a=%20x%2C"}, "a=%20x%2C"},
		{"a malformed one costs only itself", []string{"*"}, []string{"a b=1,=,c,d=1;"}, "d=1"},
		{"nothing", []string{"*"}, []string{""}, ""},
		{"another key's case", []string{"a"}, []string{"A=1"}, ""},
		{"a member too large, and what comes after it", []string{"*"}, []string{"a=1,b=" + strings.Repeat("x", 10_000) + ",c=1"}, "a=1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := Propagator{Baggage: c.allow}
			h := http.Header{"Baggage": c.headers}
			out := http.Header{}
			p.InjectBaggage(p.ExtractBaggage(context.Background(), h), out)
			if got := out.Get("baggage"); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			out = http.Header{}
			p.Inject(p.Extract(context.Background(), propagation.HeaderCarrier(h)), propagation.HeaderCarrier(out))
			if got := out.Get("baggage"); got != c.want {
				t.Errorf("the propagator: got %q, want %q", got, c.want)
			}
		})
	}
	t.Run("too many members", func(t *testing.T) {
		p := Propagator{Baggage: []string{"*"}}
		ctx := p.ExtractBaggage(context.Background(), http.Header{"Baggage": {strings.Join(many, ",")}})
		if n := baggage.FromContext(ctx).Len(); n != maxBaggageMembers {
			t.Errorf("%d members", n)
		}
	})
	t.Run("what the program set is filtered on its way out", func(t *testing.T) {
		secret, _ := baggage.NewMember("secret", "x")
		tenant, _ := baggage.NewMember("tenant", "a")
		bag, _ := baggage.New(secret, tenant)
		h := http.Header{}
		Propagator{Baggage: []string{"tenant"}}.InjectBaggage(baggage.ContextWithBaggage(context.Background(), bag), h)
		if got := h.Get("baggage"); got != "tenant=a" {
			t.Errorf("sent %q", got)
		}
	})
}

func FuzzBaggage(f *testing.F) {
	f.Add("a=1,b=2;p=q", "c=%20")
	f.Add("=", ";;;,")
	f.Fuzz(func(t *testing.T, a, b string) {
		p := Propagator{Baggage: []string{"*"}}
		out := http.Header{}
		p.InjectBaggage(p.ExtractBaggage(context.Background(), http.Header{"Baggage": {a, b}}), out)
		if n := len(out.Get("baggage")); n > 3*maxBaggageBytes { // escaping makes it longer, at most threefold
			t.Errorf("%d bytes go out", n)
		}
	})
}
