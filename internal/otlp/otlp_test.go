package otlp

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const certificate = `-----BEGIN CERTIFICATE-----
MIIBdjCCARugAwIBAgIUFuqBDm/zQ9FxNzgw/1JPBqWoKiMwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjExMjI2MTlaGA8yMTI2MTAyODEyMjYx
OVowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABOMo
fuO4NMlt1oVHcMph1HIgGBUWi6Mbmig9kln2oRQeKrpKutf+DZrgxhZrXWTlbkxZ
Qb+Jo9T8XwQdn/7AHOqjUzBRMB0GA1UdDgQWBBQkE+KOtsMQ6lmy13+eQGyWjEuk
DTAfBgNVHSMEGDAWgBQkE+KOtsMQ6lmy13+eQGyWjEukDTAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0kAMEYCIQCSZI70JyOIDgMKn9NEODr4LV/Xn/EYVcws
nxnttnLabgIhAN+vjPYfMPRwmZoLtsxLv3Cp5johWll1D3jkczSc7FCC
-----END CERTIFICATE-----
`

func TestCheckTellsEachVariableThatCannotWork(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	text, good := file("text", "hello"), file("good", certificate)
	const p = "OTEL_EXPORTER_OTLP_"
	for _, test := range []struct {
		env  map[string]string
		want string // what errors there are
	}{
		{nil, ""},
		{map[string]string{
			p + "ENDPOINT": "https://user:secret@host", p + "LOGS_ENDPOINT": "unix:///run/otel.sock", p + "TIMEOUT": "100", p + "COMPRESSION": "gzip",
			p + "INSECURE": "False", p + "LOGS_HEADERS": "authorization=Basic%20a=, x-tenant = 1", p + "CERTIFICATE": good, p + "LOGS_PROTOCOL": "grpc",
		}, ""},
		{map[string]string{p + "ENDPOINT": "collector:4318"}, p + `ENDPOINT: "collector:4318" is not a URL such as http://collector:4318`},
		{map[string]string{p + "ENDPOINT": "10.0.0.1:4318"}, p + `ENDPOINT: "10.0.0.1:4318" is not a URL such as http://collector:4318`},
		{map[string]string{p + "LOGS_TIMEOUT": "10s"}, p + `LOGS_TIMEOUT: "10s" is not a number of milliseconds`},
		{map[string]string{p + "COMPRESSION": "zstd"}, p + `COMPRESSION: "zstd" is neither gzip nor none`},
		{map[string]string{p + "LOGS_INSECURE": "maybe"}, p + `LOGS_INSECURE: "maybe" is neither true nor false`},
		{map[string]string{p + "TRACES_INSECURE": "maybe"}, ""}, // another signal's
		{map[string]string{p + "HEADERS": "a=b,secret"}, p + `HEADERS: entry 2 of 2 is not name=value; a comma in a value is %2C`},
		{map[string]string{p + "HEADERS": "a b=secret"}, p + `HEADERS: entry 1 of 1 is not name=value; a comma in a value is %2C`},
		{map[string]string{p + "HEADERS": "a=%zz"}, p + `HEADERS: entry 1 of 1 is not percent-encoded; a percent sign is %25`},
		{map[string]string{p + "HEADERS": "a=b%0Ac"}, p + `HEADERS: entry 1 of 1 holds a control character or is not UTF-8`},
		{map[string]string{p + "CERTIFICATE": "/no/such"}, p + `CERTIFICATE: open /no/such: no such file or directory`},
		{map[string]string{p + "LOGS_CERTIFICATE": text}, p + `LOGS_CERTIFICATE: ` + text + ` holds no certificate in PEM`},
		{map[string]string{p + "CLIENT_KEY": "/no/such"}, p + `CLIENT_CERTIFICATE: is not set, and ` + p + `CLIENT_KEY is: set both or neither`},
		{map[string]string{p + "CLIENT_CERTIFICATE": good, p + "CLIENT_KEY": "/no/such"}, p + `CLIENT_KEY: open /no/such: no such file or directory`},
		{map[string]string{p + "CLIENT_CERTIFICATE": good, p + "CLIENT_KEY": text}, p + `CLIENT_CERTIFICATE: ` + good + `: failed to find any PEM data in key input`},
		{map[string]string{p + "PROTOCOL": "http/json"}, p + `PROTOCOL: "http/json" is neither http/protobuf nor grpc`},
		{map[string]string{p + "PROTOCOL": "http/json", p + "LOGS_PROTOCOL": "grpc"}, ""},
	} {
		t.Run(strings.NewReplacer("/", "_").Replace(test.want), func(t *testing.T) {
			for k, v := range test.env {
				t.Setenv(k, v)
			}
			grpc, errs := Check("LOGS")
			got := ""
			if err := errors.Join(errs...); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if grpc != (test.env[p+"LOGS_PROTOCOL"] == "grpc") {
				t.Errorf("grpc: %v", grpc)
			}
		})
	}
}
