package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// A load is the customers: requests at a steady rate, whether or not the
// answers come, measured as a customer sees them.
type load struct {
	url    string
	rate   int // a second
	client *http.Client

	mu     sync.Mutex
	last   string // the order placed last
	second []time.Duration
	routes []*route
	unsent int // because maxRunning were under way
	lost   int // neither answered nor refused
}

// A route is one kind of request and what came of it.
type route struct {
	Method   string         `json:"method"`
	Route    string         `json:"route"`
	Statuses map[string]int `json:"statuses"`
	took     []time.Duration
}

const (
	maxRunning = 512 // requests at once: what bounds the load when the shop stands still
	customers  = 300
	remembered = 100_000 // durations of a route: the summary is of the first, should it run for hours
)

func newLoad(url string, rate int) *load {
	return &load{
		url: url, rate: rate,
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: maxRunning}, Timeout: 30 * time.Second},
		routes: []*route{
			{Method: "GET", Route: "/products/{id}", Statuses: map[string]int{}},
			{Method: "POST", Route: "/orders", Statuses: map[string]int{}},
			{Method: "GET", Route: "/orders/{id}", Statuses: map[string]int{}},
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

// send sends the nth request: of ten, seven look at a product, two order and
// one asks what became of an order. One product in a hundred does not exist.
func (l *load) send(ctx context.Context, n int) {
	r, path, body := l.routes[0], fmt.Sprintf("/products/%d", 1+n%(catalog+1)), ""
	switch n % 10 {
	case 3, 8:
		r, path = l.routes[1], "/orders"
		body = fmt.Sprintf(`{"product":%d,"method":%q}`, 1+n%catalog, methods[n/5%len(methods)])
	case 9:
		l.mu.Lock()
		id := l.last
		l.mu.Unlock()
		r, path = l.routes[2], "/orders/"+id
		if id == "" {
			return
		}
	}
	req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), r.Method, l.url+path, strings.NewReader(body))
	if err != nil {
		panic(err) // the URL is the listener's
	}
	// Some customers come often, many once.
	req.Header.Set("X-Customer", fmt.Sprint("customer-", min(rand.IntN(customers), rand.IntN(customers))))
	start := time.Now()
	resp, err := l.client.Do(req)
	var placed struct{ Order string }
	if err == nil {
		err = json.NewDecoder(resp.Body).Decode(&placed)
		if resp.StatusCode >= 400 {
			err = nil // an error is text
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	took := time.Since(start)
	if err != nil && ctx.Err() != nil {
		return // refused because the shop is closing
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.lost++
		return
	}
	if placed.Order != "" && resp.StatusCode == http.StatusCreated {
		l.last = placed.Order
	}
	l.second = append(l.second, took)
	r.Statuses[fmt.Sprint(resp.StatusCode)]++
	if len(r.took) < remembered {
		r.took = append(r.took, took)
	}
}

// take returns the durations since it was last called.
func (l *load) take() []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.second
	l.second = nil
	return s
}

// quantile returns the duration that the share q did not exceed; 0 for none.
func quantile(took []time.Duration, q float64) time.Duration {
	if len(took) == 0 {
		return 0
	}
	took = slices.Sorted(slices.Values(took))
	return took[int(q*float64(len(took)-1))]
}
