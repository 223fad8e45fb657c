package observe

import (
	"net/url"
	"strings"
	"testing"
)

func TestRedactURL(t *testing.T) {
	for _, c := range []struct{ raw, want string }{
		{"http://host/path?a=1&b=2", "http://host/path?a=1&b=2"},
		{"https://user:pw@host/", "https://REDACTED:REDACTED@host/"},
		{"https://token@host/", "https://REDACTED@host/"},
		{"https://host/#access_token=secret", "https://host/"},
		{"https://host/?X-Amz-Signature=secret&x=1", "https://host/?X-Amz-Signature=REDACTED&x=1"},
		{"https://host/?X-Goog-Signature=secret", "https://host/?X-Goog-Signature=REDACTED"},
		{"https://host/?AWSAccessKeyId=secret&Signature=secret&sig=secret", "https://host/?AWSAccessKeyId=REDACTED&Signature=REDACTED&sig=REDACTED"},
		{"https://host/?access_token=secret&accessToken=secret&access-token=secret", "https://host/?access_token=REDACTED&accessToken=REDACTED&access-token=REDACTED"},
		{"https://host/?user[password]=secret&oauth.token=secret", "https://host/?user[password]=REDACTED&oauth.token=REDACTED"},
		{"https://host/?acc%65ss_token=secret", "https://host/?acc%65ss_token=REDACTED"},
		{"https://host/?%zz=secret", "https://host/?%zz=REDACTED"},
		{"https://host/?a=1;token=secret", "https://host/?a=1;token=REDACTED"},
		{"https://host/?token=secret;secret&b=2", "https://host/?token=REDACTED&b=2"},
		{"https://host/?token=", "https://host/?token=REDACTED"},
		{"https://host/?flag&&=x&monkey=1", "https://host/?flag&&=x&monkey=1"},
	} {
		u, err := url.Parse(c.raw)
		if err != nil {
			t.Fatal(err)
		}
		before := *u
		if got := redactURL(u); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.raw, got, c.want)
		}
		if *u != before {
			t.Errorf("%s: the caller's URL was changed", c.raw)
		}
	}
	opaque := &url.URL{Scheme: "http", Opaque: "//user:secret@host/path?token=secret"}
	if got := redactURL(opaque); strings.Contains(got, "secret") {
		t.Error(got)
	}
}

func FuzzRedactQuery(f *testing.F) {
	f.Add("a=1", "&")
	f.Add("a=1;b", ";")
	f.Add("%", "=")
	f.Fuzz(func(t *testing.T, before, after string) {
		const secret = "hunter2"
		for _, raw := range []string{before + "&token=" + secret + after, before + "&password=" + after + secret} {
			_, value, _ := strings.Cut(raw[len(before)+1:], "=")
			value, _, _ = strings.Cut(value, "&") // what follows belongs to another parameter
			if strings.Contains(before+after, secret) || !strings.Contains(value, secret) {
				continue
			}
			if got := redactQuery(raw); strings.Contains(got, secret) {
				t.Errorf("%q gives %q", raw, got)
			}
		}
	})
}
