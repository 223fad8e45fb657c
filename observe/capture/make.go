package capture

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"time"
)

const (
	// partTime bounds each part that the program writes.
	partTime = 10 * time.Second
	// fromTime bounds each part that it makes of the others, which may read a
	// recording of tens of megabytes without haste.
	fromTime = 2 * time.Minute
)

// make makes a bundle, tells Report, and uploads it. The caller holds busy.
func (s *Store) make(ctx context.Context, a asked) (Bundle, error) {
	b, err := s.write(a.at, a.reason, func(d *draft) {
		starved := s.c.Starved != nil && s.c.Starved()
		var until time.Time
		during := false
		switch {
		case s.recorder.armed(): // first: the window moves on
			d.file("trace.out", s.recorder.snapshot)
		case a.wish && !starved && s.c.CPUProfile > 0 && s.recorder.arm("a capture", s.c.CPUProfile+time.Minute) == nil:
			_, until, during = s.Armed()
		case s.c.ArmedShare < 0:
			d.missing("trace.out", errNever.Error())
		default:
			d.missing("trace.out", errNotArmed.Error())
		}
		if !starved {
			d.profile("goroutine")
		}
		for _, p := range s.c.Parts {
			if p.Write == nil {
				continue
			}
			d.file(p.Name, func(w io.Writer) error {
				ctx, cancel := context.WithTimeout(ctx, partTime)
				defer cancel()
				return p.Write(ctx, w)
			})
		}
		for _, name := range []string{"heap", "mutex", "block"} {
			if starved {
				d.missing(name+".pprof", "CPU was too short")
			} else {
				d.profile(name)
			}
		}
		switch {
		case s.c.CPUProfile < 0:
		case starved:
			d.missing("cpu.pprof", "CPU was too short")
		default:
			d.file("cpu.pprof", func(w io.Writer) error {
				if s.c.HoldCPU != nil {
					defer s.c.HoldCPU()()
				}
				return cpuProfile(ctx, w, s.c.CPUProfile)
			})
		}
		if during {
			d.file("trace.out", s.recorder.snapshot)
			s.recorder.disarm(until) // not if an early sign wants it for longer
		}
		for _, p := range s.c.Parts {
			switch {
			case p.Write != nil:
			case starved:
				d.missing(p.Name, "CPU was too short")
			default:
				d.file(p.Name, func(w io.Writer) error {
					ctx, cancel := context.WithTimeout(ctx, fromTime)
					defer cancel()
					return p.From(ctx, Bundle{Manifest: Manifest{Reason: a.reason, Time: a.at.UTC(), About: s.c.About, Files: slices.Clone(d.files)}, Dir: d.dir}, w)
				})
			}
		}
	})
	if err == nil {
		s.sweep()
		if s.c.Upload != nil {
			s.upload(ctx, b)
		}
	}
	if s.c.Report != nil {
		s.c.Report(b, err)
	}
	return b, err
}

func (s *Store) upload(ctx context.Context, b Bundle) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	err := func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
			}
		}()
		return s.c.Upload(ctx, b)
	}()
	if err != nil && s.c.Report != nil {
		s.c.Report(b, fmt.Errorf("capture: upload %s: %w", b.Name, err))
	}
}

func cpuProfile(ctx context.Context, w io.Writer, d time.Duration) error {
	if err := pprof.StartCPUProfile(w); err != nil {
		return fmt.Errorf("%w: somebody else is using it", err)
	}
	defer pprof.StopCPUProfile()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil
}

// A draft is a bundle that is not whole yet.
type draft struct {
	dir   string
	lock  *os.File
	files []File
	err   error // of the disk: the bundle cannot become whole
}

