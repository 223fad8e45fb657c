package capture

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrBusy is returned while another bundle is being made.
var ErrBusy = errors.New("capture: another bundle is being made")

// ErrTorn is reported by Open of each bundle that a process which was killed
// left half-made, and that Open has removed.
var ErrTorn = errors.New("capture: a torn bundle was removed")

// ErrUnknown is returned for the name of no bundle.
var ErrUnknown = errors.New("capture: no such bundle")

// A Store makes bundles and keeps them. A nil Store makes none.
type Store struct {
	c        Config
	recorder recorder
	crash    crash
	asked    chan asked
	busy     chan struct{} // holds one: the bundle that is being made

	mu        sync.Mutex
	triggered []triggered // within the last day, the oldest first: cool-down and caps go by them
}

type triggered struct {
	at   time.Time
	kind string
}

type asked struct {
	at     time.Time
	reason Reason
	wish   bool // somebody asked for it: what was not recorded before is recorded now
}

// Open returns a Store of the bundles in c.Dir. It removes what a process that
// was killed left half-made there, makes a bundle of what one that crashed has
// said last (Kind "crash"), and notes the last words of this process. The error
// tells each field of c that is wrong, or why the directory cannot be used.
func Open(c Config) (*Store, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	if err := writable(c.Dir); err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	s := &Store{c: c, asked: make(chan asked, 1), busy: make(chan struct{}, 1)}
	s.recorder.start, s.recorder.share = startFlight(c.RecorderBytes), c.ArmedShare
	if err := s.tidy(); err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	s.lastWords()
	s.remember()
	if !c.NoLastWords {
		if err := s.crash.begin(c.Dir); err != nil {
			return nil, fmt.Errorf("capture: %w", err)
		}
	}
	s.sweep()
	return s, nil
}

// Run makes the bundles that are triggered until ctx ends, and then stops the
// flight recorder and the note of last words. It is called once.
func (s *Store) Run(ctx context.Context) {
	if s == nil {
		return
	}
	defer s.crash.end()
	defer s.recorder.stop()
	if s.c.ArmedShare >= 1 {
		if err := s.recorder.arm("Config.ArmedShare", -1); err != nil && s.c.Report != nil {
			s.c.Report(Bundle{}, err)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-s.asked:
			select {
			case s.busy <- struct{}{}:
				s.make(ctx, a)
				<-s.busy
			default: // Capture was faster, with a bundle of the same moment
			}
		}
	}
}

