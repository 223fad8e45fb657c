package observe

import (
	"net/url"
	"strings"
)

const redacted = "REDACTED"

// secretKeys are the query parameters whose values never leave the process, in
// lower case and without separators: the signatures that the semantic
// conventions list for url.full and url.query, and the names under which
// tokens and passwords are usually sent.
var secretKeys = map[string]bool{
	"awsaccesskeyid": true, "sig": true, "signature": true,
	"auth": true, "authorization": true, "bearer": true, "jwt": true, "code": true, "state": true, "assertion": true,
	"key": true, "pass": true, "passphrase": true, "pin": true, "otp": true,
	"session": true, "sessionid": true, "sid": true,
}

// secretEnds are the ends of such names: access_token, X-Amz-Signature, clientSecret.
var secretEnds = []string{"token", "secret", "password", "passwd", "pwd", "signature", "credential", "credentials", "apikey", "accesskey", "privatekey"}

var separators = strings.NewReplacer("_", "", "-", "", " ", "")

// secretKey reports whether key names a secret, also as a part of a nested
// name: user[password], oauth.token.
func secretKey(key string) bool {
	for part := range strings.FieldsFuncSeq(strings.ToLower(key), func(r rune) bool { return strings.ContainsRune("[].:/", r) }) {
		part = separators.Replace(part)
		if secretKeys[part] {
			return true
		}
		for _, end := range secretEnds {
			if strings.HasSuffix(part, end) {
				return true
			}
		}
	}
	return false
}

// redactQuery replaces the values of secret parameters and leaves the rest as
// it was written. Some servers take ";" for a separator, so a secret is looked
// for behind one; but a value may hold one too, so a secret ends at "&".
func redactQuery(raw string) string {
	if !strings.Contains(raw, "=") {
		return raw
	}
	parts := strings.Split(raw, "&")
	for i, part := range parts {
		for at := 0; at < len(part); {
			pair, _, _ := strings.Cut(part[at:], ";")
			key, _, ok := strings.Cut(pair, "=")
			if plain, err := url.QueryUnescape(key); ok && (err != nil || secretKey(plain)) {
				parts[i] = part[:at] + key + "=" + redacted
				break
			}
			at += len(pair) + 1
		}
	}
	return strings.Join(parts, "&")
}

// redactURL is the URL without user, password and secret parameters. The
// fragment is never sent and goes too.
func redactURL(u *url.URL) string {
	safe := *u
	if safe.User != nil {
		safe.User = url.UserPassword(redacted, redacted)
	}
	if i := strings.LastIndexByte(safe.Opaque, '@'); i >= 0 {
		safe.Opaque = "//" + redacted + ":" + redacted + safe.Opaque[i:]
	}
	if path, query, ok := strings.Cut(safe.Opaque, "?"); ok {
		safe.Opaque = path + "?" + redactQuery(query)
	}
	safe.RawQuery = redactQuery(safe.RawQuery)
	safe.Fragment, safe.RawFragment = "", ""
	return safe.String()
}
