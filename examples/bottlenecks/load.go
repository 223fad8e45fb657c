package main

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// A load sends requests at a rate, whether or not the answers come, as many
// independent clients do.
type load struct {
	url    string
	client *http.Client
	stop   context.CancelFunc
	ended  sync.WaitGroup

	mu      sync.Mutex
	rate    float64 // a second
	routes  []*clientRoute
	weights float64
	running int
	most    int // requests at once
	stats   stats
	latest  chan struct{} // closed when the rate changes
}

// A clientRoute is one kind of request.
type clientRoute struct {
	method, path string
	weight       float64
	// read reads the answer, if that is not to be done as fast as can be.
	read func(io.Reader) error
}

// maxRunning bounds the requests at once, and so what an overload can pile up.
const maxRunning = 100

// patience is how long a client waits for an answer.
const patience = 10 * time.Second

// usualRate is the requests a second of a healthy service: far from what a
// core can serve, and enough for each interval to have some of each route.
const usualRate = 100

func newLoad() *load {
	var d net.Dialer
	l := &load{
		client: &http.Client{Timeout: patience, Transport: &http.Transport{
			MaxIdleConnsPerHost: maxRunning,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				c, err := d.DialContext(ctx, network, addr)
				if c, ok := c.(*net.TCPConn); ok {
					c.SetReadBuffer(64 << 10) // so that who reads slowly is felt at the other end
				}
				return c, err
			},
		}},
		most:   maxRunning,
		latest: make(chan struct{}),
	}
	for _, r := range []clientRoute{
		{method: "GET", path: "/light", weight: 40},
		{method: "POST", path: "/orders", weight: 20},
		{method: "GET", path: "/price", weight: 20},
		{method: "GET", path: "/search", weight: 10},
		{method: "GET", path: "/report", weight: 10},
	} {
		l.add(r)
	}
	return l
}

// add adds a route; one that is there is replaced.
func (l *load) add(r clientRoute) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// A request under way keeps the route that it began with.
	l.routes = slices.DeleteFunc(slices.Clone(l.routes), func(o *clientRoute) bool { return o.path == r.path })
	l.routes = append(l.routes, &r)
	l.weights = 0
	for _, r := range l.routes {
		l.weights += r.weight
	}
}

// setRate changes the rate from now on; 0 sends nothing.
func (l *load) setRate(perSecond float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rate = perSecond
	close(l.latest)
	l.latest = make(chan struct{})
}

func (l *load) start(url string, perSecond float64) {
	l.url = url
	l.setRate(perSecond)
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	l.ended.Go(func() { l.run(ctx) })
}

// end waits for the requests that are under way; they end early.
func (l *load) end() {
	if l.stop != nil {
		l.stop()
		l.ended.Wait()
	}
	l.client.CloseIdleConnections()
}

func (l *load) run(ctx context.Context) {
	random := rand.New(rand.NewPCG(1, 2)) // the same load each time
	due := time.Now()
	for {
		l.mu.Lock()
		rate, latest := l.rate, l.latest
		l.mu.Unlock()
		if rate <= 0 {
			select {
			case <-ctx.Done():
				return
			case <-latest:
				due = time.Now()
				continue
			}
		}
		// The time between independent clients is distributed exponentially.
		due = due.Add(time.Duration(random.ExpFloat64() / rate * float64(time.Second)))
		if late := time.Since(due); late > time.Second {
			due = time.Now() // this process slept: what was missed is not made up for
		}
		select {
		case <-ctx.Done():
			return
		case <-latest:
			due = time.Now()
			continue
		case <-time.After(time.Until(due)):
		}
		l.mu.Lock()
		full := l.running >= l.most
		at := random.Float64() * l.weights
		i := 0
		for ; i < len(l.routes)-1 && at >= l.routes[i].weight; i++ {
			at -= l.routes[i].weight
		}
		route := l.routes[i]
		if full {
			l.stats.unsent++
		} else {
			l.running++
		}
		l.mu.Unlock()
		if !full {
			l.ended.Go(func() { l.send(ctx, route) })
		}
	}
}

func (l *load) send(ctx context.Context, r *clientRoute) {
	began := time.Now()
	failed := l.get(ctx, r) != nil
	took := time.Since(began)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running--
	if ctx.Err() == nil {
		l.stats.add(failed, took)
	}
}

type statusError int

func (e statusError) Error() string { return http.StatusText(int(e)) }

func (l *load) get(ctx context.Context, r *clientRoute) error {
	req, err := http.NewRequestWithContext(ctx, r.method, l.url+r.path, strings.NewReader(""))
	if err != nil {
		return err
	}
	resp, err := l.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if r.read != nil {
		err = r.read(resp.Body)
	} else {
		_, err = io.Copy(io.Discard, resp.Body)
	}
	if err == nil && resp.StatusCode >= 500 {
		err = statusError(resp.StatusCode)
	}
	return err
}

// take returns what the clients saw since it was last called.
func (l *load) take() stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	l.stats = stats{}
	return s
}

// stats are what the clients saw. Errors are statuses from 500 on, and no answer.
type stats struct {
	count, errors, unsent int
	took                  []time.Duration
}

func (s *stats) add(failed bool, took time.Duration) {
	s.count++
	if failed {
		s.errors++
	}
	s.took = append(s.took, took)
}

func (s *stats) join(o stats) {
	s.count += o.count
	s.errors += o.errors
	s.unsent += o.unsent
	s.took = append(s.took, o.took...)
}

func (s *stats) mean() time.Duration {
	var sum time.Duration
	for _, d := range s.took {
		sum += d
	}
	return sum / time.Duration(max(len(s.took), 1))
}

func (s *stats) quantile(q float64) time.Duration {
	if len(s.took) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s.took))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func (s *stats) errorShare() float64 { return float64(s.errors) / float64(max(s.count, 1)) }
