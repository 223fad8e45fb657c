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

	dto "github.com/prometheus/client_model/go"

	"github.com/loadline-go/loadline/observe"
)

// A drive is the load beside the shop, and what is printed of both.
type drive struct {
	options
	tel    *observe.Telemetry
	store  *store
	stdout io.Writer
	stop   context.CancelFunc
	ended  chan error
}

// startDrive begins once srv listens and ends when srv shuts down.
func startDrive(srv *http.Server, tel *observe.Telemetry, store *store, o options, stdout io.Writer) *drive {
	ctx, stop := context.WithCancel(context.Background())
	d := &drive{options: o, tel: tel, store: store, stdout: stdout, stop: stop, ended: make(chan error, 1)}
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
	places(d.tel, url, d.stdout)
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
func places(tel *observe.Telemetry, url string, stdout io.Writer) {
	if url != "" {
		fmt.Fprintf(stdout, "shop      %s/products/1\n", url)
	}
	if addr := tel.AdminAddr(); addr != "" {
		fmt.Fprintf(stdout, "admin     http://%s/\n", addr)
		fmt.Fprintf(stdout, "metrics   http://%s/metrics\n", addr)
		fmt.Fprintf(stdout, "ready     http://%s/readyz\n", addr)
		fmt.Fprintf(stdout, "traces    http://%s/debug/traces\n", addr)
	}
	fmt.Fprintln(stdout)
}

// watch prints one line a second until sent is closed: what customers see, and
// the answers of business.go from the metrics themselves.
func (d *drive) watch(l *load, sent <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	start := time.Now()
	last, then := d.read(), start
	for {
		select {
		case <-sent:
			return
		case <-tick.C:
		}
		now, m, took := time.Now(), d.read(), l.take()
		minutes := now.Sub(then).Minutes()
		fmt.Fprintf(d.stdout, "%5.0fs  %4.0f requests/s  p50 %-6s p99 %-6s  %5.0f orders/min  € %5.2f a request  %3.0f users  queue %.0f\n",
			now.Sub(start).Seconds(), float64(len(took))/now.Sub(then).Seconds(), short(quantile(took, 0.5)), short(quantile(took, 0.99)),
			(m.paid-last.paid)/minutes, (m.euros-last.euros)/max(m.requests-last.requests, 1), m.users, m.queue)
		last, then = m, now
	}
}

// figures are what the business asks, as the metrics tell it.
type figures struct{ paid, euros, users, requests, queue float64 }

// read asks the registry that /metrics serves. Outside of a demonstration, this
// is Prometheus' work.
func (d *drive) read() (f figures) {
	families, err := d.tel.Registry().Gather()
	if err != nil {
		return f
	}
	for _, family := range families {
		for _, m := range family.Metric {
			switch {
			case family.GetName() == "shop_orders_total" && label(m, "result") == "paid":
				f.paid += m.GetCounter().GetValue()
			case family.GetName() == "shop_order_euros":
				f.euros += m.GetHistogram().GetSampleSum()
			case family.GetName() == "shop_active_users" && label(m, "window") == "5m":
				f.users = m.GetGauge().GetValue()
			case family.GetName() == "http_server_request_duration_seconds":
				f.requests += float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if n, _, err := d.store.backlog(ctx); err == nil {
		f.queue = float64(n)
	}
	return f
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.Label {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

func (d *drive) summary(l *load) {
	fmt.Fprintln(d.stdout)
	w := tabwriter.NewWriter(d.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "requests\terrors\tp50\tp99\t  route")
	for _, r := range l.routes {
		count, errors := 0, 0
		for status, n := range r.Statuses {
			count += n
			if status >= "500" {
				errors += n
			}
		}
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\t  %s %s\n", count, errors, short(quantile(r.took, 0.5)), short(quantile(r.took, 0.99)), r.Method, r.Route)
	}
	w.Flush()
	f := d.read()
	fmt.Fprintf(d.stdout, "\n%.0f orders paid, € %.2f in all, %.0f customers\n", f.paid, f.euros, f.users)
	if l.unsent > 0 {
		fmt.Fprintf(d.stdout, "%d requests were not sent: %d were running\n", l.unsent, maxRunning)
	}
	if l.lost > 0 {
		fmt.Fprintf(d.stdout, "%d requests were lost\n", l.lost)
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

// report is the file of -report.
type report struct {
	Unsent int      `json:"unsent"`
	Lost   int      `json:"lost"`
	Routes []*route `json:"routes"`
}

// writeReport puts the file in place whole, for who waits for it.
func writeReport(file string, l *load) error {
	text, err := json.MarshalIndent(report{Unsent: l.unsent, Lost: l.lost, Routes: l.routes}, "", "\t")
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
