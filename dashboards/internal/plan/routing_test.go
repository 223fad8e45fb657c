package plan

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// matches says whether the alert meets a matcher of the plan's inhibitions.
func (a Alert) matches(t *testing.T, matcher string) bool {
	t.Helper()
	m := regexp.MustCompile(`^(\w+)(=~|!~|=)"(.*)"$`).FindStringSubmatch(matcher)
	if m == nil {
		t.Fatalf("matcher %s", matcher)
	}
	value := map[string]string{"alertname": a.Name, "severity": string(a.Severity), "category": a.Category}[m[1]]
	if m[1] == "instance" && slices.Contains(a.Vars, "instance") {
		value = "a"
	}
	is := value == m[3]
	if m[2] != "=" {
		is = regexp.MustCompile("^(?:" + m[3] + ")$").MatchString(value)
	}
	return is == (m[2] != "!~")
}

func TestInhibitionsNameAlertsThatExist(t *testing.T) {
	for _, i := range Inhibitions() {
		for _, matcher := range append([]string{i.Source}, i.Target...) {
			name, list, ok := strings.Cut(matcher, "~\"")
			if !ok || !strings.HasPrefix(name, "alertname") {
				continue
			}
			for want := range strings.SplitSeq(strings.TrimSuffix(list, `"`), "|") {
				if !slices.ContainsFunc(Default().Alerts(), func(a Alert) bool { return a.Name == want }) {
					t.Errorf("%s: no alert %s", matcher, want)
				}
			}
		}
		if len(i.Equal) == 0 || !slices.Contains(i.Equal, "job") {
			t.Errorf("%s: would keep other services quiet", i.Why)
		}
	}
}

// A page may be kept quiet by the service or the instance being gone, and by
// nothing else: to know a cause is no reason to let users wait.
func TestNoCauseKeepsAPageQuiet(t *testing.T) {
	alerts := Default().Alerts()
	gone := []string{"ServiceDown", "ServiceVanished", "TargetDown"}
	pairs := 0
	for _, i := range Inhibitions() {
		for _, source := range alerts {
			if !source.matches(t, i.Source) {
				continue
			}
			for _, target := range alerts {
				hit := true
				for _, m := range i.Target {
					hit = hit && target.matches(t, m)
				}
				if !hit {
					continue
				}
				pairs++
				if target.Name == "Watchdog" {
					t.Errorf("%s keeps the watchdog quiet", source.Name)
				}
				if target.Severity == Page && !slices.Contains(gone, source.Name) {
					t.Errorf("%s keeps the page %s quiet", source.Name, target.Name)
				}
			}
		}
	}
	if pairs < 20 {
		t.Errorf("the inhibitions touch %d pairs of alerts: the test reads nothing", pairs)
	}
}
