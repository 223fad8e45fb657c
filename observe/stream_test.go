package observe

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sleeper is a source or sink that takes a second for each call.
type sleeper struct {
	left   int
	closed bool
}

func (s *sleeper) Read(p []byte) (int, error) {
	time.Sleep(time.Second)
	if s.left == 0 {
		return 0, io.EOF
	}
	s.left--
	return copy(p, "0123456789"), nil
}
func (s *sleeper) Write(p []byte) (int, error) { time.Sleep(time.Second); return len(p), nil }
func (s *sleeper) Close() error                { s.closed = true; return errors.New("closed") }

// only hides what else a reader or writer can do.
type onlyReader struct{ io.Reader }
type onlyWriter struct{ io.Writer }

func TestStreamTellsWhichSideIsSlow(t *testing.T) {
	text := strings.Repeat("x", 100_000)
	for _, c := range []struct {
		name        string
		from        func() io.Reader
		to          func() io.Writer
		bytes       float64
		read, write float64 // seconds
	}{
		{"slow source", func() io.Reader { return onlyReader{&sleeper{left: 3}} }, func() io.Writer { return onlyWriter{io.Discard} }, 30, 4, 0},
		{"slow source, the sink reads", func() io.Reader { return onlyReader{&sleeper{left: 3}} }, func() io.Writer { return new(bytes.Buffer) }, 30, 4, 0},
		{"slow sink", func() io.Reader { return onlyReader{strings.NewReader(text)} }, func() io.Writer { return onlyWriter{&sleeper{}} }, 100_000, 0, 4}, // of 32 KiB
		{"slow sink, the source writes", func() io.Reader { return bytes.NewBufferString(text) }, func() io.Writer { return onlyWriter{&sleeper{}} }, 100_000, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, Config{}, func(t *testing.T, tel *Telemetry) {
				s := tel.Stream("import")
				n, err := io.Copy(s.Writer(c.to()), s.Reader(c.from()))
				if float64(n) != c.bytes || err != nil {
					t.Fatal(n, err)
				}
				wantValues(t, tel, "observe_stream_bytes_total", map[string]float64{"read import": c.bytes, "write import": c.bytes})
				wantValues(t, tel, "observe_stream_blocked_seconds_total", map[string]float64{"read import": c.read, "write import": c.write})
			})
		})
	}
}

func TestStreamTellsOfAReadThatDoesNotEnd(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, tel *Telemetry) {
		r, w := io.Pipe()
		go tel.Stream("import").Reader(r).Read(make([]byte, 1))
		time.Sleep(time.Hour)
		wantValues(t, tel, "observe_stream_blocked_seconds_total", map[string]float64{"read import": 3600, "write import": 0})
		w.Close()
	})
}

func TestStreamKeepsWhatReadersAndWritersCan(t *testing.T) {
	s := start(t, Config{}).Stream("s")
	file, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, r := range []io.Reader{onlyReader{file}, io.NopCloser(onlyReader{file}), bytes.NewReader(nil), file} {
		_, closes := r.(io.Closer)
		_, writes := r.(io.WriterTo)
		got := s.Reader(r)
		_, closes2 := got.(io.Closer)
		_, writes2 := got.(io.WriterTo)
		if closes != closes2 || writes != writes2 {
			t.Errorf("%T: Closer %v -> %v, WriterTo %v -> %v", r, closes, closes2, writes, writes2)
		}
	}
	for _, w := range []io.Writer{onlyWriter{file}, &sleeper{}, new(bytes.Buffer), file} {
		_, closes := w.(io.Closer)
		_, reads := w.(io.ReaderFrom)
		got := s.Writer(w)
		_, closes2 := got.(io.Closer)
		_, reads2 := got.(io.ReaderFrom)
		if closes != closes2 || reads != reads2 {
			t.Errorf("%T: Closer %v -> %v, ReaderFrom %v -> %v", w, closes, closes2, reads, reads2)
		}
	}
	one := &sleeper{}
	if err := s.Writer(one).(io.Closer).Close(); !one.closed || err == nil || err.Error() != "closed" {
		t.Error("Close does not arrive")
	}
}