// Trigger asks Run for a bundle and tells whether there will be one: not within
// the cool-down or beyond the day's cap, nor while another is being made. It
// never blocks.
func (s *Store) Trigger(r Reason) bool {
	if s == nil || len(s.busy) > 0 {
		return false
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mayAt(now, r.Kind) {
		return false
	}
	select {
	case s.asked <- asked{at: now, reason: r}:
		s.triggered = append(s.triggered, triggered{now, r.Kind})
		return true
	default:
		return false
	}
}

// Ready tells whether a Trigger of this kind would be heard now.
func (s *Store) Ready(kind string) bool {
	if s == nil || len(s.busy) > 0 || len(s.asked) > 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mayAt(time.Now(), kind)
}

// mayAt goes by the monotonic clock: a wall clock that is set back or forward
// neither opens nor closes the gate.
func (s *Store) mayAt(now time.Time, kind string) bool {
	s.triggered = slices.DeleteFunc(s.triggered, func(t triggered) bool { return now.Sub(t.at) >= 24*time.Hour })
	n, same := len(s.triggered), 0
	for _, t := range s.triggered {
		if t.kind == kind {
			same++
		}
	}
	return n < s.c.PerDay && same < s.c.PerKind && (n == 0 || now.Sub(s.triggered[n-1].at) >= s.c.CoolDown)
}

// remember takes the bundles that are there for triggered ones, unless they
// come from a clock that was ahead.
func (s *Store) remember() {
	all, _ := s.List() // what cannot be listed is not remembered
	now := time.Now()
	for _, b := range slices.Backward(all) {
		if ago := now.Sub(b.Time); ago >= 0 && ago < 24*time.Hour && b.Kind != "manual" && b.Kind != "signal" && b.Kind != "crash" {
			s.triggered = append(s.triggered, triggered{now.Add(-ago), b.Kind}) // by the monotonic clock from here on
		}
	}
}

// Capture makes a bundle now and returns it; it takes as long as the CPU
// profile and Parts. Where the flight recorder was not armed, it records these seconds
// instead of those before. When ctx ends, the profile does, and what was taken until then is
// kept. It returns ErrBusy while another bundle is being made.
func (s *Store) Capture(ctx context.Context, r Reason) (Bundle, error) {
	if s == nil {
		return Bundle{}, errors.New("capture: off")
	}
	select {
	case s.busy <- struct{}{}:
	default:
		return Bundle{}, ErrBusy
	}
	defer func() { <-s.busy }()
	return s.make(ctx, asked{at: time.Now(), reason: r, wish: true})
}

// List returns the bundles of the directory, the newest first.
func (s *Store) List() ([]Bundle, error) {
	if s == nil {
		return nil, nil
	}
	entries, err := os.ReadDir(s.c.Dir)
	if err != nil {
		if gone(err) { // deleted under us: the next bundle makes it again
			return nil, nil
		}
		return nil, fmt.Errorf("capture: %w", err)
	}
	var all []Bundle
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			if b, err := readBundle(filepath.Join(s.c.Dir, e.Name())); err == nil {
				all = append(all, b)
			}
		}
	}
	slices.SortFunc(all, func(a, b Bundle) int { return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(b.Name, a.Name)) })
	return all, nil
}

// find returns the bundle of a name, which may come from anywhere.
func (s *Store) find(name string) (Bundle, error) {
	if s == nil || name == "" || name != fileName(name) {
		return Bundle{}, ErrUnknown
	}
	b, err := readBundle(filepath.Join(s.c.Dir, name))
	if err != nil {
		return Bundle{}, ErrUnknown
	}
	return b, nil
}

// File opens a file of a bundle; names are those of [Bundle.Name] and
// [File.Name], or manifest.json. It returns ErrUnknown for any other.
func (s *Store) File(bundle, name string) (*os.File, error) {
	b, err := s.find(bundle)
	if err != nil {
		return nil, err
	}
	if name != manifestName && !slices.ContainsFunc(b.Files, func(f File) bool { return f.Name == name && f.Missing == "" }) || name != fileName(name) {
		return nil, ErrUnknown
	}
	f, err := os.Open(filepath.Join(b.Dir, name))
	if gone(err) {
		return nil, ErrUnknown
	}
	return f, err
}

// WriteTar writes a bundle to w as a .tar.gz, one directory with its files. It
// returns ErrUnknown, with nothing written, when there is no such bundle.
func (s *Store) WriteTar(w io.Writer, name string) error {
	b, err := s.find(name)
	if err != nil {
		return err
	}
	zip, err := gzip.NewWriterLevel(w, gzip.BestSpeed) // profiles are compressed already
	if err != nil {
		return err
	}
	out := tar.NewWriter(zip)
	names := []string{manifestName}
	for _, f := range b.Files {
		if f.Missing == "" && f.Name == fileName(f.Name) {
			names = append(names, f.Name)
		}
	}
	for _, n := range names {
		if err := addFile(out, b, n); err != nil {
			return fmt.Errorf("capture: %s: %w", name, err)
		}
	}
	if err := out.Close(); err != nil {
		return err
	}
	return zip.Close()
}

