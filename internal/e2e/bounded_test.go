package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/loadline-go/loadline/internal/e2e/server"
	"github.com/loadline-go/loadline/observe"
	"github.com/loadline-go/loadline/observe/capture"
)

// Clients that send a million distinct paths, methods, hosts and header values
// over real connections make neither series nor memory grow.
func TestMillionDistinctRequests(t *testing.T) {
	lanes(t, func(t *testing.T, _ server.Lane) {
		const requests, warm, connections, maxSeries = 1_000_000, 100_000, 4, 500
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		// Without the flight recorder and the CPU profiler: what they hold has bounds of its own, of megabytes.
		tel, err := observe.Start(ctx, observe.Config{
			Service: "bounded", AdminAddr: observe.Off, MaxSeries: maxSeries, ProfileEvery: -1, Captures: capture.Config{Dir: observe.Off},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := tel.Shutdown(ctx); err != nil {
				t.Error(err)
			}
		}()
		// The worst a program can do with its own metrics and clients: labels and hosts from the request.
		byUser := observe.NewCounter[struct{ User string }](tel, observe.Metric{Name: "e2e_requests_total", Help: "Requests by user."})
		outbound := tel.Transport(roundTripper(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
		}))
		mux := http.NewServeMux()
		mux.HandleFunc("/users/{id}", func(w http.ResponseWriter, r *http.Request) {
			id := r.PathValue("id")
			byUser.Add(r.Context(), struct{ User string }{id}, 1)
			call, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+r.Host+"/"+id, nil)
			if err == nil {
				var resp *http.Response
				if resp, err = outbound.RoundTrip(call); err == nil {
					_ = resp.Body.Close()
				}
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
		s := httptest.NewServer(tel.Handler(mux))
		defer s.Close()

		storm(t, ctx, s.Listener.Addr().String(), connections, 0, warm)
		seriesBefore, heapBefore := series(t, tel), liveHeap()
		began := time.Now()
		storm(t, ctx, s.Listener.Addr().String(), connections, warm, requests)
		took := time.Since(began)
		seriesAfter, heapAfter := series(t, tel), liveHeap()

		total := 0
		for name, n := range seriesAfter {
			total += n
			// A tenth is on top for sets with one label "other", and one is all "other".
			if n > maxSeries+maxSeries/10+1 {
				t.Errorf("%s has %d series, the limit is %d", name, n, maxSeries)
			}
			if n > seriesBefore[name] && seriesBefore[name] >= maxSeries {
				t.Errorf("%s grew from %d to %d series", name, seriesBefore[name], n)
			}
		}
		t.Logf("%d requests in %v; %d series after %d requests, %d after %d; live heap %d kB, then %d kB",
			requests-warm, took.Round(time.Millisecond), sumOf(seriesBefore), warm, total, requests, heapBefore>>10, heapAfter>>10)
		if total > 5000 {
			t.Errorf("%d series in all", total)
		}
		if heapAfter > heapBefore+4<<20 {
			t.Errorf("the live heap grew from %d to %d kB over %d requests", heapBefore>>10, heapAfter>>10, requests-warm)
		}

		// Nothing was lost in "other": every request is in the sums, and what overflowed was counted.
		if n := value(t, tel, "http_server_request_duration_seconds", nil); n != requests {
			t.Errorf("%v requests counted, %d sent", n, requests)
		}
		matched := value(t, tel, "http_server_request_duration_seconds", map[string]string{"http_route": "/users/{id}"})
		if n := value(t, tel, "e2e_requests_total", nil); n != matched || n != requests/2 {
			t.Errorf("%v requests counted by user, %v by route, want %d", n, matched, requests/2)
		}
		if n := value(t, tel, "observe_series_overflow_total", map[string]string{"metric": "e2e_requests_total", "label": "user"}); n != requests/2-maxSeries {
			t.Errorf("%v overflowed by user, want %d", n, requests/2-maxSeries)
		}
		if n := value(t, tel, "observe_series_overflow_total", map[string]string{"metric": "http_client_request_duration_seconds", "label": "server_address"}); n < requests/2-10*maxSeries {
			t.Errorf("%v overflowed by host", n)
		}
		for _, f := range gather(t, tel) {
			for _, m := range f.GetMetric() {
				for _, l := range m.GetLabel() {
					if strings.HasPrefix(f.GetName(), "http_server_") && strings.Contains(l.GetValue(), "x1") {
						t.Fatalf("%s: the client's text is in %s=%q", f.GetName(), l.GetName(), l.GetValue())
					}
				}
			}
		}
	}, server.Quick)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// storm sends the requests from first to last over a few connections, many at once on each.
func storm(t *testing.T, ctx context.Context, addr string, connections, first, last int) {
	t.Helper()
	const batch = 200
	var wg sync.WaitGroup
	for c := range connections {
		wg.Go(func() {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close() }()
			if deadline, ok := ctx.Deadline(); ok {
				_ = conn.SetDeadline(deadline)
			}
			in, out := bufio.NewReader(conn), bufio.NewWriterSize(conn, 64<<10)
			for i := first + c*batch; i < last; i += connections * batch {
				n := min(batch, last-i)
				for j := i; j < i+n; j++ {
					writeRequest(out, j)
				}
				if err := out.Flush(); err != nil {
					t.Error(err)
					return
				}
				for range n {
					resp, err := http.ReadResponse(in, nil)
					if err == nil {
						_, err = io.Copy(io.Discard, resp.Body)
						_ = resp.Body.Close()
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// writeRequest writes request i: every other one matches a route, and all that
// a client chooses is different each time.
func writeRequest(w io.Writer, i int) {
	method := "GET"
	if i%4 >= 2 {
		method = fmt.Sprintf("x1M%d", i)
	}
	path := "/users"
	if i%2 == 1 {
		path = "/x1"
	}
	_, _ = fmt.Fprintf(w, "%s %s/%d?x1q%d=1 HTTP/1.1\r\nHost: x1h%d.example\r\nUser-Agent: x1agent/%d\r\nX-%d: x1\r\nCookie: x1=%d\r\n"+
		"traceparent: 00-%032x-%016x-00\r\nbaggage: x1k%d=v\r\nX-Forwarded-For: x1.%d\r\n\r\n",
		method, path, i, i, i, i, i, i, i+1, i+1, i, i)
}

// series counts the series by metric name; a histogram is one for each label set.
func series(t *testing.T, tel *observe.Telemetry) map[string]int {
	t.Helper()
	n := map[string]int{}
	for _, f := range gather(t, tel) {
		n[f.GetName()] = len(f.GetMetric())
	}
	return n
}

func sumOf(m map[string]int) (n int) {
	for _, v := range m {
		n += v
	}
	return n
}

func liveHeap() uint64 {
	var m runtime.MemStats
	// Twice: what a finalizer or a pool held on to goes with the second.
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
