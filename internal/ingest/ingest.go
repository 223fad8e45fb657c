// Package ingest is the receiving end of profiles for tests: it reads what a
// Pyroscope server reads at /ingest, part by part, and keeps it.
package ingest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/pprof/profile"
)

// A Profile is one that arrived.
type Profile struct {
	Name        string // of the application, with its labels
	From, Until time.Time
	Query       url.Values
	Header      http.Header
	Types       string // of the samples: "samples/count cpu/nanoseconds "
	Config      map[string]map[string]any
	Profile     *profile.Profile
}

// Server is a handler that takes profiles. The zero Server works.
type Server struct {
	// Answer answers instead of keeping the profile. Default: nil, profiles are kept.
	Answer http.HandlerFunc

	mu   sync.Mutex
	all  []Profile
	errs []error
	seen int
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p, err := Read(r)
	s.mu.Lock()
	s.seen++
	switch {
	case err != nil:
		s.errs = append(s.errs, err)
	case s.Answer == nil:
		s.all = append(s.all, p)
	}
	s.mu.Unlock()
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	case s.Answer != nil:
		s.Answer(w, r)
	}
}

// Of returns the profiles that hold samples of a type, in the order of coming.
func (s *Server) Of(kind string) (found []Profile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.all {
		if strings.Contains(p.Types, kind) {
			found = append(found, p)
		}
	}
	return found
}

// Requests returns how many requests came, kept or not.
func (s *Server) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

// Errors returns what was wrong with requests.
func (s *Server) Errors() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.errs)
}

// Read reads one request.
func Read(r *http.Request) (p Profile, err error) {
	if r.Method != http.MethodPost || r.URL.Path != "/ingest" {
		return p, fmt.Errorf("%s %s", r.Method, r.URL.Path)
	}
	p.Query, p.Header, p.Name = r.URL.Query(), r.Header, r.URL.Query().Get("name")
	for _, bound := range []struct {
		name string
		to   *time.Time
	}{{"from", &p.From}, {"until", &p.Until}} {
		n, err := strconv.ParseInt(p.Query.Get(bound.name), 10, 64)
		if err != nil {
			return p, fmt.Errorf("%s: %w", bound.name, err)
		}
		*bound.to = time.Unix(0, n)
	}
	parts, err := r.MultipartReader()
	if err != nil {
		return p, err
	}
	for {
		part, err := parts.NextPart()
		if err == io.EOF {
			if p.Profile == nil {
				return p, fmt.Errorf("no profile among the parts")
			}
			return p, nil
		}
		if err != nil {
			return p, err
		}
		switch part.FormName() {
		case "profile":
			if p.Profile, err = profile.Parse(part); err != nil {
				return p, err
			}
			if err := p.Profile.CheckValid(); err != nil {
				return p, err
			}
			for _, t := range p.Profile.SampleType {
				p.Types += t.Type + "/" + t.Unit + " "
			}
		case "sample_type_config":
			if err := json.NewDecoder(part).Decode(&p.Config); err != nil {
				return p, err
			}
		default:
			return p, fmt.Errorf("a part called %q", part.FormName())
		}
	}
}

// HasFunction tells whether a stack holds a function whose name ends in this.
func HasFunction(s *profile.Sample, name string) bool {
	return slices.ContainsFunc(s.Location, func(l *profile.Location) bool {
		return slices.ContainsFunc(l.Line, func(l profile.Line) bool { return l.Function != nil && strings.HasSuffix(l.Function.Name, name) })
	})
}
