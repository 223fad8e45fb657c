package capture

import (
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
)

const crashPrefix = ".crash-"

// maxLastWords bounds what is kept of a crash: the first goroutines tell why.
const maxLastWords = 16 << 20

// crash is the file into which the runtime writes what ends the process: a
// panic, a fatal error, a signal. The file is locked while the process lives.
type crash struct {
	mu   sync.Mutex
	f    *os.File // nil: not listening
	path string
}

func (c *crash) begin(dir string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.beginLocked(dir)
}

func (c *crash) beginLocked(dir string) error {
	prefix := newPrefix
	if !lockable {
		prefix = crashPrefix // at once
	}
	f, err := os.CreateTemp(dir, prefix)
	if err != nil {
		return err
	}
	path := f.Name()
	fail := func(err error) error {
		f.Close()
		os.Remove(path)
		return err
	}
	if lockable {
		_ = lock(f) // on some network disks nothing can be; then nobody else can, either
		// Under the name by which others look for last words it has always been locked.
		name := filepath.Join(dir, crashPrefix+strings.TrimPrefix(filepath.Base(path), newPrefix))
		if err := os.Rename(path, name); err != nil {
			return fail(err)
		}
		path = name
	}
	if err := debug.SetCrashOutput(f, debug.CrashOptions{}); err != nil {
		return fail(err)
	}
	c.f, c.path = f, path
	return nil
}

// renew listens with a file in a directory that was made again: the one before
// was deleted with it. Where that fails, nobody reads the last words.
func (c *crash) renew(dir string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.f; old != nil && c.beginLocked(dir) == nil {
		old.Close()
	}
}

// end stops listening; the process goes on.
func (c *crash) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.f == nil {
		return
	}
	debug.SetCrashOutput(nil, debug.CrashOptions{})
	c.f.Close()
	os.Remove(c.path)
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
