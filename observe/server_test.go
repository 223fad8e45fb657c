package observe

import "testing"

func TestHostPort(t *testing.T) {
	for _, test := range []struct {
		in, host string
		port     int
	}{
		{"example.com:80", "example.com", 80},
		{"example.com", "example.com", 0},
		{"127.0.0.1:65535", "127.0.0.1", 65535},
		{"127.0.0.1:65536", "127.0.0.1:65536", 0},
		{"127.0.0.1", "127.0.0.1", 0},
		{"[::1]:443", "::1", 443},
		{"[::1]", "::1", 0},
		{"::1", "::1", 0},
		{"2001:db8::7:80", "2001:db8::7:80", 0},
		{"host:", "host:", 0},
		{"host:http", "host:http", 0},
		{"host:000080", "host:000080", 0},
		{":80", ":80", 0},
		{"", "", 0},
		{"[", "", 0},
		{"]:1", "]", 1},
		{"9", "9", 0},
	} {
		if host, port := hostPort(test.in); host != test.host || port != test.port {
			t.Errorf("%q: %q and %d, want %q and %d", test.in, host, port, test.host, test.port)
		}
	}
}
