package leakcheck

import "fmt"

// holdings is what each of the Sources had open at some time, by ID.
type holdings []map[uint64]bool

// hold asks the Sources. It returns nil if there are none.
func (c Config) hold() (holdings, error) {
	var all holdings
	for _, s := range c.Sources {
		open, err := s.Open()
		if err != nil {
			return nil, fmt.Errorf("kind %s: %w", s.Kind, err)
		}
		ids := map[uint64]bool{}
		for _, m := range open {
			ids[m.ID] = true
		}
		all = append(all, ids)
	}
	return all, nil
}

// heldSince describes what the Sources have open now and had not then, a line
// for each group.
func (c Config) heldSince(then holdings) (lines []string, err error) {
	for i, s := range c.Sources {
		open, err := s.Open()
		if err != nil {
			return nil, fmt.Errorf("kind %s: %w", s.Kind, err)
		}
		counts := map[string]int{}
		for _, m := range open {
			if i < len(then) && then[i][m.ID] {
				continue
			}
			what := ""
			if m.Group != "" {
				what += ", " + m.Group
			}
			if m.State != "" {
				what += " [" + m.State + "]"
			}
			if m.Site != (Frame{}) {
				what += ", opened at " + m.Site.String()
			}
			counts[what]++
		}
		for what, n := range counts {
			lines = append(lines, fmt.Sprintf("%d of kind %s%s", n, s.Kind, what))
		}
	}
	return lines, nil
}
