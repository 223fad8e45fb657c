package observe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"strconv"
	"syscall"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/internal/span"
)

// errorType names the class of an error for the label error_type: one of few,
// whatever its text says. "_OTHER" is the semantic conventions' word for the
// rest. An error whose methods panic, as those of a nil pointer in an error
// do, is one of the rest: the caller's call does not panic for being observed.
func errorType(err error) (class string) {
	defer func() {
		if recover() != nil {
			class = "_OTHER"
		}
	}()
	var (
		dns  *net.DNSError
		op   *net.OpError
		cert *tls.CertificateVerificationError
		host x509.HostnameError
		head tls.RecordHeaderError
		slow interface{ Timeout() bool }
	)
	switch {
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.As(err, &dns):
		return "dns"
	case errors.As(err, &slow) && slow.Timeout():
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection_refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNABORTED):
		return "connection_reset"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "unreachable"
	case errors.As(err, &cert), errors.As(err, &host), errors.As(err, &head), errors.Is(err, http.ErrSchemeMismatch):
		return "tls"
	case errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error"): // a TLS alert, whose type is not exported
		return "tls"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "eof"
	case errors.Is(err, driver.ErrBadConn):
		return "bad_connection"
	}
	if code := databaseCode(err); code != "" {
		return code
	}
	return "_OTHER"
}

// databaseCode returns the code that a database server gave an error, or "".
func databaseCode(err error) (code string) {
	defer func() {
		if recover() != nil {
			code = "" // see errorType
		}
	}()
	var (
		state  interface{ SQLState() string }      // pgx, lib/pq
		number interface{ SQLErrorNumber() int32 } // go-mssqldb
	)
	switch {
	case errors.As(err, &state) && isSQLState(state.SQLState()):
		return state.SQLState()
	case errors.As(err, &number):
		return strconv.Itoa(int(number.SQLErrorNumber()))
	}
	// go-sql-driver/mysql's error has fields only: Number uint16 and SQLState [5]byte.
	for ; err != nil; err = errors.Unwrap(err) {
		v := reflect.Indirect(reflect.ValueOf(err))
		if v.Kind() != reflect.Struct || v.Type().Name() != "MySQLError" {
			continue
		}
		if n := v.FieldByName("Number"); n.IsValid() && n.Kind() == reflect.Uint16 {
			return strconv.FormatUint(n.Uint(), 10)
		}
	}
	return ""
}

// isSQLState guards the label: a SQLSTATE is five digits and capitals.
func isSQLState(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return len(s) == 5
}

// recordError puts err on a span, its text passed through clean when that is
// not nil. The URL that a url.Error repeats stays out: it stands on the span
// already, without its secrets.
func recordError(s *span.Span, err error, clean func(string) string) {
	defer func() { recover() }() // see errorType
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	message := err.Error()
	if clean != nil {
		message = clean(message)
	}
	s.AddEvent("exception", trace.WithAttributes(
		attribute.String("exception.type", fmt.Sprintf("%T", err)),
		attribute.String("exception.message", text(message, maxAttribute)),
	))
}
