package observe

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/loadline-go/loadline/internal/span"
)

// What an exporter makes of the facts is what Describe says.
func TestFactsDescribeWhatDescribeDoes(t *testing.T) {
	long := strings.Repeat("x", 300) + strings.Repeat("é", 3000)
	for name, change := range map[string]func(r *http.Request){
		"plain":                   func(*http.Request) {},
		"over TLS":                func(r *http.Request) { r.TLS = &tls.ConnectionState{} },
		"an unknown method":       func(r *http.Request) { r.Method = "PURGE" + strings.Repeat("!", 40) },
		"HTTP/2":                  func(r *http.Request) { r.ProtoMajor, r.ProtoMinor = 2, 0 },
		"no version":              func(r *http.Request) { r.ProtoMajor = 0 },
		"a port":                  func(r *http.Request) { r.Host = "shop.example:8443" },
		"port zero":               func(r *http.Request) { r.Host = "shop.example:0" },
		"an IPv6 address":         func(r *http.Request) { r.Host, r.RemoteAddr = "[::1]:80", "[2001:db8::1]:4711" },
		"no peer":                 func(r *http.Request) { r.RemoteAddr = "@" },
		"no host":                 func(r *http.Request) { r.Host = "" },
		"an agent":                func(r *http.Request) { r.Header.Set("User-Agent", "curl/8") },
		"a long agent":            func(r *http.Request) { r.Header.Set("User-Agent", long) },
		"a long path":             func(r *http.Request) { r.URL.Path = "/" + long },
		"a long host":             func(r *http.Request) { r.Host = long + ":80" },
		"a long host, no port":    func(r *http.Request) { r.Host = long },
		"a secret":                func(r *http.Request) { r.URL.RawQuery = "q=1&token=abc" },
		"a long secret":           func(r *http.Request) { r.URL.RawQuery = "q=1&token=" + long },
		"a secret behind a limit": func(r *http.Request) { r.URL.RawQuery = "q=" + long[:1010] + "&token=abc" },
		"a secret behind more":    func(r *http.Request) { r.URL.RawQuery = "q=" + long + "&token=abc" },
		"what is not UTF-8": func(r *http.Request) {
			r.URL = &url.URL{Path: "/\xff", RawQuery: "\xc3"}
			r.Host, r.Method = "\xff:1", "\xff"
			r.Header.Set("User-Agent", "\xff")
		},
		"long, and not UTF-8": func(r *http.Request) {
			r.URL.Path, r.Host = strings.Repeat("\xff", 5000), strings.Repeat("\xff", 5000)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/items/42?a=b", nil)
			change(r)
			q := &request{server: &server{}, r: r, series: &serverSeries{key: seriesKey{status: 500, class: classStatus}, route: "/items/{id}"}}
			want := q.Describe(q.Describe(nil, false), true)
			var f span.Facts
			if !q.Detach(&f) {
				t.Fatal("not detached")
			}
			r.Header.Set("User-Agent", "changed later")
			if got := f.By.DescribeFacts(&f, nil); !reflect.DeepEqual(got, want) {
				t.Errorf("by facts %v\nat once  %v", got, want)
			}
			size := 0
			for _, s := range f.Texts {
				size += len(s)
			}
			if size > maxFacts {
				t.Errorf("%d bytes are kept", size)
			}
			for _, a := range want {
				if s := a.Value.String(); strings.Contains(s, "abc") {
					t.Errorf("%s tells the secret: %s", a.Key, s)
				}
			}
		})
	}
}
