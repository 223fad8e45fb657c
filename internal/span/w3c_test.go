package span

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

const (
	w3cTrace  = "12345678901234567890123456789012"
	w3cParent = "1234567890123456"
	w3cGood   = "00-" + w3cTrace + "-" + w3cParent + "-01"
)

// w3c is a case of the Trace Context specification, Level 2: headers as they come over the wire, whether the trace goes
// on, and the state passed on.
type w3c struct {
	name    string
	headers []string
	same    bool
	state   string
}

func parent(v string) string { return "traceparent: " + v }

func withState(v ...string) []string {
	h := []string{parent(w3cGood)}
	for _, v := range v {
		h = append(h, "tracestate: "+v)
	}
	return h
}

func members(from, to int) string {
	var m []string
	for i := from; i <= to; i++ {
		m = append(m, fmt.Sprintf("bar%02d=%02d", i, i))
	}
	return strings.Join(m, ",")
}

var w3cCases = func() []w3c {
	const goesOn, new = true, false
	var (
		key   = "abcdefghijklmnopqrstuvwxyz0123456789_-*/"
		value strings.Builder
		z     = func(n int) string { return strings.Repeat("z", n) }
	)
	for c := byte(' '); c <= '~'; c++ {
		if c != ',' && c != '=' {
			value.WriteByte(c)
		}
	}
	cases := []w3c{
		{"neither header", nil, new, ""},
		{"traceparent alone", []string{parent(w3cGood)}, goesOn, ""},
		{"two traceparents", []string{parent(w3cGood), parent("00-" + w3cTrace + "-" + w3cParent + "-00")}, new, ""},
		{"the same traceparent twice", []string{parent(w3cGood), parent(w3cGood)}, new, ""},
		{"name with a dash", []string{"trace-parent: " + w3cGood}, new, ""},
		{"name with a dot", []string{"trace.parent: " + w3cGood}, new, ""},
		{"name in title case", []string{"TraceParent: " + w3cGood}, goesOn, ""},
		{"name in mixed case", []string{"TrAcEpArEnT: " + w3cGood}, goesOn, ""},
		{"name in upper case", []string{"TRACEPARENT: " + w3cGood}, goesOn, ""},
		{"white space around", []string{parent(" \t " + w3cGood + "\t ")}, goesOn, ""},

		{"state without parent", []string{"tracestate: foo=1"}, new, ""},
		{"state with parent", withState("foo=1,bar=2"), goesOn, "foo=1,bar=2"},
		{"state with a bad parent", []string{parent("00-x"), "tracestate: foo=1"}, new, ""},
		{"state name with a dash", []string{parent(w3cGood), "trace-state: foo=1"}, goesOn, ""},
		{"state name with a dot", []string{parent(w3cGood), "trace.state: foo=1"}, goesOn, ""},
		{"state name in title case", []string{parent(w3cGood), "TraceState: foo=1"}, goesOn, "foo=1"},
		{"state name in mixed case", []string{parent(w3cGood), "TrAcEsTaTe: foo=1"}, goesOn, "foo=1"},
		{"state name in upper case", []string{parent(w3cGood), "TRACESTATE: foo=1"}, goesOn, "foo=1"},
		{"empty state", withState(""), goesOn, ""},
		{"state, then an empty one", withState("foo=1", ""), goesOn, "foo=1"},
		{"an empty state, then one", withState("", "foo=1"), goesOn, "foo=1"},
		{"empty members", withState("foo=1,,bar=2, ,"), goesOn, "foo=1,bar=2"},
		{"several states", withState("foo=1,bar=2", "rojo=1,congo=2", "baz=3"), goesOn, "foo=1,bar=2,rojo=1,congo=2,baz=3"},
		{"a key twice, alike", withState("foo=1,foo=1"), goesOn, "foo=1"},
		{"a key twice", withState("foo=1,foo=2"), goesOn, "foo=1"},
		{"a key in two states, alike", withState("foo=1", "foo=1"), goesOn, "foo=1"},
		{"a key in two states", withState("foo=1,a=b", "foo=2,c=d"), goesOn, "foo=1,a=b,c=d"},
		{"a key that begins with another", withState("foo=1,foobar=2,fo=3"), goesOn, "foo=1,foobar=2,fo=3"},
		{"every character", withState(key + "=" + value.String()), goesOn, key + "=" + value.String()},
		{"every character, with a tenant", withState(key + "@a-z0-9_-*/=" + value.String()), goesOn, key + "@a-z0-9_-*/=" + value.String()},
		{"white space about the commas", withState("foo=1 \t , \t bar=2, \t baz=3"), goesOn, "foo=1,bar=2,baz=3"},
		{"tabs about the commas", withState("foo=1\t \t,\t \tbar=2,\t \tbaz=3"), goesOn, "foo=1,bar=2,baz=3"},
		{"white space before", withState(" \tfoo=1"), goesOn, "foo=1"},
		{"white space behind", withState("foo=1 \t"), goesOn, "foo=1"},
		{"a space in the key", withState("foo =1"), goesOn, ""},
		{"a space before the value belongs to it", withState("foo= 1"), goesOn, "foo= 1"},
		{"capitals in the key", withState("FOO=1"), goesOn, ""},
		{"a dot in the key", withState("foo.bar=1,a=1"), goesOn, ""},
		{"a key that begins with a digit", withState("1foo=1"), goesOn, "1foo=1"},
		{"a key that begins with a sign", withState("_foo=1"), goesOn, ""},
		{"a key that ends in @", withState("foo@=1,bar=2"), goesOn, "foo@=1,bar=2"},
		{"a key that begins with @", withState("@foo=1,bar=2"), goesOn, ""},
		{"a key with two @", withState("foo@@bar=1,bar=2"), goesOn, "foo@@bar=1,bar=2"},
		{"a key with @ twice", withState("foo@bar@baz=1,bar=2"), goesOn, "foo@bar@baz=1,bar=2"},
		{"32 members", withState(members(1, 10), members(11, 20), members(21, 32)), goesOn, members(1, 32)},
		{"33 members", withState(members(1, 10), members(11, 20), members(21, 33)), goesOn, ""},
		{"a key of 256", withState("foo=1", z(256)+"=1"), goesOn, "foo=1," + z(256) + "=1"},
		{"a key of 257", withState("foo=1", z(257)+"=1"), goesOn, ""},
		{"a tenant of 241 and a system of 14", withState("foo=1", z(241)+"@"+z(14)+"=1"), goesOn, "foo=1," + z(241) + "@" + z(14) + "=1"},
		{"a tenant of 242, which Level 2 allows", withState("foo=1", z(242)+"@v=1"), goesOn, "foo=1," + z(242) + "@v=1"},
		{"a system of 15, which Level 2 allows", withState("foo=1", "t@"+z(15)+"=1"), goesOn, "foo=1,t@" + z(15) + "=1"},
		{"a value of 256", withState("foo=" + z(256)), goesOn, "foo=" + z(256)},
		{"a value of 257", withState("foo=" + z(257)), goesOn, ""},
		{"an equals sign in the value", withState("foo=bar=baz"), goesOn, ""},
		{"no value", withState("foo=,bar=3"), goesOn, ""},
		{"no equals sign", withState("foo,bar=3"), goesOn, ""},
		{"not ASCII", withState("foo=ä"), goesOn, ""},
	}
	for _, c := range []struct {
		name, parent string
		same         bool
	}{
		{"version 00, a character more", w3cGood + ".", new},
		{"version 00, a field more", w3cGood + "-what-the-future-will-be-like", new},
		{"version 00, a dash more", w3cGood + "-", new},
		{"version cc", "cc" + w3cGood[2:], goesOn},
		{"version cc, a field more", "cc" + w3cGood[2:] + "-what-the-future-will-be-like", goesOn},
		{"version cc, a dash more", "cc" + w3cGood[2:] + "-", goesOn},
		{"version cc, a field without its dash", "cc" + w3cGood[2:] + ".what-the-future-will-be-like", new},
		{"version cc, a digit more", "cc" + w3cGood[2:] + "0", new},
		{"version ff", "ff" + w3cGood[2:], new},
		{"version with a dot before", ".0" + w3cGood[2:], new},
		{"version with a dot behind", "0." + w3cGood[2:], new},
		{"version of three", "000" + w3cGood[2:], new},
		{"version of four", "0000" + w3cGood[2:], new},
		{"version of one", "0" + w3cGood[2:], new},
		{"version in capitals", "CC" + w3cGood[2:], new},
		{"trace ID of zeros", "00-" + strings.Repeat("0", 32) + "-" + w3cParent + "-01", new},
		{"trace ID with a dot before", "00-." + w3cTrace[1:] + "-" + w3cParent + "-01", new},
		{"trace ID with a dot behind", "00-" + w3cTrace[:31] + ".-" + w3cParent + "-01", new},
		{"trace ID too long", "00-" + w3cTrace + "3-" + w3cParent + "-01", new},
		{"trace ID too short", "00-" + w3cTrace[:31] + "-" + w3cParent + "-01", new},
		{"trace ID in capitals", "00-" + "ABCDEF" + w3cTrace[6:] + "-" + w3cParent + "-01", new},
		{"parent ID of zeros", "00-" + w3cTrace + "-0000000000000000-01", new},
		{"parent ID with a dot before", "00-" + w3cTrace + "-." + w3cParent[1:] + "-01", new},
		{"parent ID with a dot behind", "00-" + w3cTrace + "-" + w3cParent[:15] + ".-01", new},
		{"parent ID too long", "00-" + w3cTrace + "-" + w3cParent + "7-01", new},
		{"parent ID too short", "00-" + w3cTrace + "-" + w3cParent[:15] + "-01", new},
		{"flags with a dot before", w3cGood[:53] + ".0", new},
		{"flags with a dot behind", w3cGood[:53] + "0.", new},
		{"flags of three", w3cGood[:53] + "001", new},
		{"flags of one", w3cGood[:53] + "1", new},
		{"flags that mean nothing yet", w3cGood[:53] + "ff", goesOn},
		{"flags unset", w3cGood[:53] + "00", goesOn},
		{"nothing", "", new},
	} {
		cases = append(cases, w3c{c.name, []string{parent(c.parent)}, c.same, ""})
	}
	return cases
}()