// Bytes arrive as they were and are counted on both sides, whatever the two
// are, from a string to a file that the kernel sends to a socket.
func TestStreamsCarryEveryByte(t *testing.T) {
	text := strings.Repeat("0123456789abcdef", 1<<14)
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sources := map[string]func(t *testing.T) io.Reader{
		"string":       func(*testing.T) io.Reader { return strings.NewReader(text) },
		"plain reader": func(*testing.T) io.Reader { return onlyReader{strings.NewReader(text)} },
		"part":         func(*testing.T) io.Reader { return io.LimitReader(strings.NewReader(text+"more"), int64(len(text))) },
		"file": func(t *testing.T) io.Reader {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			return f
		},
		"socket": func(t *testing.T) io.Reader {
			here, there := socketPair(t)
			go func() { io.WriteString(there, text); there.Close() }()
			return here
		},
	}
	sinks := map[string]func(t *testing.T) (w io.Writer, got func() string){
		"buffer": func(*testing.T) (io.Writer, func() string) { b := new(bytes.Buffer); return b, b.String },
		"plain writer": func(*testing.T) (io.Writer, func() string) {
			b := new(bytes.Buffer)
			return onlyWriter{b}, b.String
		},
		"file": func(t *testing.T) (io.Writer, func() string) {
			f, err := os.CreateTemp(t.TempDir(), "")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			return f, func() string { b, _ := os.ReadFile(f.Name()); return string(b) }
		},
		"socket": func(t *testing.T) (io.Writer, func() string) {
			here, there := socketPair(t)
			arrived := make(chan string)
			go func() { b, _ := io.ReadAll(there); arrived <- string(b) }()
			return here, func() string { here.Close(); return <-arrived }
		},
	}
	tel := start(t, Config{})
	for from, source := range sources {
		for to, sink := range sinks {
			name := from + " to " + to
			t.Run(name, func(t *testing.T) {
				s := tel.Stream(name)
				w, got := sink(t)
				n, err := io.Copy(s.Writer(w), s.Reader(source(t)))
				if err != nil || n != int64(len(text)) || got() != text {
					t.Fatalf("%d of %d bytes, %v", n, len(text), err)
				}
				if read, written := s.read.bytes.Load(), s.write.bytes.Load(); read != n || written != n {
					t.Errorf("counted %d read and %d written of %d", read, written, n)
				}
			})
		}
	}
	s := tel.Stream("text")
	if n, err := io.WriteString(s.Writer(new(bytes.Buffer)), text); n != len(text) || err != nil || s.write.bytes.Load() != int64(n) {
		t.Error(n, err, s.write.bytes.Load())
	}
}

// kernel is a sink that could let the kernel copy, as a socket can.
type kernel struct{ could bool }

func (k *kernel) Write(p []byte) (int, error) { return len(p), nil }
func (k *kernel) ReadFrom(r io.Reader) (int64, error) {
	if l, ok := r.(*io.LimitedReader); ok {
		r = l.R
	}
	_, k.could = r.(syscall.Conn)
	return io.Copy(onlyWriter{k}, r)
}

func TestStreamLeavesCopiesToTheKernel(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, Config{}).Stream("s")
	for _, c := range []struct {
		name string
		copy func(w io.Writer, r io.Reader) error
		want bool
	}{
		{"both sides watched", func(w io.Writer, r io.Reader) error { _, err := io.Copy(s.Writer(w), s.Reader(r)); return err }, true},
		{"the source watched", func(w io.Writer, r io.Reader) error { _, err := io.Copy(w, s.Reader(r)); return err }, true},
		{"the sink watched", func(w io.Writer, r io.Reader) error { _, err := io.Copy(s.Writer(w), r); return err }, true},
		{"a part", func(w io.Writer, r io.Reader) error { _, err := io.CopyN(s.Writer(w), r, 2); return err }, true},
		{"hidden", func(w io.Writer, r io.Reader) error { _, err := io.Copy(s.Writer(w), onlyReader{r}); return err }, false},
	} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		k := &kernel{}
		if err := c.copy(k, f); err != nil || k.could != c.want {
			t.Errorf("%s: the kernel could copy: %v, want %v; %v", c.name, k.could, c.want, err)
		}
		f.Close()
	}
}

func socketPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestStreamAllocations(t *testing.T) {
	s := start(t, Config{}).Stream("s")
	r, w, p := s.Reader(onlyReader{zeros{}}), s.Writer(onlyWriter{io.Discard}), make([]byte, 10)
	if got := allocations(1000, func() { r.Read(p); w.Write(p) }); got > 0 {
		t.Errorf("%v allocations", got)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func BenchmarkStream(b *testing.B) {
	p := make([]byte, 32<<10)
	for name, r := range map[string]io.Reader{"bare": onlyReader{zeros{}}, "counted": start(b, Config{}).Stream("s").Reader(onlyReader{zeros{}})} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				r.Read(p)
			}
		})
	}
}
