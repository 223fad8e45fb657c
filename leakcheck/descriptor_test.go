package leakcheck

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestVerifyFindsDescriptorsLeftOpen(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("descriptors are looked at on Linux only")
	}
	Verify(t)
	dir := t.TempDir()
	open := func(t *testing.T) {
		f, err := os.Create(filepath.Join(dir, "orders.log"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
	}
	for _, tt := range []struct {
		name     string
		config   Config
		parallel bool
		body     func(t *testing.T)
		want     string // "" for nothing
	}{
		{name: "file", body: open, want: "left a descriptor open: file " + dir + "/orders.log"},
		{name: "ignored file", config: Config{Ignore: []string{dir + "/orders.log"}}, body: open},
		{name: "ignored directory", config: Config{Ignore: []string{dir}}, body: open},
		{name: "similar directory", config: Config{Ignore: []string{dir[:len(dir)-1]}}, body: open, want: "orders.log"},
		{name: "not wanted", config: Config{NoDescriptors: true}, body: open},
		{name: "beside other tests", parallel: true, body: open},
		{name: "pipe", body: func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			w.Close()
			t.Cleanup(func() { r.Close() })
		}, want: "left a descriptor open: pipe"},
		{name: "TCP listener", body: func(t *testing.T) { listen(t, "tcp", "127.0.0.1:0") },
			want: "left a descriptor open: listener tcp 127.0.0.1:"},
		{name: "TCP listener on all addresses", body: func(t *testing.T) { listen(t, "tcp", ":0") },
			want: "left a descriptor open: listener tcp"},
		{name: "unix listener", body: func(t *testing.T) { listen(t, "unix", filepath.Join(dir, "s")) },
			want: "left a descriptor open: listener unix " + dir + "/s"},
		{name: "closed", body: func(t *testing.T) {
			f, err := os.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
		}},
		{name: "a connection, as pools keep them", body: func(t *testing.T) {
			l := listen(t, "tcp", "127.0.0.1:0")
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			l.Close()
			t.Cleanup(func() { c.Close() })
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fakeT{name: t.Name() + "/fake", parallel: tt.parallel}
			got := f.run(tt.config, func(*fakeT) { tt.body(t) })
			if tt.want == "" {
				wantNone(t, got)
			} else {
				wantOne(t, got, tt.want)
			}
		})
	}
}

func listen(t *testing.T, network, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func FuzzParseListener(f *testing.F) {
	f.Add("tcp", "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1 0")
	f.Add("tcp6", "   0: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 0:0 00:0 0  1000        0 12345 1")
	f.Add("unix", "0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/a b")
	f.Fuzz(func(t *testing.T, network, line string) {
		inode, addr, ok := parseListener(network, line)
		if ok && (inode == "" || addr == "") {
			t.Errorf("%q: inode %q, address %q", line, inode, addr)
		}
	})
}