func TestTraceContextIsPassedOnAsTheW3CSays(t *testing.T) {
	p, _ := provider(t, Settings{Sampler: refuse()})
	ways := []struct {
		name string
		pass func(h http.Header) http.Header
	}{
		{"the server and the client of this module", func(h http.Header) http.Header {
			var s Span
			p.Begin(&s, context.Background(), Options{Name: "server", Header: h})
			defer s.Finish(Outcome{})
			c := p.Start(&s, Options{Name: "client"})
			defer c.Finish(Outcome{})
			out := http.Header{}
			c.Inject(out)
			return out
		}},
		{"the propagator and other libraries", func(h http.Header) http.Header {
			ctx := Propagator{}.Extract(context.Background(), propagation.HeaderCarrier(h))
			ctx, s := p.Tracer("lib").Start(ctx, "server")
			defer s.End()
			out := http.Header{}
			Propagator{}.Inject(ctx, propagation.HeaderCarrier(out))
			return out
		}},
		{"a provider that is off", func(h http.Header) http.Header {
			var s Span
			(*Provider)(nil).Begin(&s, context.Background(), Options{Name: "server", Header: h})
			out := http.Header{}
			s.Inject(out)
			return out
		}},
	}
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			for _, c := range w3cCases {
				t.Run(c.name, func(t *testing.T) {
					raw := "GET / HTTP/1.1\r\nHost: x\r\n"
					for _, h := range c.headers {
						raw += h + "\r\n"
					}
					r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw + "\r\n")))
					if err != nil {
						t.Fatal(err)
					}
					out := way.pass(r.Header)
					got := out.Values("traceparent")
					if len(got) == 0 && !c.same && way.name == "a provider that is off" {
						return // it begins no traces
					}
					if len(got) != 1 {
						t.Fatalf("%d traceparents", len(got))
					}
					next, ok := parseTraceparent(got[0])
					if !ok || len(got[0]) != traceparentLen || !strings.HasPrefix(got[0], "00-") {
						t.Fatalf("passed on %q", got[0])
					}
					if same := next.TraceID.String() == w3cTrace; same != c.same {
						t.Errorf("the same trace: %v, want %v", same, c.same)
					}
					if next.SpanID.String() == w3cParent && way.name != "a provider that is off" {
						t.Errorf("the parent ID is passed on in %q", got[0])
					}
					if got := strings.Join(out.Values("tracestate"), " and "); got != c.state {
						t.Errorf("state %q, want %q", got, c.state)
					}
				})
			}
		})
	}
}

