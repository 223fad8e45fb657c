package observe

import (
	"net/url"
	"strings"
)

const redacted = "REDACTED"

// secretKeys are the query parameters whose values never leave the process:
// the signatures that the semantic conventions list for url.full and
// url.query, and the names under which tokens and passwords are usually sent.
var secretKeys = map[string]bool{
	"x-amz-signature": true, "x-amz-credential": true, "x-amz-security-token": true, "awsaccesskeyid": true,
	"signature": true, "sig": true, "x-goog-signature": true,
	"access_token": true, "refresh_token": true, "id_token": true, "token": true, "auth": true, "authorization": true,
	"api_key": true, "apikey": true, "api-key": true, "key": true, "secret": true, "client_secret": true,
	"password": true, "passwd": true, "pwd": true, "code": true, "state": true, "session": true, "sessionid": true, "jwt": true,
}

// redactQuery replaces the values of secret parameters, whatever their case,
// and leaves the rest as it was written.
func redactQuery(raw string) string {
	if raw == "" {
		return ""
	}
	parts := strings.Split(raw, "&")
	for i, p := range parts {
		key, _, ok := strings.Cut(p, "=")
		if plain, err := url.QueryUnescape(key); ok && (err != nil || secretKeys[strings.ToLower(plain)]) {
			parts[i] = key + "=" + redacted
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
	safe.RawQuery = redactQuery(safe.RawQuery)
	safe.Fragment, safe.RawFragment = "", ""
	return safe.String()
}
