package observe

import (
	"net/url"

	"github.com/loadline-go/loadline/internal/span"
)

// redacted stands in place of a secret.
const redacted = "REDACTED"

// redactQuery replaces the values of secret parameters.
func redactQuery(raw string) string { return span.Redactor{}.Query(raw) }

// redactURL is the URL without user, password and secret parameters. The
// fragment is never sent and goes too.
func redactURL(u *url.URL) string {
	safe := *u
	safe.Fragment, safe.RawFragment = "", ""
	return span.Redactor{}.URL(safe.String())
}