func TestSeveralCallsOfOneRequestHaveParentsOfTheirOwn(t *testing.T) {
	p, _ := provider(t, Settings{})
	for _, c := range []struct {
		header string
		same   bool
	}{{w3cGood, true}, {"", false}, {"00-" + strings.Repeat("0", 32) + "-" + w3cParent + "-01", false}} {
		h := http.Header{}
		if c.header != "" {
			h.Set("traceparent", c.header)
		}
		s := p.Start(context.Background(), Options{Name: "server", Header: h})
		parents := map[trace.SpanID]bool{}
		for range 3 {
			client := p.Start(s, Options{Name: "client"})
			out := http.Header{}
			client.Inject(out)
			sc := ParseTraceparent(out)
			if (sc.TraceID().String() == w3cTrace) != c.same || sc.TraceID() != s.TraceID() {
				t.Errorf("%q: trace %s", c.header, sc.TraceID())
			}
			parents[sc.SpanID()] = true
			client.Finish(Outcome{})
		}
		s.Finish(Outcome{})
		if len(parents) != 3 {
			t.Errorf("%q: %d parent IDs", c.header, len(parents))
		}
	}
}

func TestAMapCarriesWhatHeadersCarry(t *testing.T) {
	m := propagation.MapCarrier{"traceparent": w3cGood, "tracestate": "foo@@bar=1,bar=2"}
	ctx := Propagator{}.Extract(context.Background(), m)
	if sc := trace.SpanContextFromContext(ctx); !sc.IsRemote() || sc.TraceID().String() != w3cTrace {
		t.Errorf("extracted %v", sc)
	}
	out := propagation.MapCarrier{}
	Propagator{}.Inject(ctx, out)
	if out["traceparent"] != w3cGood || out["tracestate"] != m["tracestate"] {
		t.Errorf("injected %v", out)
	}
}

