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
	"syscall"
	"testing"
)

type stateError string

func (e stateError) Error() string    { return "the server says " + string(e) }
func (e stateError) SQLState() string { return string(e) }

type numberError int32

func (e numberError) Error() string         { return "mssql" }
func (e numberError) SQLErrorNumber() int32 { return int32(e) }

// MySQLError has the fields of go-sql-driver's.
type MySQLError struct {
	Number   uint16
	SQLState [5]byte
	Message  string
}

func (e *MySQLError) Error() string { return e.Message }

func TestErrorType(t *testing.T) {
	reset := &net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	for _, c := range []struct {
		err  error
		want string
	}{
		{context.Canceled, "canceled"},
		{fmt.Errorf("while: %w", context.Canceled), "canceled"},
		{&url.Error{Op: "Get", Err: context.Canceled}, "canceled"},
		{context.DeadlineExceeded, "timeout"},
		{os.ErrDeadlineExceeded, "timeout"},
		{&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, "timeout"},
		{&net.DNSError{Err: "no such host", IsNotFound: true}, "dns"},
		{&net.OpError{Op: "dial", Err: &net.DNSError{IsTimeout: true}}, "dns"},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, "connection_refused"},
		{reset, "connection_reset"},
		{errors.Join(errors.New("x"), reset), "connection_reset"},
		{syscall.EPIPE, "connection_reset"},
		{syscall.EHOSTUNREACH, "unreachable"},
		{syscall.ENETUNREACH, "unreachable"},
		{syscall.ETIMEDOUT, "timeout"},
		{&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, "tls"},
		{x509.HostnameError{Certificate: &x509.Certificate{}, Host: "x"}, "tls"},
		{tls.RecordHeaderError{Msg: "x"}, "tls"},
		{http.ErrSchemeMismatch, "tls"},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, "tls"},
		{io.EOF, "eof"},
		{fmt.Errorf("x: %w", io.ErrUnexpectedEOF), "eof"},
		{driver.ErrBadConn, "bad_connection"},
		{stateError("40001"), "40001"},
		{fmt.Errorf("x: %w", stateError("23505")), "23505"},
		{stateError("drop table"), "_OTHER"},
		{stateError(""), "_OTHER"},
		{numberError(1205), "1205"},
		{&MySQLError{Number: 1213}, "1213"},
		{fmt.Errorf("x: %w", &MySQLError{Number: 1062}), "1062"},
		{errors.New("hunter2"), "_OTHER"},
		{(*net.OpError)(nil), "_OTHER"}, // its Unwrap panics
		{(*MySQLError)(nil), "_OTHER"},
	} {
		if got := errorType(c.err); got != c.want {
			t.Errorf("errorType(%T %v) = %s, want %s", c.err, safe(c.err), got, c.want)
		}
	}
}

func safe(err error) (s string) {
	defer func() {
		if recover() != nil {
			s = "(its text panics)"
		}
	}()
	return err.Error()
}