func addFile(out *tar.Writer, b Bundle, name string) error {
	f, err := os.Open(filepath.Join(b.Dir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := out.WriteHeader(&tar.Header{Name: b.Name + "/" + name, Mode: 0o600, Size: info.Size(), ModTime: info.ModTime()}); err != nil {
		return err
	}
	_, err = io.Copy(out, f)
	return err
}

// Remove deletes a bundle.
func (s *Store) Remove(name string) error {
	b, err := s.find(name)
	if err != nil {
		return err
	}
	if err := s.discard(b.Dir); err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	return nil
}

// discard removes a bundle. It is none any more before its first file goes: a
// process that is killed meanwhile leaves no half of one.
func (s *Store) discard(dir string) error {
	torn := filepath.Join(s.c.Dir, tornPrefix+"gone-"+strings.ToLower(rand.Text()[:6]))
	if err := os.Rename(dir, torn); err == nil {
		dir = torn
	} else if gone(err) { // another process was faster
		return nil
	}
	return os.RemoveAll(dir)
}

// writable tells why no file can be made in dir.
func writable(dir string) error {
	f, err := os.CreateTemp(dir, newPrefix)
	if err != nil {
		return err
	}
	f.Close()
	return os.Remove(f.Name())
}

// tidy removes what others left half-made. What is still being made is locked.
func (s *Store) tidy() error {
	entries, err := os.ReadDir(s.c.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(s.c.Dir, e.Name())
		switch name := e.Name(); {
		case strings.HasPrefix(name, newPrefix) && old(path):
			os.RemoveAll(path) // nothing was in it yet
			continue
		case strings.HasPrefix(name, tornPrefix) && abandoned(path, "lock"):
		case e.IsDir() && ours.MatchString(name) && old(path) && hollow(path):
		default:
			continue
		}
		err := os.RemoveAll(path)
		if s.c.Report != nil {
			s.c.Report(Bundle{}, errors.Join(fmt.Errorf("%w: %s", ErrTorn, e.Name()), err))
		}
	}
	return nil
}

// ours is the name of a bundle's directory. What is called otherwise is somebody else's.
var ours = regexp.MustCompile(`^\d{8}T\d{6}Z-[A-Za-z0-9._-]{1,30}-[a-z2-7]{6}$`)

// old tells that nobody has touched path for a minute, by a clock that may have
// been set meanwhile.
func old(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && time.Since(info.ModTime()).Abs() > time.Minute
}

// hollow tells whether a bundle has lost its manifest, as after the machine
// lost its power.
func hollow(dir string) bool {
	_, err := readBundle(dir)
	var unread *fs.PathError
	return gone(err) || err != nil && !errors.As(err, &unread) // what cannot be read may be another user's
}

// abandoned tells whether the process that made dir is gone: it can be locked,
// or, where nothing can, it was not touched for a quarter of an hour.
func abandoned(dir, lockName string) bool {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() {
		return false
	}
	f, err := os.Open(filepath.Join(dir, lockName))
	if err != nil { // about to be renamed, or removed
		return old(dir)
	}
	defer f.Close()
	switch err := lock(f); {
	case err == nil:
		return true
	case errors.Is(err, errors.ErrUnsupported):
		return time.Since(info.ModTime()).Abs() > 15*time.Minute
	default:
		return false
	}
}

// sweep removes the oldest bundles until the directory keeps to its bounds. A
// bundle of tomorrow, made before the clock was set back, is older than all others.
func (s *Store) sweep() {
	all, err := s.List()
	if err != nil {
		return
	}
	tomorrow := time.Now().Add(time.Hour) // clocks of machines that share a directory differ by less
	slices.SortStableFunc(all, func(a, b Bundle) int {
		switch ahead := a.Time.After(tomorrow); {
		case ahead == b.Time.After(tomorrow):
			return 0
		case ahead:
			return 1
		}
		return -1
	})
	var bytes int64
	for i, b := range all {
		bytes += b.Bytes
		if i >= s.c.MaxBundles || i > 0 && bytes > s.c.MaxBytes || time.Since(b.Time) > s.c.MaxAge {
			s.discard(b.Dir)
			bytes -= b.Bytes
		}
	}
}
