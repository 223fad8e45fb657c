package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/loadline-go/loadline/observe"
	"github.com/loadline-go/loadline/runtimemetrics"
)

// A drive is the load beside the service, and what is printed of it.
type drive struct {
	options
	tel    *observe.Telemetry
	stdout io.Writer
	stop   context.CancelFunc
	ended  chan error
}

// startDrive begins once srv listens and ends when srv shuts down.
func startDrive(srv *http.Server, tel *observe.Telemetry, o options, stdout io.Writer) *drive {
	ctx, stop := context.WithCancel(context.Background())
	d := &drive{options: o, tel: tel, stdout: stdout, stop: stop, ended: make(chan error, 1)}
	addr := make(chan string, 1)
	srv.BaseContext = func(l net.Listener) context.Context {
		addr <- l.Addr().String()
		return context.Background()
	}
	srv.RegisterOnShutdown(stop)
	go func() {
		select {
		case a := <-addr:
			d.ended <- d.run(ctx, "http://"+a)
		case <-ctx.Done():
			d.ended <- nil
		}
	}()
	return d
}

// end waits until the load has ended and all is printed.
func (d *drive) end() error {
	d.stop() // Serve may have failed before it served
	return <-d.ended
}

func (d *drive) run(ctx context.Context, url string) error {
	d.places(url)
	if d.rate == 0 {
		return nil
	}
	loading := ctx
	if d.load > 0 {
		var cancel context.CancelFunc
		loading, cancel = context.WithTimeout(ctx, d.load)
		defer cancel()
	}
	l := newLoad(url, d.rate)
	sent := make(chan struct{})
	go func() {
		l.run(loading)
		close(sent)
	}()
	d.watch(l, sent)
	d.summary(l)
	if d.report != "" {
		if err := writeReport(d.report, l); err != nil {
			return err
		}
	}
	if ctx.Err() == nil {
		fmt.Fprintln(d.stdout, "\nthe load has ended, the shop still serves")
	}
	return nil
}

// places prints where to look.
func (d *drive) places(url string) {
	fmt.Fprintf(d.stdout, "shop      %s/products/1\n", url)
	if addr := d.tel.AdminAddr(); addr != "" {
		fmt.Fprintf(d.stdout, "admin     http://%s/\n", addr)
		fmt.Fprintf(d.stdout, "metrics   http://%s/metrics\n", addr)
		fmt.Fprintf(d.stdout, "ready     http://%s/readyz\n", addr)
		fmt.Fprintf(d.stdout, "traces    http://%s/debug/traces\n", addr)
		fmt.Fprintf(d.stdout, "profiles  http://%s/debug/pprof/\n", addr)
	}
	fmt.Fprintln(d.stdout)
}

// watch prints one line a second until sent is closed.
func (d *drive) watch(l *load, sent <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	start, last := time.Now(), runtimemetrics.Read()
	for {
		select {
		case <-sent:
			return
		case <-tick.C:
		}
		now, s := runtimemetrics.Read(), l.take()
		delta := now.Since(&last)
		last = now
		fmt.Fprintf(d.stdout, "%5.0fs  %4.0f requests/s  p50 %-6s p95 %-6s p99 %-6s errors %4.1f %%  scheduler p99 %s\n",
			time.Since(start).Seconds(), float64(s.count)/delta.Interval.Seconds(), short(s.latency.quantile(0.5)), short(s.latency.quantile(0.95)), short(s.latency.quantile(0.99)),
			100*s.errorShare(), short(delta.Sched.Quantile(0.99)))
	}
}

func (d *drive) summary(l *load) {
	fmt.Fprintln(d.stdout)
	w := tabwriter.NewWriter(d.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "requests\terrors\tp50\tp95\tp99\t  route")
	for _, r := range l.routes {
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%s\t  %s %s\n", r.count, r.errors,
			short(r.latency.quantile(0.5)), short(r.latency.quantile(0.95)), short(r.latency.quantile(0.99)), r.method, r.pattern)
	}
	w.Flush()
	if l.unsent > 0 {
		fmt.Fprintf(d.stdout, "%d requests were not sent: %d were running\n", l.unsent, maxRunning)
	}
}

func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Millisecond).String()
}

// report is the file of -report; durations are in seconds.
type report struct {
	Done   bool          `json:"done"`
	Unsent int           `json:"unsent"`
	Routes []routeReport `json:"routes"`
}

type routeReport struct {
	Route    string         `json:"route"`
	Method   string         `json:"method"`
	Count    int            `json:"count"`
	Errors   int            `json:"errors"`
	Statuses map[string]int `json:"statuses"`
	P50      float64        `json:"p50"`
	P95      float64        `json:"p95"`
	P99      float64        `json:"p99"`
}

// writeReport puts the file in place whole, for who waits for it.
func writeReport(file string, l *load) error {
	rep := report{Done: true, Unsent: l.unsent}
	for _, r := range l.routes {
		rep.Routes = append(rep.Routes, routeReport{
			Route: r.pattern, Method: r.method, Count: r.count, Errors: r.errors, Statuses: r.statuses,
			P50: r.latency.quantile(0.5).Seconds(), P95: r.latency.quantile(0.95).Seconds(), P99: r.latency.quantile(0.99).Seconds(),
		})
	}
	text, err := json.MarshalIndent(rep, "", "\t")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(text, '\n'))
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
