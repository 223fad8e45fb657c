package leakcheck

import (
	"errors"
	"fmt"
	"runtime/pprof"
	"strings"
)

// proofEvery is how many windows lie between two proofs: each forces a garbage
// collection that looks at every goroutine.
const proofEvery = 5

var errNoProof = errors.New("this runtime has no goroutineleak profile")

// readProof returns, by group, how many goroutines the runtime has proved to
// be leaked.
func readProof() (map[string]int, error) {
	p := pprof.Lookup("goroutineleak")
	if p == nil {
		return nil, errNoProof
	}
	var b strings.Builder
	proofMu.Lock()
	err := p.WriteTo(&b, 1)
	proofMu.Unlock()
	if err != nil {
		return nil, err
	}
	records, err := parseProfile(b.String())
	if err != nil {
		return nil, err
	}
	proven := map[string]int{}
	for _, r := range records {
		proven[siteKey(r.frames)] += r.count
	}
	return proven, nil
}

// proof asks the runtime when that is wanted and has a use.
func (w *watcher) proof(r *reading, unknown func(string, ...any)) {
	if !w.config.Proof || w.windows-w.proved < proofEvery || !w.goroutines.growing() {
		return
	}
	w.proved = w.windows
	proven, err := readProof()
	if err != nil {
		unknown("asking for proof: %w", err)
		return
	}
	for key, t := range r.groups {
		t.proofs, t.proven = 1, proven[key]
	}
}

// prove takes what the runtime proved of the site at the last reading.
func (s *site) prove(t *tally) {
	switch {
	case t == nil || t.proofs == 0:
	case t.proven == 0 || t.proven < s.proven: // refuted
		s.proofs, s.proven = 0, t.proven
	default:
		s.proofs, s.proven = s.proofs+1, t.proven
	}
}

// isProven reports whether the runtime has proved twice, of ever more, that
// most of the members are leaked.
func (s *site) isProven() bool {
	return s.proofs >= 2 && 2*float64(s.proven) >= s.size[len(s.size)-1]
}

func (s *site) provenText() string {
	return fmt.Sprintf("the runtime proved %d of them to be unreachable", s.proven)
}
