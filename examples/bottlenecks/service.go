package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/loadline-go/loadline/observe"
)

// A wiring is what the service's process is told by the one that starts it.
type wiring struct {
	Programs  []string
	Interval  time.Duration
	Database  string
	Hosts     map[string]string // name -> address
	Collector string            // base URL
	Dir       string
	Cores     int
	Small     bool
	Cgroup    string // where to move to first, file by file
}

const wiringVariable = "BOTTLENECKS_SERVICE"

// A service is an ordinary one: a few routes, a database, some dependencies, a
// cache. Programs put hooks into it.
type service struct {
	wiring
	free   float64 // cores that are free for it
	tel    *observe.Telemetry
	db     *sql.DB
	client *http.Client
	mux    *http.ServeMux
	hooks  map[string][]hook // by route; "" for all
	prices priceCache
}

// A hook runs at the begin of a route's handler; its error is the answer.
type hook func(w http.ResponseWriter, r *http.Request) error

// on adds a hook to a route, or to all ordinary routes with "".
func (s *service) on(route string, h hook) { s.hooks[route] = append(s.hooks[route], h) }

// serve is the service's process. It obeys the lines that come on stdin and
// ends with them: whoever started it need not live to end it.
func serve(text string, stdin io.Reader, stdout io.Writer) (err error) {
	s := &service{mux: http.NewServeMux(), hooks: map[string][]hook{}}
	if err := json.Unmarshal([]byte(text), &s.wiring); err != nil {
		return err
	}
	ordinary() // the one that started this may have more rights to the CPU
	for _, file := range filepath.SplitList(s.Cgroup) {
		if err := os.WriteFile(file, fmt.Appendln(nil, os.Getpid()), 0o644); err != nil {
			return err
		}
	}
	if s.free = 1; !s.Small {
		s.free = available(s.Cores)
	}
	var ps []*program
	config := observe.Config{
		Service:   "bottlenecks",
		AdminAddr: "127.0.0.1:0",
		Interval:  min(s.Interval, 5*time.Second), // the doctor's interval wants figures of its own
	}
	config.Captures.Dir = filepath.Join(s.Dir, "captures")
	diagnoseEvery(&config, s.Interval)
	for _, name := range s.Programs {
		p, err := lookup(name)
		if err != nil {
			return err
		}
		ps = append(ps, p)
		if p.config != nil {
			p.config(s, &config)
		}
	}
	ctx := context.Background()
	if s.tel, err = observe.Start(ctx, config); err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		s.tel.Shutdown(ctx) // a dead collector is a program's illness, not an error here
	}()
	slog.SetDefault(slog.New(s.tel.LogHandler(slog.NewJSONHandler(os.Stderr, nil))))

	s.db = s.tel.OpenDB(connector{s.Database}, "orders")
	defer s.db.Close()
	s.db.SetMaxOpenConns(8)
	s.db.SetMaxIdleConns(8)
	s.client = &http.Client{Transport: s.tel.Transport(s.transport()), Timeout: patience}
	defer s.client.CloseIdleConnections()
	s.prices.init(s)
	s.routes()

	faults := map[string]*fault{}
	for _, p := range ps {
		f := &fault{}
		if p.service != nil {
			p.service(s, f)
		}
		faults[p.name] = f
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: s.tel.Handler(s.mux), ReadHeaderTimeout: 5 * time.Second, ErrorLog: quiet}
	served := make(chan struct{})
	go func() {
		srv.Serve(l)
		close(served)
	}()
	defer func() {
		for _, f := range faults {
			f.finish()
		}
		srv.Close()
		<-served
		for _, f := range faults {
			if f.close != nil {
				f.close()
			}
		}
	}()
	fmt.Fprintf(stdout, "ready http://%s http://%s\n", l.Addr(), s.tel.AdminAddr())

	lines := bufio.NewScanner(stdin)
	for lines.Scan() {
		verb, name, _ := strings.Cut(lines.Text(), " ")
		switch verb {
		case "begin":
			for _, f := range faults {
				f.start()
			}
			fmt.Fprintln(stdout, "begun")
		case "end":
			for _, f := range faults {
				f.finish()
			}
			fmt.Fprintln(stdout, "ended")
		case "did":
			var n int64
			for at, f := range faults {
				if name == "" || at == name {
					n += f.did.Load()
				}
			}
			fmt.Fprintln(stdout, "did", n)
		case "quit":
			return nil
		}
	}
	return lines.Err()
}

func (f *fault) start() {
	if f.begin != nil {
		f.begin()
	}
	f.ill.Store(true)
}

func (f *fault) finish() {
	if f.ill.Swap(false) && f.end != nil {
		f.end()
	}
}

