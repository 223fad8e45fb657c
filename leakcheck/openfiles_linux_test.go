package leakcheck

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A holder keeps what a scenario leaves open until its test ends.
type holder struct {
	t      *testing.T
	dir    string
	window int
	peer   net.Listener // it accepts by itself; see accept
	open   []func()
	use    []func()
	// serverOnly leaves out the clients' ends, which are another process's in truth.
	serverOnly bool
}

func (h *holder) keep(close func()) { h.open = append(h.open, close) }

func (h *holder) file(name string) *os.File {
	h.t.Helper()
	f, err := os.OpenFile(filepath.Join(h.dir, name), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		h.t.Fatal(err)
	}
	return f
}

// dial returns both ends of a connection.
func (h *holder) dial() (ours, theirs net.Conn) {
	h.t.Helper()
	if h.peer == nil {
		h.peer = listen(h.t, "tcp", "127.0.0.1:0")
	}
	ours, err := net.Dial("tcp", h.peer.Addr().String())
	if err != nil {
		h.t.Fatal(err)
	}
	if theirs, err = h.peer.Accept(); err != nil {
		h.t.Fatal(err)
	}
	return ours, theirs
}

// run takes readings, with step between them, and returns the first Suspect.
func (h *holder) run(windows int, step func(*holder)) (s Suspect, at int) {
	h.t.Helper()
	o := newOpenFiles(func(path string) bool { return !strings.HasPrefix(path, h.dir) })
	sources := o.sources()
	judges := make([]detector, len(sources))
	for h.window = range windows {
		step(h)
		o.next = o.next.Add(-1 << 62) // due, whatever the last one cost
		for i := range sources {
			open, err := sources[i].Open()
			if err != nil {
				h.t.Fatal(err)
			}
			for _, f := range judges[i].observe(readingOf(memberGroups(sources[i].Kind, h.own(sources[i].Kind, open)))) {
				s = f.site.about(f.site.oldest)
				s.Count = len(f.site.born)
				return s, h.window
			}
		}
	}
	return s, -1
}

// own leaves out what the test binary has open beside.
func (h *holder) own(kind string, open []Member) (own []Member) {
	for _, m := range open {
		switch {
		case kind == "socket" || kind == "close_wait":
			if !strings.HasSuffix(m.Group, fmt.Sprint(h.port())) || h.serverOnly && strings.HasPrefix(m.Group, "to ") {
				continue
			}
		case kind == "descriptor" && m.Group != "inotify":
			continue
		}
		own = append(own, m)
	}
	return own
}

func (h *holder) port() uint16 {
	if h.peer == nil {
		return 0
	}
	return netip.MustParseAddrPort(h.peer.Addr().String()).Port()
}

