package span

import (
	"net/url"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/attribute"
)

const redacted = "REDACTED"

// secretNames are the keys of a query whose values never leave the process, and secretEnds how such names end, in lower
// case and without separators: the signatures that the semantic conventions list, and the names under which tokens,
// keys and passwords are usually sent.
var (
	secretNames = []string{
		"awsaccesskeyid", "sig", "auth", "authorization", "bearer", "jwt", "code", "state", "assertion", "key", "pass",
		"passphrase", "pin", "otp", "session", "sessionid", "sid",
	}
	secretEnds = []string{
		"token", "secret", "password", "passwd", "pwd", "signature", "credential", "credentials", "apikey", "accesskey", "privatekey",
	}
)

// Redactor takes secrets out of URLs. The zero Redactor knows those of the semantic conventions and the usual names of
// tokens, keys and passwords.
type Redactor struct {
	// Keys are further keys of a query whose values are redacted, in any case.
	Keys []string
}

// URL returns u with its user and password and the values of secret keys in its query replaced by REDACTED. It need not
// parse: what looks like a part of a URL is treated as one. A URL without secrets is returned as it is.
func (r Redactor) URL(u string) string {
	head, query := u, ""
	at := strings.IndexByte(u, '?')
	if at >= 0 {
		head, query = u[:at], u[at+1:]
	}
	clean := redactUser(head)
	if at < 0 {
		return clean
	}
	q := r.Query(query)
	if len(clean) == len(head) && clean == head && q == query {
		return u
	}
	return clean + "?" + q
}

// redactUser replaces what stands before the @ of the authority.
func redactUser(head string) string {
	if strings.IndexByte(head, '@') < 0 { // as in nearly all
		return head
	}
	start := strings.Index(head, "//")
	if start < 0 {
		return head
	}
	start += 2
	end := len(head)
	if i := strings.IndexAny(head[start:], "/#\\"); i >= 0 {
		end = start + i
	}
	at := strings.LastIndexByte(head[start:end], '@')
	if at < 0 {
		return head
	}
	user := redacted
	if strings.IndexByte(head[start:start+at], ':') >= 0 {
		user += ":" + redacted
	}
	return head[:start] + user + head[start+at:]
}

// Query returns a raw query, without its ?, with the values of secret keys replaced by REDACTED. A fragment behind it is
// searched too: tokens travel there. A secret ends at & or #; it may hold a semicolon, though some servers take that for
// a separator too.
func (r Redactor) Query(query string) string {
	var b strings.Builder
	done := 0
	for i := 0; i < len(query); {
		end := next(query, i, "&;#")
		pair := query[i:end]
		if eq := strings.IndexByte(pair, '='); eq >= 0 && r.secret(pair[:eq]) {
			end = next(query, end, "&#")
			b.WriteString(query[done : i+eq+1])
			b.WriteString(redacted)
			done = end
		}
		i = end + 1
	}
	if done == 0 {
		return query
	}
	b.WriteString(query[done:])
	return b.String()
}

// next returns where the first of chars is, from i on, or the end.
func next(s string, i int, chars string) int {
	if n := strings.IndexAny(s[i:], chars); n >= 0 {
		return i + n
	}
	return len(s)
}

// secret reports whether a key names a secret, also as a part of a nested name: user[password], oauth.token. What cannot
// be decoded could be one.
func (r Redactor) secret(key string) bool {
	if strings.ContainsAny(key, "%+") {
		plain, err := url.QueryUnescape(key)
		if err != nil {
			return true
		}
		key = plain
	}
	var name [64]byte // the end of the part, without separators
	n, long := 0, false
	for i := 0; i <= len(key); i++ {
		if i == len(key) || strings.IndexByte("[].:/", key[i]) >= 0 {
			if r.match(name[:n], long) {
				return true
			}
			n, long = 0, false
			continue
		}
		c := key[i]
		switch {
		case c == '_' || c == '-' || c == ' ':
			continue
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		}
		if n == len(name) {
			copy(name[:], name[1:])
			n, long = n-1, true
		}
		name[n] = c
		n++
	}
	return false
}

func (r Redactor) match(part []byte, long bool) bool {
	if len(part) == 0 {
		return false
	}
	for _, end := range secretEnds {
		if len(part) >= len(end) && string(part[len(part)-len(end):]) == end {
			return true
		}
	}
	if long {
		return false
	}
	for _, name := range secretNames {
		if string(part) == name {
			return true
		}
	}
	for _, k := range r.Keys {
		if plain(k) == string(part) {
			return true
		}
	}
	return false
}

var separators = strings.NewReplacer("_", "", "-", "", " ", "")

func plain(key string) string { return separators.Replace(strings.ToLower(key)) }

// attributes redacts the URLs among attrs, in a copy when one changes: the array may be shared.
func (r Redactor) attributes(attrs []attribute.KeyValue) []attribute.KeyValue {
	copied := false
	for i := range attrs {
		var f func(string) string
		switch attrs[i].Key {
		case "url.full", "http.url", "http.target", "url.original":
			f = r.URL
		case "url.query":
			f = r.Query
		default:
			continue
		}
		if attrs[i].Value.Type() != attribute.STRING {
			continue
		}
		v := attrs[i].Value.AsString()
		clean := f(v)
		if clean == v {
			continue
		}
		if !copied {
			attrs, copied = slices.Clone(attrs), true
		}
		attrs[i].Value = attribute.StringValue(clean)
	}
	return attrs
}