// transport finds the hosts of the world by their names, as a service mesh does.
func (s *service) transport() *http.Transport {
	roots := x509.NewCertPool()
	if cert, err := x509.ParseCertificate(certificate().Certificate[0]); err == nil {
		roots.AddCert(cert)
	}
	var d net.Dialer
	return &http.Transport{
		MaxIdleConnsPerHost: 64,
		TLSClientConfig:     &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			if at, ok := s.Hosts[host]; ok {
				addr = at
			}
			return d.DialContext(ctx, network, addr)
		},
	}
}

// route adds a route whose handler runs the hooks first.
func (s *service) route(pattern string, h func(w http.ResponseWriter, r *http.Request) error) {
	_, path, _ := strings.Cut(pattern, " ")
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		for _, at := range []string{"", path} {
			for _, hook := range s.hooks[at] {
				if err := hook(w, r); err != nil {
					answerError(w, err)
					return
				}
			}
		}
		if err := h(w, r); err != nil {
			answerError(w, err)
		}
	})
}

// errAnswered is a hook's that has answered itself.
var errAnswered = errors.New("answered")

func answerError(w http.ResponseWriter, err error) {
	if err != errAnswered {
		http.Error(w, err.Error(), http.StatusBadGateway)
	}
}

func (s *service) routes() {
	s.route("GET /light", func(w http.ResponseWriter, r *http.Request) error {
		_, err := io.WriteString(w, `{"light":true}`)
		return err
	})
	s.route("POST /orders", func(w http.ResponseWriter, r *http.Request) error {
		ctx := r.Context()
		if err := s.query(ctx, "SELECT id, name FROM customers WHERE id = 7"); err != nil {
			return err
		}
		if err := s.get(ctx, "http://stock.internal/items"); err != nil {
			return err
		}
		if err := s.get(ctx, "http://rates.internal/eur"); err != nil {
			return err
		}
		if _, err := s.db.ExecContext(ctx, "INSERT INTO orders VALUES (1)"); err != nil {
			return err
		}
		w.WriteHeader(http.StatusCreated)
		return nil
	})
	s.route("GET /price", func(w http.ResponseWriter, r *http.Request) error {
		if err := s.prices.price(r.Context()); err != nil {
			return err
		}
		burn(100 * time.Microsecond)
		_, err := io.WriteString(w, `{"price":7}`)
		return err
	})
	s.route("GET /search", func(w http.ResponseWriter, r *http.Request) error {
		if err := s.query(r.Context(), "SELECT id, name FROM goods WHERE name LIKE 'a'"); err != nil {
			return err
		}
		burn(500 * time.Microsecond)
		_, err := io.WriteString(w, `{"found":[1,2,3]}`)
		return err
	})
	s.route("GET /report", func(w http.ResponseWriter, r *http.Request) error {
		if err := s.query(r.Context(), "SELECT id, name FROM invoices WHERE year = 2026"); err != nil {
			return err
		}
		rows := make([]map[string]any, 100)
		for i := range rows {
			rows[i] = map[string]any{"id": i, "name": "invoice", "cents": i * 100}
		}
		return json.NewEncoder(w).Encode(rows)
	})
}

// query runs a query and reads its rows.
func (s *service) query(ctx context.Context, text string) error {
	rows, err := s.db.QueryContext(ctx, text)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var name string
		if err := rows.Scan(&id, &name); err != nil {
			return err
		}
	}
	return rows.Err()
}

// get asks a dependency; what is not its answer is an error.
func (s *service) get(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return err
	}
	return s.do(req)
}

func (s *service) do(req *http.Request) error {
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode >= 400 {
		return fmt.Errorf("%s: %s", req.URL.Host, resp.Status)
	}
	return nil
}

// A priceCache keeps 100 prices for a minute.
type priceCache struct {
	s     *service
	watch *observe.Cache
	mu    sync.Mutex
	at    map[int]time.Time
	next  int

	hits, misses atomic.Int64
	evictions    atomic.Int64
}

func (c *priceCache) init(s *service) {
	c.s, c.at = s, map[int]time.Time{}
	c.watch = s.tel.Cache("prices", func(context.Context) (observe.CacheStats, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return observe.CacheStats{
			Hits: c.hits.Load(), Misses: c.misses.Load(), Evictions: c.evictions.Load(),
			Entries: int64(len(c.at)), Capacity: cachedPrices,
		}, nil
	})
}

const cachedPrices = 20

func (c *priceCache) price(ctx context.Context) error {
	c.mu.Lock()
	c.next++
	key := c.next % cachedPrices
	fresh := time.Since(c.at[key]) < time.Minute
	c.mu.Unlock()
	if fresh {
		c.hits.Add(1)
		return nil
	}
	c.misses.Add(1)
	_, err := observe.Load(ctx, c.watch, key, func(ctx context.Context) (int, error) {
		return 7, c.s.query(ctx, "SELECT id, name FROM prices WHERE id = 7")
	})
	if err == nil {
		c.mu.Lock()
		c.at[key] = time.Now()
		c.mu.Unlock()
	}
	return err
}

// flush empties the cache.
func (c *priceCache) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.evictions.Add(int64(len(c.at)))
	clear(c.at)
}
