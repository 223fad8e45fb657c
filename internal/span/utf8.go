package span

import (
	"encoding/binary"
	"slices"
	"strings"
	"unicode/utf8"
	"unsafe"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// The OTLP exporters give up a whole batch for one string that is not UTF-8. So such strings are mended before, in
// copies, on the exporter's goroutine: nothing but the bad bytes is lost.

// mendAll returns spans with every text in UTF-8: the slice itself when they were.
func mendAll(spans []sdktrace.ReadOnlySpan) []sdktrace.ReadOnlySpan {
	copied := false
	for i, s := range spans {
		r, ok := s.(*record)
		if !ok || r.sound() {
			continue
		}
		if !copied {
			spans, copied = slices.Clone(spans), true
		}
		spans[i] = r.mend()
	}
	return spans
}

func (r *record) sound() bool {
	if !r.scope.sound {
		return false
	}
	if r.facts.By == nil && !Sound(r.name) {
		return false
	}
	if r.rest == nil {
		return true
	}
	if !Sound(r.rest.description) || !r.described && !soundAttrs(r.rest.attrs) {
		return false
	}
	for i := range r.rest.events {
		if !Sound(r.rest.events[i].Name) || !soundAttrs(r.rest.events[i].Attributes) {
			return false
		}
	}
	for i := range r.rest.links {
		if !soundAttrs(r.rest.links[i].Attributes) {
			return false
		}
	}
	return true
}

func (r *record) mend() *record {
	c := &record{ReadOnlySpan: r.ReadOnlySpan, copied: r.copied}
	c.name = mend(c.name)
	if r.rest != nil {
		rest := *r.rest
		c.rest = &rest
		rest.description, rest.attrs = mend(rest.description), mendAttrs(rest.attrs)
		rest.events = slices.Clone(rest.events)
		for i := range rest.events {
			rest.events[i].Name, rest.events[i].Attributes = mend(rest.events[i].Name), mendAttrs(rest.events[i].Attributes)
		}
		rest.links = slices.Clone(rest.links)
		for i := range rest.links {
			rest.links[i].Attributes = mendAttrs(rest.links[i].Attributes)
		}
	}
	if !c.scope.sound {
		scope := &Scope{ReadWriteSpan: c.scope.ReadWriteSpan, p: c.scope.p, is: c.scope.is, sound: true}
		scope.is.Name, scope.is.Version, scope.is.SchemaURL = mend(scope.is.Name), mend(scope.is.Version), mend(scope.is.SchemaURL)
		scope.is.Attributes = attribute.NewSet(mendAttrs(scope.is.Attributes.ToSlice())...)
		c.scope = scope
	}
	return c
}

func soundScope(is instrumentation.Scope) bool {
	return Sound(is.Name) && Sound(is.Version) && Sound(is.SchemaURL) && soundAttrs(is.Attributes.ToSlice())
}

// Sound reports whether s is UTF-8. Nearly all is ASCII, and that is seen eight bytes at a time: every string of every
// exported span comes through here.
func Sound(s string) bool {
	const high = 0x8080808080808080
	var bits uint64
	if b := unsafe.Slice(unsafe.StringData(s), len(s)); len(b) >= 8 { // read only
		for ; len(b) > 8; b = b[8:] {
			bits |= binary.LittleEndian.Uint64(b)
			if len(b) < 16 { // the rest, overlapping what was seen
				bits |= binary.LittleEndian.Uint64(b[len(b)-8:])
				break
			}
		}
		if len(b) == 8 {
			bits |= binary.LittleEndian.Uint64(b)
		}
	} else {
		for _, c := range b {
			bits |= uint64(c)
		}
	}
	return bits&high == 0 || utf8.ValidString(s)
}

func mend(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func soundAttrs(attrs []attribute.KeyValue) bool {
	for i := range attrs {
		if !Sound(string(attrs[i].Key)) || !soundValue(&attrs[i].Value) {
			return false
		}
	}
	return true
}

func soundValue(v *attribute.Value) bool {
	switch v.Type() {
	case attribute.STRING:
		return Sound(v.AsString())
	case attribute.STRINGSLICE:
		for _, s := range v.AsStringSlice() {
			if !Sound(s) {
				return false
			}
		}
	case attribute.SLICE:
		for _, e := range v.AsSlice() {
			if !soundValue(&e) {
				return false
			}
		}
	case attribute.MAP:
		return soundAttrs(v.AsMap())
	}
	return true
}

func mendAttrs(attrs []attribute.KeyValue) []attribute.KeyValue {
	attrs = slices.Clone(attrs)
	for i := range attrs {
		attrs[i] = attribute.KeyValue{Key: attribute.Key(mend(string(attrs[i].Key))), Value: mendValue(attrs[i].Value)}
	}
	return attrs
}

func mendValue(v attribute.Value) attribute.Value {
	switch v.Type() {
	case attribute.STRING:
		return attribute.StringValue(mend(v.AsString()))
	case attribute.STRINGSLICE:
		list := slices.Clone(v.AsStringSlice())
		for i := range list {
			list[i] = mend(list[i])
		}
		return attribute.StringSliceValue(list)
	case attribute.SLICE:
		list := slices.Clone(v.AsSlice())
		for i := range list {
			list[i] = mendValue(list[i])
		}
		return attribute.SliceValue(list...)
	case attribute.MAP:
		return attribute.MapValue(mendAttrs(v.AsMap())...)
	}
	return v
}