func FuzzTraceContext(f *testing.F) {
	f.Add(w3cGood, "foo=1,bar=2", "foo@@bar=1")
	f.Add("cc-"+w3cTrace+"-"+w3cParent+"-01-x", "foo=1, ,foo=2", "")
	f.Add("", "=", ",")
	f.Fuzz(func(t *testing.T, tp, ts1, ts2 string) {
		h := http.Header{"Traceparent": {tp}, "Tracestate": {ts1, ts2}}
		var s Span
		(*Provider)(nil).Begin(&s, context.Background(), Options{Header: h})
		out := http.Header{}
		s.Inject(out)
		if len(out) == 0 {
			return
		}
		// What is passed on is well formed, and stays as it is when it is passed on again.
		var again Span
		(*Provider)(nil).Begin(&again, context.Background(), Options{Header: out})
		twice := http.Header{}
		again.Inject(twice)
		if fmt.Sprint(out) != fmt.Sprint(twice) {
			t.Errorf("%v became %v", out, twice)
		}
		if sc, want := ParseTraceparent(h), s.SpanContext(); sc.TraceID() != want.TraceID() || sc.TraceState().String() != want.TraceState().String() {
			t.Errorf("ParseTraceparent says %v", sc)
		}
		// Where the SDK's propagator reads one state of one header, ours reads the same or is the one that is right.
		theirs := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), propagation.HeaderCarrier(h)))
		if theirs.IsValid() && theirs.TraceID() != s.TraceID() {
			t.Errorf("the SDK reads %v", theirs)
		}
	})
}
