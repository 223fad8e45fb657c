package observe

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/grafana/pyroscope-go/upstream"
	"github.com/grafana/pyroscope-go/upstream/remote"
)

const (
	// As often as Pyroscope's own client does it.
	pushEvery = 15 * time.Second
	// A profile has some 10 to 500 kB: beyond this a server has been slow for
	// minutes, and the oldest profiles go first.
	pushQueueBytes = 8 << 20
	// Of one request; the next profiles come in a quarter of a minute.
	pushTimeout = 10 * time.Second
	// What a server says about an error is read no further.
	maxPushAnswer = 64 << 10
)

// Profiles says where profiles are pushed to and what profiling may cost. The
// zero Profiles pushes none: they can be taken from the admin address.
type Profiles struct {
	// Server is the URL of a Pyroscope server, https for TLS, to which CPU, heap
	// (in use and allocated), goroutine, mutex and block profiles are pushed
	// every 15 s. The CPU is then profiled all the time, and samples carry the
	// labels route, job_name, and for sampled traces span_id, which the span's
	// attribute pyroscope.profile.id repeats. What cannot be sent is counted in
	// observe_dropped_total and forgotten.
	// Default: none. Variable: PYROSCOPE_SERVER_ADDRESS.
	Server string

	// User and Password are sent to Server by HTTP basic authentication.
	// Default: none. Variables: PYROSCOPE_BASIC_AUTH_USER, PYROSCOPE_BASIC_AUTH_PASSWORD.
	User, Password string

	// Tenant is the tenant of a Server that has several, sent as X-Scope-OrgID.
	// Default: none. Variable: PYROSCOPE_TENANT_ID.
	Tenant string

	// TLS says how an https Server is trusted and what it is shown.
	// Default: the system's roots.
	TLS *tls.Config

	// Labels are put on every profile: a region, a cell. Names are letters,
	// digits, dots and underscores. service_version and hostname are there already.
	// Default: none.
	Labels map[string]string

	// Leaks pushes the runtime's proof of leaked goroutines as well, where the
	// runtime has it. Collecting it forces a garbage collection, and it ends the
	// process with a fatal error if a goroutine that it judged leaked is woken
	// through a weak pointer after all (Go 1.27.0 to 1.27.4).
	// Default: false.
	Leaks bool

	// Budget is the share of the CPU time that the process may use, above 0 up to
	// 1, which its own profiling may take, as observe_profiler_cpu_seconds_total
	// counts it; profiles that would cost more are taken less often.
	// Default: 0.01.
	Budget float64
}

// withDefaults fills p from the environment and tells each field that is wrong.
func (p Profiles) withDefaults(wrong func(field, format string, a ...any)) Profiles {
	from := "Profiles.Server"
	if p.Server == "" {
		p.Server = strings.TrimSpace(os.Getenv("PYROSCOPE_SERVER_ADDRESS"))
		from = "Profiles.Server (PYROSCOPE_SERVER_ADDRESS)"
	}
	p.User = cmp.Or(p.User, os.Getenv("PYROSCOPE_BASIC_AUTH_USER"))
	p.Password = cmp.Or(p.Password, os.Getenv("PYROSCOPE_BASIC_AUTH_PASSWORD"))
	p.Tenant = cmp.Or(p.Tenant, os.Getenv("PYROSCOPE_TENANT_ID"))
	if p.Server != "" {
		// The address is not repeated: it may hold a password.
		if u, err := url.Parse(p.Server); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			wrong(from, "want a URL like http://pyroscope:4040")
		}
		if (p.User == "") != (p.Password == "") {
			wrong("Profiles.User", "User and Password go together, and one of them is empty")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Labels)) {
		if !isProfileLabel(name) {
			wrong("Profiles.Labels", "%q: want letters, digits, dots and underscores, and not __ in front", clip(name, 80))
		}
	}
	if !(p.Budget >= 0 && p.Budget <= 1) { // NaN is neither
		wrong("Profiles.Budget", "%v is not from 0 to 1", p.Budget)
	}
	p.Budget = cmp.Or(p.Budget, 0.01)
	return p
}

func isProfileLabel(name string) bool {
	return name != "" && !strings.HasPrefix(name, "__") && !strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '.')
	})
}

// pyroscope sends profiles to a Pyroscope server. The wire format is that of
// Grafana's client, which is given one batch after the other, so that its own
// queue, which loses silently and is lost at its end, is never full.
type pyroscope struct {
	t      *Telemetry
	name   string // of the application with its labels, as the server parses it
	remote *remote.Remote
	client *http.Client

	ctx    context.Context // of every request
	cancel context.CancelFunc

	mu     sync.Mutex
	queue  []*upstream.UploadJob
	bytes  int // of the queue
	closed bool
	wake   chan struct{} // holds one
	done   chan struct{}
}

