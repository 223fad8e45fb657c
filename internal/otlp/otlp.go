// Package otlp answers whether the environment's words on sending a signal by OTLP can work. The exporters ignore a bad
// variable, or log it, and then nothing arrives for ever: without its header of authorization, say.
package otlp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Check reads the standard variables of signal, which is TRACES, METRICS or LOGS. Each error is one line: a variable and
// what is wrong with it. What headers hold is secret and not in it.
func Check(signal string) (grpc bool, errs []error) {
	for _, prefix := range []string{"OTEL_EXPORTER_OTLP_", "OTEL_EXPORTER_OTLP_" + signal + "_"} {
		for _, c := range []struct {
			name  string
			check func(v string) error
		}{
			{"ENDPOINT", endpoint}, {"TIMEOUT", timeout}, {"COMPRESSION", compression}, {"INSECURE", insecure},
			{"HEADERS", headers}, {"CERTIFICATE", authorities},
		} {
			if v := variable(prefix + c.name); v != "" {
				if err := c.check(v); err != nil {
					errs = append(errs, fmt.Errorf("%s: %w", prefix+c.name, err))
				}
			}
		}
		if err := keyPair(prefix+"CLIENT_CERTIFICATE", prefix+"CLIENT_KEY"); err != nil {
			errs = append(errs, err)
		}
	}
	name := "OTEL_EXPORTER_OTLP_" + signal + "_PROTOCOL"
	if variable(name) == "" {
		name = "OTEL_EXPORTER_OTLP_PROTOCOL"
	}
	switch v := variable(name); v {
	case "", "http/protobuf":
	case "grpc":
		grpc = true
	default:
		errs = append(errs, fmt.Errorf("%s: %.80q is neither http/protobuf nor grpc", name, v))
	}
	return grpc, errs
}

func variable(name string) string { return strings.TrimSpace(os.Getenv(name)) }

func endpoint(v string) error {
	u, err := url.Parse(v)
	if err == nil && (u.Scheme == "unix" || u.Host != "" && (u.Scheme == "http" || u.Scheme == "https")) {
		return nil
	}
	return fmt.Errorf("%.80q is not a URL such as http://collector:4318", v)
}

func timeout(v string) error {
	if n, err := strconv.Atoi(v); err != nil || n < 0 {
		return fmt.Errorf("%.80q is not a number of milliseconds", v)
	}
	return nil
}

func compression(v string) error {
	if v != "gzip" && v != "none" {
		return fmt.Errorf("%.80q is neither gzip nor none", v)
	}
	return nil
}

func insecure(v string) error {
	if !strings.EqualFold(v, "true") && !strings.EqualFold(v, "false") {
		return fmt.Errorf("%.80q is neither true nor false", v)
	}
	return nil
}

func headers(v string) error {
	pairs := strings.Split(v, ",")
	for i, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || !token(strings.TrimSpace(name)) {
			return fmt.Errorf("entry %d of %d is not name=value; a comma in a value is %%2C", i+1, len(pairs))
		}
		plain, err := url.PathUnescape(value)
		if err != nil {
			return fmt.Errorf("entry %d of %d is not percent-encoded; a percent sign is %%25", i+1, len(pairs))
		}
		// What net/http and gRPC refuse to send, with every request.
		if !utf8.ValidString(plain) || strings.ContainsFunc(strings.TrimSpace(plain), func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return fmt.Errorf("entry %d of %d holds a control character or is not UTF-8", i+1, len(pairs))
		}
	}
	return nil
}

// token tells whether s can be the name of a header.
func token(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
	})
}

func authorities(file string) error {
	pem, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s holds no certificate in PEM", file)
	}
	return nil
}

// keyPair checks the client's certificate and key, which work together only.
func keyPair(certificate, key string) error {
	files := []string{variable(certificate), variable(key)}
	switch i := slices.Index(files, ""); {
	case files[0] == files[1] && i >= 0:
		return nil
	case i >= 0:
		names := []string{certificate, key}
		return fmt.Errorf("%s: is not set, and %s is: set both or neither", names[i], names[1-i])
	}
	for i, name := range []string{certificate, key} {
		if _, err := os.ReadFile(files[i]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if _, err := tls.LoadX509KeyPair(files[0], files[1]); err != nil {
		return fmt.Errorf("%s: %s: %w", certificate, files[0], errors.New(strings.TrimPrefix(err.Error(), "tls: ")))
	}
	return nil
}
