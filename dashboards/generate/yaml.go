package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// A pair is one entry of a YAML mapping whose order matters to a reader.
type pair struct {
	key   string
	value any // string, bool, int, []pair, []any
}

// yaml writes a document. It knows what the generated files need and no more:
// mappings in the order given, lists, strings that are quoted where YAML would
// read something else, and expressions of several lines as blocks.
func yaml(doc []pair) string {
	var b strings.Builder
	writeMap(&b, doc, "")
	return b.String()
}

func writeMap(b *strings.Builder, m []pair, indent string) {
	for _, p := range m {
		b.WriteString(indent + scalar(p.key) + ":")
		writeValue(b, p.value, indent)
	}
}

func writeValue(b *strings.Builder, v any, indent string) {
	switch v := v.(type) {
	case []pair:
		if len(v) == 0 {
			b.WriteString(" {}\n")
			return
		}
		b.WriteString("\n")
		writeMap(b, v, indent+"  ")
	case []any:
		if len(v) == 0 {
			b.WriteString(" []\n")
			return
		}
		b.WriteString("\n")
		for _, item := range v {
			if m, ok := item.([]pair); ok && len(m) > 0 {
				var inner strings.Builder
				writeMap(&inner, m, indent+"    ")
				b.WriteString(indent + "  - " + strings.TrimPrefix(inner.String(), indent+"    "))
				continue
			}
			b.WriteString(indent + "  -")
			writeValue(b, item, indent+"  ")
		}
	case string:
		if !strings.Contains(v, "\n") {
			b.WriteString(" " + scalar(v) + "\n")
			return
		}
		if strings.HasSuffix(v, "\n") {
			b.WriteString(" |\n")
		} else {
			b.WriteString(" |-\n")
		}
		for line := range strings.SplitSeq(strings.TrimSuffix(v, "\n"), "\n") {
			if line != "" {
				line = indent + "  " + line
			}
			b.WriteString(line + "\n")
		}
	default:
		fmt.Fprintf(b, " %v\n", v)
	}
}

// plain is what YAML reads as a string without quotes, whatever its version.
var plain = regexp.MustCompile(`^[A-Za-z_/]([A-Za-z0-9_./:+-]*[A-Za-z0-9_/])?$`)

// reserved words are booleans and nothings to some YAML reader.
var reserved = regexp.MustCompile(`(?i)^(y|n|yes|no|on|off|true|false|null|~)$`)

func scalar(s string) string {
	if plain.MatchString(s) && !reserved.MatchString(s) {
		return s
	}
	// JSON's strings are YAML's double-quoted ones, except for the escapes that
	// json.Marshal adds for HTML.
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic(err) // a string always encodes
	}
	return strings.TrimSuffix(b.String(), "\n")
}
