package observe

import (
	"fmt"
	"net/http"
	"runtime/pprof"
	"sync"
	"time"
)

// leakProfile is the runtime's proof (Go 1.27): the goroutines that nothing
// reachable can wake. Collecting it can end the process, so it is not listed
// among the profiles, and served only to a POST.
const leakProfile = "goroutineleak"

// proofRisk is what somebody is told who asks for the proof in another way.
const proofRisk = `This collects the runtime's goroutineleak profile, which proves some leaks and CAN END THE PROCESS:
a goroutine that is blocked on what only a weak.Pointer reaches, and that is woken through it later,
is then fatal ("bad g->status in ready"; Go 1.27.0 to 1.27.4). It also forces a garbage collection.
It cannot see a leak that is reachable: from a global, a timer, a socket, a sleep loop.
Where that is worth the risk, for example on an instance that was taken out of the load balancer:

    curl -fsS -X POST -o leaks.pprof http://%s/debug/leaks/proof && go tool pprof -top leaks.pprof
`

// proofEvery is how often the proof may be asked for: it stops the world and
// collects, for a second with 100,000 goroutines or a heap of a gigabyte.
const proofEvery = time.Minute

// proof serves the runtime's proof, one at a time with the other profiles.
type proof struct {
	profiles *profiles
	mu       sync.Mutex
	next     time.Time
}

func (p *proof) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, fmt.Sprintf(proofRisk, oneLine(r.Host)), http.StatusMethodNotAllowed)
		return
	}
	profile := pprof.Lookup(leakProfile)
	if profile == nil {
		http.Error(w, "unknown: this program was built without the goroutineleak profile; Go 1.27 has it, and Go 1.26 with GOEXPERIMENT=goroutineleakprofile", http.StatusNotImplemented)
		return
	}
	if !p.profiles.begin(w) {
		return
	}
	defer p.profiles.end()
	if wait := p.reserve(time.Now()); wait > 0 {
		w.Header().Set("Retry-After", fmt.Sprint(int(wait/time.Second)+1))
		http.Error(w, fmt.Sprintf("at most once in %v", proofEvery), http.StatusTooManyRequests)
		return
	}
	attachment(w, "leaks.pprof")
	profile.WriteTo(w, 0)
}

// reserve takes the next turn, or returns how long to wait for it.
func (p *proof) reserve(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if wait := p.next.Sub(now); wait > 0 {
		return wait
	}
	p.next = now.Add(proofEvery)
	return 0
}
