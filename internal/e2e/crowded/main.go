// Command crowded is a service with many routes, all of them in use: it asks
// itself, each route in turn, without a network. With -names, the path of a JSON
// list of strings, there is a route of each of these names besides, and a
// dependency, a query, a job, a queue, a cache, a label and a log record, too;
// its requests fail and say the name in all that they can.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"modernc.org/sqlite"

	"github.com/loadline-go/loadline/observe"
	"github.com/loadline-go/loadline/tracing"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "where the service listens")
	admin := flag.String("admin", "127.0.0.1:9464", "where the admin pages listen")
	routes := flag.Int("routes", 500, "how many")
	rate := flag.Int("rate", 500, "requests a second, of all routes together")
	keep := flag.Duration("keep", 0, "Config.ConsoleKeep")
	interval := flag.Duration("interval", 0, "Config.Interval")
	diagnose := flag.Duration("diagnose", 0, "Config.DiagnoseEvery")
	names := flag.String("names", "", "`file` with a JSON list of names")
	flag.Parse()
	config := observe.Config{
		Service: "crowded", AdminAddr: *admin, ConsoleKeep: *keep, Interval: *interval, DiagnoseEvery: *diagnose,
		Headers: []string{"X-Note"},
		// What they cost is not what is looked at.
		ProfileEvery: -1, Triggers: observe.Triggers{SchedDelay: -1, CPUShare: -1, Goroutines: -1},
	}
	config.Captures.Dir = observe.Off
	if err := run(context.Background(), config, *addr, *routes, *rate, *names); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, config observe.Config, addr string, routes, rate int, file string) error {
	var names []string
	if file != "" {
		text, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(text, &names)
		}
		if err != nil {
			return err
		}
		config.Captures.Dir, err = os.MkdirTemp("", "crowded-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(config.Captures.Dir)
	}
	tel, err := observe.Start(ctx, config)
	if err != nil {
		return err
	}
	slog.SetDefault(slog.New(tel.LogHandler(slog.NewJSONHandler(io.Discard, nil))))

	mux := http.NewServeMux()
	var requests []*http.Request
	odd := &strangers{tel: tel, names: names, counted: observe.NewCounter[struct{ What string }](tel, observe.Metric{
		Name: "crowded_strangers_total", Help: "Requests of <b>strangers</b>, by \"name\".",
	})}
	hostile := tel.Handler(odd)
	for i, name := range names {
		db := tel.OpenDB(observe.Connector(&sqlite.Driver{}, ":memory:"), name)
		defer db.Close()
		odd.dbs = append(odd.dbs, db)
		tel.Queue(name, func(context.Context) (observe.Depth, error) {
			return observe.Depth{Length: int64(i + 1), Capacity: 100}, nil
		})
		tel.Cache(name, func(context.Context) (observe.CacheStats, error) {
			return observe.CacheStats{Hits: time.Now().Unix(), Misses: 1}, nil
		})
		r := request("GET", "/strangers/"+url.PathEscape(name)+"?i="+fmt.Sprint(i))
		r.Header.Set("User-Agent", name)
		r.Header.Set("X-Note", name)
		r.Header.Set("Traceparent", name)
		r.Header.Set("Baggage", "k="+name)
		requests = append(requests, r)
		other := request(method(name), "/strangers/"+url.PathEscape(name)+"?i="+fmt.Sprint(i))
		requests = append(requests, other)
	}
	for i := range routes {
		dependency := fmt.Sprint("dependency ", i%20)
		mux.HandleFunc(fmt.Sprintf("GET /api/v1/things/%d/{id}", i), func(w http.ResponseWriter, r *http.Request) {
			tel.Call(r.Context(), dependency, "ask", func(context.Context) error { return nil })
		})
		requests = append(requests, request("GET", fmt.Sprintf("/api/v1/things/%d/1", i)))
	}
	handler := tel.Handler(mux)
	go func() {
		began := time.Now()
		for n := 0; ; n++ {
			time.Sleep(time.Until(began.Add(time.Duration(n) * time.Second / time.Duration(rate))))
			r := requests[n%len(requests)]
			to := handler
			if strings.HasPrefix(r.URL.Path, "/strangers/") {
				to = hostile
			}
			ask(to, r.Clone(ctx))
		}
	}()
	return tel.Serve(ctx, &http.Server{Addr: addr, Handler: handler})
}

// ask outlives the handler's panic, as a server does.
func ask(h http.Handler, r *http.Request) {
	defer func() { recover() }()
	h.ServeHTTP(&nobody{header: http.Header{}}, r)
}

func request(method, target string) *http.Request {
	u, err := url.Parse("http://crowded" + target)
	if err != nil {
		panic(err)
	}
	return &http.Request{Method: method, URL: u, Host: u.Host, Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody, RemoteAddr: "127.0.0.1:1"}
}

// method is a name as far as a method can be one.
func method(name string) string { return strings.ToUpper(name[:min(len(name), 40)]) }

// strangers serves the requests whose route has a name of somebody else's choice.
type strangers struct {
	tel     *observe.Telemetry
	names   []string
	dbs     []*sql.DB
	counted *observe.Counter[struct{ What string }]
}

func (s *strangers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i := 0
	fmt.Sscan(r.URL.Query().Get("i"), &i)
	name := s.names[i]
	r.Pattern = "GET /" + name // as a router does it
	ctx := r.Context()
	s.counted.Add(ctx, struct{ What string }{name}, 1)
	slog.ErrorContext(ctx, name, "note", name, "err", errors.New(name))
	db, quoted := s.dbs[i], `"`+strings.ReplaceAll(name, `"`, `""`)+`"`
	db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+quoted+" (x)")
	db.ExecContext(ctx, "SELECT * FROM "+quoted)
	s.tel.Call(ctx, name, name, func(context.Context) error { return errors.New(name) })
	s.tel.Run(ctx, observe.Job{Name: name, Queue: name, System: name}, func(context.Context) error { return errors.New(name) })
	tracing.Do(ctx, name, func(context.Context) error { return errors.New(name) })
	if r.Method == "GET" && i == 0 {
		panic(name)
	}
	http.Error(w, name, http.StatusInternalServerError)
}

// nobody takes an answer.
type nobody struct{ header http.Header }

func (n *nobody) Header() http.Header         { return n.header }
func (n *nobody) Write(b []byte) (int, error) { return len(b), nil }
func (n *nobody) WriteHeader(int)             {}
