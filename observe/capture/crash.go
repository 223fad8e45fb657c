package capture

import (
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
)

const crashPrefix = ".crash-"

// maxLastWords bounds what is kept of a crash: the first goroutines tell why.
const maxLastWords = 16 << 20

// crash is the file into which the runtime writes what ends the process: a
// panic, a fatal error, a signal. The file is locked while the process lives.
type crash struct{ f *os.File }

func (c *crash) begin(dir string) error {
	f, err := os.CreateTemp(dir, crashPrefix)
	if err != nil {
		return err
	}
	_ = lock(f) // where nothing can be locked, the next start goes by the file's age
	if err := debug.SetCrashOutput(f, debug.CrashOptions{}); err != nil {
		f.Close()
		os.Remove(f.Name())
		return err
	}
	c.f = f
	return nil
}

// end stops listening; the process goes on.
func (c *crash) end() {
	if c.f == nil {
		return
	}
	debug.SetCrashOutput(nil, debug.CrashOptions{})
	c.f.Close()
	os.Remove(c.f.Name())
	c.f = nil
}

// lastWords makes a bundle of each file that a crashed process left.
func (s *Store) lastWords() {
	entries, err := os.ReadDir(s.c.Dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), crashPrefix) || !e.Type().IsRegular() {
			continue
		}
		path := filepath.Join(s.c.Dir, e.Name())
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		info, err := f.Stat()
		if err != nil || lock(f) != nil { // its process lives, or that cannot be known: it stays
			f.Close()
			continue
		}
		if info.Size() > 0 {
			text := io.LimitReader(f, maxLastWords)
			b, err := s.write(info.ModTime(), Reason{Kind: "crash", Detail: "an earlier process ended with what crash.txt says"}, func(d *draft) {
				d.file("crash.txt", func(w io.Writer) error { _, err := io.Copy(w, text); return err })
			})
			if s.c.Report != nil {
				s.c.Report(b, err)
			}
			if err != nil {
				f.Close()
				continue // again at the next start
			}
		}
		f.Close()
		os.Remove(path)
	}
}
