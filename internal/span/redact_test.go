package span

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

func TestSecretsAreTakenOutOfURLs(t *testing.T) {
	r := Redactor{Keys: []string{"License"}}
	for in, want := range map[string]string{
		"":                               "",
		"/a?b=c":                         "/a?b=c",
		"https://example.org/a?b=c#d":    "https://example.org/a?b=c#d",
		"https://user:pass@example.org/": "https://REDACTED:REDACTED@example.org/",
		"https://user@example.org/":      "https://REDACTED@example.org/",
		"https://a:b@c@example.org":      "https://REDACTED:REDACTED@example.org",
		"https://example.org/a@b:c":      "https://example.org/a@b:c",
		"//u:p@host":                     "//REDACTED:REDACTED@host",
		"/a?sig=1":                       "/a?sig=REDACTED",
		"/a?SIG=1":                       "/a?SIG=REDACTED",
		"/a?monkey=1&designer=2":         "/a?monkey=1&designer=2",
		"/a?accessToken=1&user[password]=2&oauth.token=3": "/a?accessToken=REDACTED&user[password]=REDACTED&oauth.token=REDACTED",
		"/a?%zz=1":             "/a?%zz=REDACTED",
		"/a?a=1;token=2;3&b=4": "/a?a=1;token=REDACTED&b=4",
		"/a?" + strings.Repeat("x", 100) + "_token=1": "/a?" + strings.Repeat("x", 100) + "_token=REDACTED",
		"/a?x=1&Signature=2&y=3":                      "/a?x=1&Signature=REDACTED&y=3",
		"/a?X-Amz-Signature=a%2Fb&X-Amz-Credential=c&X-Amz-Security-Token=d&AWSAccessKeyId=e&X-Goog-Signature=f": "/a?X-Amz-Signature=REDACTED&X-Amz-Credential=REDACTED&X-Amz-Security-Token=REDACTED&AWSAccessKeyId=REDACTED&X-Goog-Signature=REDACTED",
		"/a?access_token=1&Api-Key=2":         "/a?access_token=REDACTED&Api-Key=REDACTED",
		"/a?%74oken=1":                        "/a?%74oken=REDACTED",
		"/a?token=":                           "/a?token=REDACTED",
		"/a?token":                            "/a?token",
		"/a?LICENSE=1":                        "/a?LICENSE=REDACTED",
		"/cb?page=x#access_token=1&id=2":      "/cb?page=x#access_token=REDACTED&id=2",
		"/a?password=a=b&c=d":                 "/a?password=REDACTED&c=d",
		"/a?&&token=1&":                       "/a?&&token=REDACTED&",
		"postgres://u:p@db/x?password=secret": "postgres://REDACTED:REDACTED@db/x?password=REDACTED",
	} {
		if got := r.URL(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func TestURLsWithoutSecretsCostNoMemory(t *testing.T) {
	var r Redactor
	if n := testing.AllocsPerRun(100, func() { r.URL("https://example.org/items/1?page=2&size=10") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestNoSecretOfALibraryIsExportedOrShown(t *testing.T) {
	p, arrived := provider(t, Settings{})
	attrs := []attribute.KeyValue{
		attribute.String("url.full", "https://u:hunter2@example.org/?token=hunter2"), attribute.String("url.query", "sig=hunter2"),
		attribute.String("http.url", "http://u:hunter2@x/"), attribute.Int("url.full.length", 3), attribute.Int("http.target", 7),
	}
	_, s := p.Tracer("otelhttp").Start(context.Background(), "GET", trace.WithAttributes(attrs...))
	s.End()
	for _, a := range arrived()[0].Attributes {
		if strings.Contains(a.Value.String(), "hunter2") {
			t.Errorf("exported %s", a.Value.String())
		}
	}
	for k, v := range p.Recent()[0].Spans[0].Attributes {
		if strings.Contains(v, "hunter2") {
			t.Errorf("shown %s=%s", k, v)
		}
	}
	if !strings.Contains(attrs[0].Value.AsString(), "hunter2") {
		t.Error("the library's own slice was changed")
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("https://u:p@example.org/a?token=1&x=2#y")
	f.Add("?&=;#token=1")
	f.Fuzz(func(t *testing.T, u string) {
		var r Redactor
		got := r.URL(u)
		if again := r.URL(got); again != got {
			t.Errorf("%q became %q, and then %q", u, got, again)
		}
		parsed, err := url.Parse(got)
		if err != nil {
			return
		}
		if pass, ok := parsed.User.Password(); ok && pass != redacted {
			t.Errorf("%q leaves the password in %q", u, got)
		}
		for _, v := range parsed.Query()["token"] {
			if v != redacted {
				t.Errorf("%q leaves a token in %q", u, got)
			}
		}
	})
}
