package observe

import (
	"strings"
	"sync"

	"github.com/loadline-go/loadline/internal/span"
)

// The kinds of dependency, as doctor.Dependency has them.
const (
	kindHTTP      = "http"
	kindDatabase  = "db"
	kindRPC       = "rpc"
	kindMessaging = "messaging"
	kindOther     = "other"
)

// parties are those whom requests and jobs wait for, one for each name of a
// kind, whichever wrapper or library tells of it. Beyond the bound they are the
// rest of their kind.
type parties struct {
	max   int
	found cache[span.Party, *span.Party]
	mu    sync.Mutex
}

func (p *parties) named(is span.Party) *span.Party {
	if known, ok := p.found.get(is); ok {
		return known
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if known, ok := p.found.get(is); ok {
		return known
	}
	if is.Name = text(is.Name, maxName); is.Name == "" || p.found.len() >= p.max {
		is.Name = other
	}
	if known, ok := p.found.get(is); ok { // under the name that fits
		return known
	}
	made := &span.Party{Kind: is.Kind, Name: strings.Clone(is.Name)}
	p.found.add(*made, made)
	return made
}

// party names who is waited for. One whose series has no room is the rest of its kind.
func (k *dependencyKey) party(exact bool) span.Party {
	v := &k.values
	var is span.Party
	switch k.kind {
	case toDatabase:
		is = span.Party{Kind: kindDatabase, Name: or(v[1], v[0])}
	case toHTTP:
		is = span.Party{Kind: kindHTTP, Name: hostName(v[1], v[2])}
	case toRPC:
		is = span.Party{Kind: kindRPC, Name: or(v[2], v[0])}
	case toQueue, fromQueue:
		is = span.Party{Kind: kindMessaging, Name: or(v[2], v[0])}
	default:
		is = span.Party{Kind: kindOther, Name: v[0]}
	}
	if !exact {
		is.Name = other
	}
	return is
}

// errorType is the label of that name.
func (k *dependencyKey) errorType() string {
	switch k.kind {
	case toDatabase:
		return k.values[5]
	case toHTTP:
		return k.values[4]
	case toRPC, toQueue, fromQueue:
		return k.values[3]
	}
	return k.values[2]
}

// hostName is a host as a dependency: "payments:443".
func hostName(address, port string) string {
	switch {
	case port == "" || address == "":
		return address
	case strings.Contains(address, ":"):
		return "[" + address + "]:" + port
	}
	return address + ":" + port
}

// faultOf reports whether an error_type says that who was called failed: not for
// one that the caller gave up, and not for a status by which the server blames
// the caller, but for those that say it is too slow or has too much to do.
func faultOf(errorType string) bool {
	switch errorType {
	case "", "canceled":
		return false
	case "408", "425", "429":
		return true
	}
	return !(len(errorType) == 3 && errorType[0] == '4')
}

// waitOf tells whom an ended span of ours waited for.
func waitOf(s *span.Span) span.Wait {
	switch d := s.Describer().(type) {
	case *statement:
		return span.Wait{Party: d.db.party, Failed: s.Failed()}
	case *outgoing:
		return span.Wait{Party: d.host.stats.party, Failed: faultOf(d.errorType), Took: d.waited, Behind: d.waited - d.headed}
	case *call:
		return span.Wait{Party: d.party, Failed: s.Failed()}
	case *run:
		return span.Wait{Party: d.party, Failed: s.Failed()}
	}
	return span.Wait{}
}

// untimedReads is how many reads of a body are not timed. A body that ends with
// them was waited for from its header to its end: who reads it, does so at once.
// Of a longer one, the caller may do something between the reads.
const untimedReads = 3