// newPyroscope returns nil where no server is configured.
func newPyroscope(t *Telemetry) *pyroscope {
	c := t.config.Profiles
	if c.Server == "" {
		return nil
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = c.TLS
	transport.MaxConnsPerHost = 2
	p := &pyroscope{t: t, name: profileName(t.config), wake: make(chan struct{}, 1), done: make(chan struct{}), client: &http.Client{
		Transport: transport,
		Timeout:   pushTimeout,
		// A redirect would take the credentials elsewhere, or leave them out.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	r, err := remote.NewRemote(remote.Config{
		Address: c.Server, BasicAuthUser: c.User, BasicAuthPassword: c.Password, TenantID: c.Tenant,
		Threads: 2, Logger: noLog{}, HTTPClient: p,
	})
	if err != nil { // the address was parsed before
		t.warn("profiles", "observe: no profiles are pushed", "err", oneLine(err.Error()))
		return nil
	}
	p.remote = r
	return p
}

// host is where to, without what may be secret in the address.
func (p *pyroscope) host() string {
	u, err := url.Parse(p.t.config.Profiles.Server)
	if err != nil {
		return ""
	}
	return u.Host
}

// begin starts to send, until end.
func (p *pyroscope) begin() (end func(context.Context) error) {
	p.remote.Start()
	go p.run()
	return p.end
}

// push queues profiles. It never blocks: what has no room pushes out what is older.
func (p *pyroscope) push(jobs ...*upstream.UploadJob) {
	lost := 0
	p.mu.Lock()
	if p.closed {
		lost = len(jobs)
	} else {
		for _, j := range jobs {
			p.queue, p.bytes = append(p.queue, j), p.bytes+len(j.Profile)
		}
		for p.bytes > pushQueueBytes && len(p.queue) > 1 {
			p.bytes -= len(p.queue[0].Profile)
			p.queue[0] = nil
			p.queue = p.queue[1:]
			lost++
		}
	}
	p.mu.Unlock()
	if lost > 0 {
		p.t.losses.add("profiles", "queue_full", lost)
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// maxBatch is below the twenty that the client's queue holds.
const maxBatch = 8

func (p *pyroscope) run() {
	defer close(p.done)
	for range p.wake {
		for {
			p.mu.Lock()
			batch := slices.Clone(p.queue[:min(len(p.queue), maxBatch)])
			p.queue = p.queue[len(batch):]
			for _, j := range batch {
				p.bytes -= len(j.Profile)
			}
			closed := p.closed
			p.mu.Unlock()
			if len(batch) == 0 {
				if closed {
					return
				}
				break
			}
			for _, j := range batch {
				p.remote.Upload(j)
			}
			p.remote.Flush() // returns when all were sent or refused
		}
	}
}

// end sends what is queued, as long as ctx allows.
func (p *pyroscope) end(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
	var err error
	select {
	case <-p.done:
	case <-ctx.Done():
		p.mu.Lock()
		left := len(p.queue)
		p.queue = nil
		p.mu.Unlock()
		p.cancel() // the request at hand ends and is counted
		p.t.losses.add("profiles", "queue_full", left)
		<-p.done
		err = fmt.Errorf("profiles: not all were sent: %w", ctx.Err())
	}
	p.cancel()
	p.remote.Stop()
	p.client.CloseIdleConnections()
	return err
}

// Do sends one request of the client and counts what did not arrive. It
// implements remote.HTTPClient.
func (p *pyroscope) Do(r *http.Request) (*http.Response, error) {
	resp, err := p.client.Do(r.WithContext(p.ctx))
	if err == nil {
		resp.Body = bounded{io.LimitReader(resp.Body, maxPushAnswer), resp.Body}
		if resp.StatusCode == http.StatusOK {
			return resp, nil
		}
		err = fmt.Errorf("%s", resp.Status)
	}
	p.t.losses.add("profiles", "export_failed", 1)
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // without the address, whose query is long
	}
	p.t.warn("profiles", "observe: a profile could not be pushed", "server", r.URL.Host, "err", oneLine(err.Error()))
	if resp == nil {
		return nil, err
	}
	return resp, nil
}

type bounded struct {
	io.Reader
	io.Closer
}

// noLog is the client's logger: what it says was counted and told before.
type noLog struct{}

func (noLog) Infof(string, ...any)  {}
func (noLog) Debugf(string, ...any) {}
func (noLog) Errorf(string, ...any) {}

// profileName is what profiles are sent under: the service with its labels,
// "shop{hostname=a,service_version=1}". What the format has no letters for is an underscore.
func profileName(c Config) string {
	labels := map[string]string{
		"__session_id__":          strings.ToLower(rand.Text()[:16]), // tells two lives of a process apart
		"service_version":         c.Version,
		"process.runtime.name":    "go",
		"process.runtime.version": runtime.Version(),
	}
	if host, err := os.Hostname(); err == nil {
		labels["hostname"] = host
	}
	for k, v := range c.Profiles.Labels {
		labels[k] = v
	}
	var b strings.Builder
	b.WriteString(strings.Map(func(r rune) rune {
		if r == '-' || r == '.' || r == '/' || r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, c.Service))
	for i, k := range slices.Sorted(maps.Keys(labels)) {
		b.WriteByte("{,"[min(i, 1)])
		b.WriteString(k)
		b.WriteByte('=')
		b.WriteString(strings.Map(func(r rune) rune {
			if strings.ContainsRune(",{}=\"", r) || r < ' ' {
				return '_'
			}
			return r
		}, strings.ToValidUTF8(clip(labels[k], maxName), "_")))
	}
	b.WriteByte('}')
	return b.String()
}
