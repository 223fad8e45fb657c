package plan

import (
	"strings"
	"testing"

	"github.com/loadline-go/loadline/observe/doctor"
)

// A cause without a sentence would be told by its identifier.
func TestEveryCauseHasASentence(t *testing.T) {
	said := map[string]sentence{}
	for _, s := range doctorSentences {
		if _, twice := said[s.cause]; twice {
			t.Errorf("%s: twice", s.cause)
		}
		said[s.cause] = s
		if s.plain == "" && s.about == "" {
			t.Errorf("%s: no sentence", s.cause)
		}
		if s.about != "" && strings.Count(s.about, "$") != 1 || strings.Count(s.about, "$1") > 1 || strings.Contains(s.plain, "$") {
			t.Errorf("%s: the subject is named once: %q, %q", s.cause, s.about, s.plain)
		}
		for _, text := range []string{s.about, s.plain} {
			if strings.HasSuffix(text, ".") {
				t.Errorf("%s: a sentence goes on: %q", s.cause, text)
			}
		}
	}
	for _, i := range doctor.Causes() {
		if _, ok := said[string(i.Cause)]; !ok {
			t.Errorf("%s has no sentence", i.Cause)
		}
		delete(said, string(i.Cause))
	}
	for cause := range said {
		t.Errorf("the doctor knows no %s", cause)
	}
}