func TestOpenFilesTruthTable(t *testing.T) {
	Verify(t)
	wait := func(c net.Conn) { // until the other end's FIN has arrived
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("read something")
		}
	}
	for _, tt := range []struct {
		name    string
		step    func(*holder)
		kind    string // of the leak; "" for none
		group   string // PORT stands for the peer's
		state   string
		windows int // to be judged in
	}{
		{name: "files of one name", kind: "file", group: "in DIR", windows: 32, step: func(h *holder) {
			f := h.file("a")
			h.keep(func() { f.Close() })
		}},
		{name: "temporary files that were removed", kind: "file", group: "in DIR", state: "deleted", windows: 32, step: func(h *holder) {
			f := h.file(fmt.Sprint("upload-", h.window))
			os.Remove(f.Name())
			h.keep(func() { f.Close() })
		}},
		{name: "connections to a silent peer", kind: "socket", group: "to 127.0.0.1:PORT", windows: 25, step: func(h *holder) {
			a, b := h.dial()
			h.keep(func() { a.Close(); b.Close() })
		}},
		{name: "connections that the peer has closed", kind: "close_wait", group: "to 127.0.0.1:PORT", state: "CLOSE_WAIT", windows: 16, step: func(h *holder) {
			a, b := h.dial()
			b.Close()
			wait(a)
			h.keep(func() { a.Close() })
		}},
		{name: "accepted connections that the client has closed", kind: "close_wait", group: "accepted on port PORT", state: "CLOSE_WAIT", windows: 16, step: func(h *holder) {
			a, b := h.dial()
			a.Close()
			wait(b)
			h.keep(func() { b.Close() })
		}},
		{name: "accepted connections that the client has reset", kind: "close_wait", group: "accepted on port PORT", state: "CLOSE", windows: 16, step: func(h *holder) {
			a, b := h.dial()
			if err := a.(*net.TCPConn).SetLinger(0); err != nil {
				h.t.Fatal(err)
			}
			a.Close()
			wait(b)
			h.keep(func() { b.Close() })
		}},
		{name: "pipes", kind: "pipe", windows: 32, step: func(h *holder) {
			r, w, err := os.Pipe()
			if err != nil {
				h.t.Fatal(err)
			}
			h.keep(func() { r.Close(); w.Close() })
		}},
		{name: "watches of files", kind: "descriptor", group: "inotify", windows: 32, step: func(h *holder) {
			fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC)
			if err != nil {
				h.t.Fatal(err)
			}
			h.keep(func() { syscall.Close(fd) })
		}},
		{name: "a leak beside traffic", kind: "socket", group: "to 127.0.0.1:PORT", windows: 32, step: func(h *holder) {
			for i, c := range h.open { // what came before ends, but for one a window
				if i%4 != 0 && c != nil {
					c()
					h.open[i] = nil
				}
			}
			for range 4 {
				a, b := h.dial()
				h.keep(func() { a.Close(); b.Close() })
			}
		}},

		{name: "a pool that grows to its size", windows: 80, step: func(h *holder) {
			if h.window < 12 {
				a, b := h.dial()
				h.keep(func() { a.Close(); b.Close() })
			}
		}},
		{name: "a pool that grows for twenty windows, whenever all are in use", windows: 60, step: func(h *holder) {
			if h.window < 20 {
				a, b := h.dial()
				h.use = append(h.use, func() {
					if _, err := b.Write([]byte("x")); err != nil {
						h.t.Fatal(err)
					}
					if _, err := a.Read(make([]byte, 1)); err != nil {
						h.t.Fatal(err)
					}
				})
				h.keep(func() { a.Close(); b.Close() })
				for _, use := range h.use {
					use()
				}
			}
		}},
		{name: "a pool whose idle connections the server closes", windows: 60, step: func(h *holder) {
			switch {
			case h.window == 0:
				for range 30 {
					a, b := h.dial()
					h.keep(func() { b.Close(); wait(a) })
					h.keep(func() { a.Close() })
				}
			case h.window >= 5 && h.window < 35:
				h.open[2*(h.window-5)]()
				h.open[2*(h.window-5)] = nil
			}
		}},
		{name: "keep-alive connections that are renewed", windows: 80, step: func(h *holder) {
			a, b := h.dial()
			h.keep(func() { a.Close(); b.Close() })
			if i := h.window - 10; i >= 0 {
				h.open[i]()
				h.open[i] = nil
			}
		}},
		{name: "log rotation", windows: 80, step: func(h *holder) {
			f := h.file(fmt.Sprint("shop.log.", h.window))
			h.keep(func() { f.Close() })
			if h.window > 0 {
				h.open[h.window-1]()
				h.open[h.window-1] = nil
			}
		}},
		{name: "a store that maps its segments", windows: 80, step: func(h *holder) {
			f := h.file(fmt.Sprint("segment-", h.window))
			if err := f.Truncate(4096); err != nil {
				h.t.Fatal(err)
			}
			data, err := syscall.Mmap(int(f.Fd()), 0, 4096, syscall.PROT_READ, syscall.MAP_SHARED)
			if err != nil {
				h.t.Fatal(err)
			}
			h.keep(func() { syscall.Munmap(data); f.Close() })
		}},
		{name: "a websocket ramp", windows: 80, step: func(h *holder) {
			a, b := h.dial()
			h.keep(func() { a.Close(); b.Close() })
			h.serverOnly = true
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := &holder{t: t, dir: t.TempDir()}
			defer func() {
				for _, c := range h.open {
					if c != nil {
						c()
					}
				}
			}()
			s, at := h.run(tt.windows, tt.step)
			group := strings.NewReplacer("PORT", fmt.Sprint(h.port()), "DIR", pathGroup(h.dir+"/a")).Replace(tt.group)
			if s.Kind != tt.kind || s.Group != group || s.State != tt.state {
				t.Errorf("window %d: kind %q, group %q, state %q; want %q, %q, %q", at, s.Kind, s.Group, s.State, tt.kind, group, tt.state)
			}
			t.Logf("window %d: %v", at, s)
		})
	}
}

func TestWatchReportsDescriptors(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
		defer cancel()
		var open []*os.File
		defer func() {
			for _, f := range open {
				f.Close()
			}
		}()
		var leaking sync.WaitGroup
		leaking.Go(func() {
			for ctx.Err() == nil {
				f, err := os.Create(filepath.Join(dir, "orders.log"))
				if err != nil {
					t.Error(err)
					return
				}
				open = append(open, f)
				time.Sleep(time.Minute)
			}
		})
		var got []Suspect
		if err := Watch(ctx, Config{MaxPause: time.Second, Ignore: []string{"/dev"}}, func(s Suspect) { got = append(got, s) }); err != nil {
			t.Fatal(err)
		}
		leaking.Wait()
		if len(got) != 1 || got[0].Kind != "file" || got[0].Group != "in "+pathGroup(dir+"/x") || got[0].Count < 20 || math.Abs(got[0].PerHour-60) > 6 {
			t.Errorf("got %v", got)
		}
	})
}

// BenchmarkOpenFiles is a reading of a Watch. How often it is made follows from
// what it takes, see readingShare.
func BenchmarkOpenFiles(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("files=%d", n), func(b *testing.B) {
			for range n {
				f, err := os.Open("/dev/null")
				if err != nil {
					b.Skip(err)
				}
				b.Cleanup(func() { f.Close() })
			}
			o := newOpenFiles(func(string) bool { return false })
			b.ReportAllocs()
			for b.Loop() {
				if err := o.read(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestOpenFilesReadLessOftenWhenItIsDear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOpenFiles(func(string) bool { return false })
		begin := time.Now()
		o.readWhenDue()
		o.next = begin.Add(500 * time.Millisecond * readingShare) // as after one of half a second
		for range 9 {
			time.Sleep(time.Minute)
			o.readWhenDue()
		}
		if o.reading != 2 {
			t.Errorf("%d readings in %v, want 2", o.reading, time.Since(begin))
		}
	})
}
