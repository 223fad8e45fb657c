package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// A load sends requests at a steady rate, whether or not the answers come, and
// measures them as a client sees them.
type load struct {
	url    string
	rate   int // a second
	client *http.Client

	mu     sync.Mutex
	second stats // since the last call of take
	routes []*route
	unsent int // requests not sent because maxRunning were
}

// A route is one kind of request.
type route struct {
	method, pattern string
	stats
}

// stats are what the clients saw. Errors are statuses from 500 on, and no answer at all.
type stats struct {
	count, errors int
	statuses      map[string]int
	latency       latency
}

const maxRunning = 512 // requests at once: what bounds the load when the service stands still

func newLoad(url string, rate int) *load {
	return &load{
		url:  url,
		rate: rate,
		client: &http.Client{
			Transport: &http.Transport{MaxIdleConnsPerHost: maxRunning},
			Timeout:   30 * time.Second,
		},
		routes: []*route{
			{method: "GET", pattern: "/products/{id}"},
			{method: "POST", pattern: "/orders"},
			{method: "GET", pattern: "/reports/daily"},
		},
	}
}

// run sends requests until ctx ends, and returns when all are answered.
func (l *load) run(ctx context.Context) {
	defer l.client.CloseIdleConnections()
	var running sync.WaitGroup
	defer running.Wait()
	slots := make(chan struct{}, maxRunning)
	timer := time.NewTimer(0)
	defer timer.Stop()
	due := time.Now()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		select {
		case slots <- struct{}{}:
			running.Go(func() {
				l.send(ctx, n)
				<-slots
			})
		default:
			l.mu.Lock()
			l.unsent++
			l.mu.Unlock()
		}
		due = due.Add(time.Second / time.Duration(l.rate))
		if time.Since(due) > time.Second {
			due = time.Now() // the machine slept: what was missed is not made up for
		}
		timer.Reset(time.Until(due))
	}
}

// send sends the nth request: of twenty, four orders, two reports and fourteen
// products, of which one in a hundred does not exist.
func (l *load) send(ctx context.Context, n int) {
	r, path, body := l.routes[0], fmt.Sprintf("/products/%d", 1+n%(products+1)), ""
	switch {
	case n%5 == 1:
		r, path = l.routes[1], "/orders"
		body = fmt.Sprintf(`{"product":%d,"method":%q}`, 1+n%products, methods[n/5%len(methods)])
	case n%10 == 9:
		r, path = l.routes[2], "/reports/daily"
	}
	req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), r.method, l.url+path, strings.NewReader(body))
	if err != nil {
		panic(err) // the URL is the listener's
	}
	start := time.Now()
	resp, err := l.client.Do(req)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	took := time.Since(start)
	if err != nil && ctx.Err() != nil {
		return // refused because the service is ending
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	status, failed := "no answer", true
	if err == nil {
		status, failed = fmt.Sprint(resp.StatusCode), resp.StatusCode >= 500
	}
	l.second.add(status, failed, took)
	r.add(status, failed, took)
}

// take returns what was measured since it was last called.
func (l *load) take() stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.second
	l.second = stats{}
	return s
}

func (s *stats) add(status string, failed bool, took time.Duration) {
	if s.statuses == nil {
		s.statuses = map[string]int{}
	}
	s.count++
	s.statuses[status]++
	if failed {
		s.errors++
	}
	s.latency.add(took)
}

func (s *stats) errorShare() float64 { return float64(s.errors) / float64(max(s.count, 1)) }
