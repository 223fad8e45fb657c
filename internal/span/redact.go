package span

import (
	"net/url"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/attribute"
)

const redacted = "REDACTED"

// signatures are the keys of a query whose values the semantic conventions say to redact, by their exact case.
var signatures = []string{
	"X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", "AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature",
}

// secrets are further keys whose values open doors, in any case and with - for _.
var secrets = []string{
	"access_token", "refresh_token", "id_token", "token", "auth_token", "api_key", "apikey", "password", "passwd", "pwd",
	"secret", "client_secret", "session", "session_id", "jwt",
}

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
// searched too: tokens travel there.
func (r Redactor) Query(query string) string {
	var b strings.Builder
	done := 0
	for i := 0; i <= len(query); {
		end := i + strings.IndexAny(query[i:], "&;#")
		if end < i {
			end = len(query)
		}
		pair := query[i:end]
		if eq := strings.IndexByte(pair, '='); eq >= 0 && eq+1 < len(pair) && r.secret(pair[:eq]) {
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

func (r Redactor) secret(key string) bool {
	if strings.ContainsAny(key, "%+") {
		if plain, err := url.QueryUnescape(key); err == nil {
			key = plain
		}
	}
	if slices.Contains(signatures, key) {
		return true
	}
	same := func(name string) bool {
		if len(name) != len(key) {
			return false
		}
		for i := range len(name) {
			a, b := lower(name[i]), lower(key[i])
			if a != b {
				return false
			}
		}
		return true
	}
	return slices.ContainsFunc(secrets, same) || slices.ContainsFunc(r.Keys, same)
}

func lower(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	case c == '-':
		return '_'
	}
	return c
}

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
