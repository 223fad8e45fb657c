package doctor

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestPairs: two faults at once, every pair of six. Both are to be named in at least
// four pairs of five; the rest hide each other.
func TestPairs(t *testing.T) {
	rows, err := readTable("testdata/table.txt")
	if err != nil {
		t.Fatal(err)
	}
	six := []string{"one route burns cpu", "held during i/o, sampled", "pool exhausted", "dependency slow", "slow route by code", "slow query"}
	named, pairs := 0, 0
	for i, a := range six {
		for _, b := range six[i+1:] {
			one, two := find(t, rows, a), find(t, rows, b)
			both := merge(rows[0], one, two)
			r := Diagnose(Evidence{Now: both.window(t, rows[0]), Usual: usualWindow(t, rows[0]), Running: time.Hour})
			pairs++
			missing := ""
			for _, want := range []string{one.want, two.want} {
				cause, _, _ := strings.Cut(want, " ")
				if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return string(f.Cause) == cause }) {
					missing += " " + cause
				}
			}
			if missing == "" {
				named++
			} else {
				t.Logf("%s, and %s: not named:%s\n%s", a, b, missing, r)
			}
		}
	}
	if 5*named < 4*pairs {
		t.Errorf("%d of %d pairs", named, pairs)
	}
}

func find(t *testing.T, rows []tableRow, name string) tableRow {
	for _, r := range rows {
		if r.name == name {
			return r
		}
	}
	t.Fatalf("no row %q", name)
	return tableRow{}
}

// merge adds up what two rows change.
func merge(usual, a, b tableRow) tableRow {
	m := tableRow{name: a.name + ", " + b.name, figures: maps.Clone(a.figures), texts: maps.Clone(a.texts), sites: slices.Concat(a.sites, b.sites)}
	for k, v := range b.figures {
		if had, ok := a.figures[k]; ok {
			m.figures[k] = v + had - usual.figures[k]
			if k == "host" {
				m.figures[k] = max(v, had)
			}
		} else {
			m.figures[k] = v
		}
	}
	maps.Copy(m.texts, b.texts)
	return m
}
