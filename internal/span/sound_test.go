package span

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestSoundAgreesWithUTF8(t *testing.T) {
	for n := range 40 {
		for at := range n + 1 {
			for _, bad := range []string{"", "\xff", "\x80", "é", "\xc3", "世", "\xed\xa0\x80"} {
				s := strings.Repeat("a", at) + bad + strings.Repeat("b", n-at)
				if Sound(s) != utf8.ValidString(s) {
					t.Errorf("%q: %v", s, Sound(s))
				}
			}
		}
	}
}
