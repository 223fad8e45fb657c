package main

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// options are the flags.
type options struct {
	role        string
	name        string
	addr, admin string
	database    string
	providers   string
	run, load   time.Duration
	rate        int
	report      string
	level       slog.Level
}

const maxRate = 1000 // requests a second: well above what shows everything, well below what two cores serve

func parse(args []string, stdout io.Writer) (options, error) {
	var o options
	var logs bool
	f := flag.NewFlagSet("shop", flag.ContinueOnError)
	f.SetOutput(io.Discard) // one line of error is printed by run
	f.StringVar(&o.role, "role", "all", "what this `process` is: web, worker or all")
	f.StringVar(&o.name, "service", "", "`name` in traces and metrics (default shop-web, shop-worker or shop)")
	f.StringVar(&o.addr, "addr", "localhost:8080", "where the shop listens; a free port when it is taken")
	f.StringVar(&o.admin, "admin", "", `where the admin pages listen, or "off" (default localhost:9464)`)
	f.StringVar(&o.database, "database", "", "`file` of SQLite, or postgres://user:password@host/name (default a file that is removed at the end)")
	f.StringVar(&o.providers, "providers", "", "base `URL` of the payment and mail providers (default pretended ones)")
	f.DurationVar(&o.run, "for", 0, "how long to run; 0 is until interrupted")
	f.DurationVar(&o.load, "load", 0, "how long to make load; 0 is as long as the program runs")
	f.IntVar(&o.rate, "rate", 100, fmt.Sprintf("`requests` a second, 0 to %d", maxRate))
	f.StringVar(&o.report, "report", "", "JSON `file` to write when the load ends: what the customers saw")
	f.BoolVar(&logs, "log", false, "log everything to standard error, not warnings alone")
	if err := f.Parse(args); err != nil {
		if err == flag.ErrHelp {
			f.SetOutput(stdout)
			f.Usage()
		}
		return o, err
	}
	o.level = slog.LevelWarn
	if logs {
		o.level = slog.LevelInfo
	}
	return o, o.check(f.Args())
}

func (o options) check(rest []string) error {
	if len(rest) > 0 {
		return fmt.Errorf("unexpected argument %q", rest[0])
	}
	switch o.role {
	case "all":
	case "web", "worker":
		if o.database == "" {
			return fmt.Errorf("-role %s: -database is missing: the web process and the worker meet in one", o.role)
		}
	default:
		return fmt.Errorf("-role %q: want web, worker or all", o.role)
	}
	if _, _, err := net.SplitHostPort(o.addr); err != nil {
		return fmt.Errorf("-addr %q: want host:port", o.addr)
	}
	if o.providers != "" {
		if u, err := url.Parse(o.providers); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("-providers %q: want http://host:port", o.providers)
		}
	}
	for name, file := range map[string]string{"report": o.report, "database": o.database} {
		if dir, err := os.Stat(filepath.Dir(file)); !isURL(file) && (err != nil || !dir.IsDir()) {
			return fmt.Errorf("-%s %q: there is no such folder", name, file)
		}
	}
	switch {
	case o.run < 0:
		return fmt.Errorf("-for %v is negative", o.run)
	case o.load < 0:
		return fmt.Errorf("-load %v is negative", o.load)
	case o.rate < 0 || o.rate > maxRate:
		return fmt.Errorf("-rate %d: want 0 to %d", o.rate, maxRate)
	}
	return nil
}

// service is the name in traces and metrics.
func (o options) service() string {
	switch {
	case o.name != "":
		return o.name
	case o.role == "all":
		return "shop"
	}
	return "shop-" + o.role
}

// freeAddr returns addr, or a free port of the same host when addr is taken.
func freeAddr(addr string, stdout io.Writer) string {
	l, taken := net.Listen("tcp", addr)
	if taken == nil {
		l.Close()
		return addr
	}
	host, _, _ := net.SplitHostPort(addr)
	free := net.JoinHostPort(host, "0")
	l, err := net.Listen("tcp", free)
	if err != nil {
		return addr // it is not the port: Serve will say what is wrong
	}
	l.Close()
	fmt.Fprintf(stdout, "%v: taking a free port\n", taken)
	return free
}
