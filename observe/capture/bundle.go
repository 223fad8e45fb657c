package capture

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	manifestName    = "manifest.json"
	manifestVersion = 1
	tornPrefix      = ".making-"
	newPrefix       = ".new-" // of what is not locked yet
)

// A Manifest describes a bundle, as manifest.json in it; manifest.schema.json
// beside this file is the same as a JSON Schema. Fields are added to it, never
// changed or taken away, while Schema stays the same.
type Manifest struct {
	Schema int       `json:"schema"` // 1
	Name   string    `json:"name"`   // of the bundle's directory
	Time   time.Time `json:"time"`   // of the trigger, in UTC
	Reason
	About
	Go    string `json:"go"`   // runtime.Version
	OS    string `json:"os"`   // GOOS/GOARCH
	Host  string `json:"host"` // os.Hostname
	PID   int    `json:"pid"`
	Files []File `json:"files"`

	// What it cost to make: how long it took, with the seconds of the CPU
	// profile; the CPU time of the goroutine that made it, 0 where that is
	// unknown (not on Linux); and the bytes of the files.
	Seconds    float64 `json:"seconds"`
	CPUSeconds float64 `json:"cpu_seconds,omitempty"`
	Bytes      int64   `json:"bytes"`
}

// A File is one file of a bundle.
type File struct {
	Name    string  `json:"name"`
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`           // how long it took to make
	Missing string  `json:"missing,omitempty"` // why it could not be taken; the file then does not exist
}

// A Bundle is a whole capture on disk.
type Bundle struct {
	Manifest        // Bytes are those that the directory holds now
	Dir      string `json:"-"` // of its files
}

// readBundle reads what a directory says of itself. A directory without a
// readable manifest is no bundle.
func readBundle(dir string) (Bundle, error) {
	text, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return Bundle{}, err
	}
	b := Bundle{Dir: dir}
	if err := json.Unmarshal(text, &b.Manifest); err != nil {
		return Bundle{}, fmt.Errorf("%s: %w", filepath.Join(dir, manifestName), err)
	}
	b.Name = filepath.Base(dir) // what the file says cannot lead elsewhere
	if b.Schema < 1 {
		return Bundle{}, fmt.Errorf("%s: no schema", filepath.Join(dir, manifestName))
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return Bundle{}, err
	}
	b.Bytes = 0
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			b.Bytes += info.Size()
		}
	}
	return b, nil
}

// fileName returns s as the name of a file: what is not a letter, a digit, a
// dash, a dot or an underscore is an underscore, no dot comes first, and 60
// bytes are enough.
func fileName(s string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '_'
	}, s)
	if strings.HasPrefix(name, ".") {
		name = "_" + name[1:]
	}
	return name[:min(len(name), 60)]
}

// gone tells that somebody else removed what we wanted to read or remove.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) }