// write makes a bundle of what fill puts into it.
func (s *Store) write(at time.Time, r Reason, fill func(*draft)) (Bundle, error) {
	began := time.Now()
	used, end := cpuTime()
	defer end()
	id := strings.ToLower(rand.Text()[:6]) // two processes, or two bundles a second
	d := &draft{dir: filepath.Join(s.c.Dir, newPrefix+id)}
	fail := func(err error) (Bundle, error) {
		if d.lock != nil {
			d.lock.Close()
		}
		os.RemoveAll(d.dir)
		return Bundle{}, fmt.Errorf("capture: %w", err)
	}
	err := os.Mkdir(d.dir, 0o700)
	if gone(err) { // the directory was deleted under us
		if err = os.MkdirAll(d.dir, 0o700); err == nil {
			s.crash.renew(s.c.Dir)
		}
	}
	if err != nil {
		return fail(err)
	}
	if d.lock, err = os.OpenFile(filepath.Join(d.dir, "lock"), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); err != nil {
		return fail(err)
	}
	if lockable {
		_ = lock(d.lock) // on some network disks nothing can be; then nobody else can, either
	} else {
		d.lock.Close()
	}
	// Under the name by which others look for torn ones it has always been locked.
	making := filepath.Join(s.c.Dir, tornPrefix+id)
	if err := os.Rename(d.dir, making); err != nil {
		return fail(err)
	}
	d.dir = making
	if fill(d); d.err != nil {
		return fail(d.err)
	}

	host, _ := os.Hostname()
	kind := fileName(r.Kind)
	if kind == "" {
		kind = "manual"
	}
	m := Manifest{
		Schema: manifestVersion, Time: at.UTC(), Reason: r, About: s.c.About, Files: d.files,
		Name: at.UTC().Format("20060102T150405Z") + "-" + kind[:min(len(kind), 30)] + "-" + id,
		Go:   runtime.Version(), OS: runtime.GOOS + "/" + runtime.GOARCH, Host: host, PID: os.Getpid(),
		Seconds: time.Since(began).Seconds(), CPUSeconds: used(),
	}
	for _, f := range d.files {
		m.Bytes += f.Bytes
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fail(err)
	}
	if err := os.WriteFile(filepath.Join(d.dir, manifestName), append(text, '\n'), 0o600); err != nil {
		return fail(err)
	}
	if err := os.Remove(filepath.Join(d.dir, "lock")); err != nil { // the lock itself is held until the bundle has its name
		return fail(err)
	}
	whole := filepath.Join(s.c.Dir, m.Name)
	if err := os.Rename(d.dir, whole); err != nil {
		return fail(err)
	}
	d.lock.Close()
	b := Bundle{Manifest: m, Dir: whole} // not read: another process may have swept it already
	b.Bytes += int64(len(text)) + 1
	return b, nil
}

func (d *draft) profile(name string) {
	d.file(name+".pprof", func(w io.Writer) error { return pprof.Lookup(name).WriteTo(w, 0) })
}

// file writes a file of the bundle. An error of write makes it a missing one,
// an error of the disk ends the bundle.
func (d *draft) file(name string, write func(io.Writer) error) {
	if d.err != nil {
		return
	}
	began := time.Now()
	f, err := os.OpenFile(filepath.Join(d.dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		d.missing(name, "a file of this name was written before")
		return
	}
	if err != nil {
		d.err = err
		return
	}
	w := &counted{w: f}
	err = func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
			}
		}()
		return write(w)
	}()
	if e := f.Close(); w.err == nil {
		w.err = e
	}
	switch {
	case w.err != nil:
		d.err = w.err
	case err != nil:
		os.Remove(f.Name())
		d.missing(name, err.Error())
	default:
		d.files = append(d.files, File{Name: name, Bytes: w.n, Seconds: time.Since(began).Seconds()})
	}
}

func (d *draft) missing(name, why string) {
	d.files = append(d.files, File{Name: name, Missing: why})
}

// counted counts what is written and notes an error of the disk.
type counted struct {
	w   io.Writer
	n   int64
	err error
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	if err != nil && c.err == nil {
		c.err = err
	}
	return n, err
}
