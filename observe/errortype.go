package observe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// errorType names the class of an error for the label error_type: one of few,
// whatever its text says. "_OTHER" is the semantic conventions' word for the rest.
func errorType(err error) string {
	var (
		dns  *net.DNSError
		cert *tls.CertificateVerificationError
		host x509.HostnameError
		head tls.RecordHeaderError
		slow interface{ Timeout() bool }
		code interface{ SQLState() string } // pgx and lib/pq
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
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection_reset"
	case errors.As(err, &cert), errors.As(err, &host), errors.As(err, &head):
		return "tls"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "eof"
	case errors.Is(err, driver.ErrBadConn):
		return "bad_connection"
	case errors.As(err, &code) && isSQLState(code.SQLState()):
		return code.SQLState()
	}
	return "_OTHER"
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
