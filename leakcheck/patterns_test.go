package leakcheck

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"runtime/pprof"
	"testing"
	"time"
)

// A library's goroutines that outlive the call by design, without Ignore.
func TestVerifyToleratesWhatLibrariesKeep(t *testing.T) {
	Verify(t)
	tolerates(t, Config{Patience: time.Second})
}

func tolerates(t *testing.T, c Config) {
	srv := httptest.NewServer(http.HandlerFunc(answer))
	defer srv.Close()
	srv2 := httptest.NewUnstartedServer(http.HandlerFunc(answer))
	srv2.EnableHTTP2 = true
	srv2.StartTLS()
	defer srv2.Close()
	for _, tt := range []struct {
		name string
		body func(t *testing.T, f *fakeT)
	}{
		{"kept-alive connections", func(t *testing.T, _ *fakeT) {
			tr := &http.Transport{}
			t.Cleanup(tr.CloseIdleConnections)
			for range 3 {
				read(t, &http.Client{Transport: tr}, srv.URL)
			}
		}},
		{"the default transport", func(t *testing.T, _ *fakeT) {
			t.Cleanup(http.DefaultClient.CloseIdleConnections)
			read(t, http.DefaultClient, srv.URL)
		}},
		{"kept-alive HTTP/2 connections", func(t *testing.T, _ *fakeT) {
			c := srv2.Client()
			t.Cleanup(c.CloseIdleConnections)
			read(t, c, srv2.URL)
		}},
		{"a server that was closed", func(t *testing.T, f *fakeT) {
			srv := httptest.NewServer(http.HandlerFunc(answer))
			f.Cleanup(srv.Close)
			read(t, srv.Client(), srv.URL)
		}},
		{"an open pool", func(t *testing.T, _ *fakeT) {
			db := sql.OpenDB(connector{})
			t.Cleanup(func() { db.Close() })
			db.SetConnMaxLifetime(time.Hour)
			rows, err := db.QueryContext(t.Context(), "select")
			if err != nil {
				t.Fatal(err)
			}
			for rows.Next() {
			}
			if err := rows.Close(); err != nil {
				t.Error(err)
			}
		}},
		{"signal.Notify", func(*testing.T, *fakeT) {
			c := make(chan os.Signal, 1)
			signal.Notify(c, os.Interrupt)
			signal.Stop(c)
		}},
		{"signal.NotifyContext", func(t *testing.T, _ *fakeT) {
			_, stop := signal.NotifyContext(t.Context(), os.Interrupt)
			stop()
		}},
		{"a cancelled context with a child that ends", func(t *testing.T, _ *fakeT) {
			ctx, cancel := context.WithCancel(t.Context())
			context.AfterFunc(ctx, func() { time.Sleep(10 * time.Millisecond) })
			cancel()
		}},
		{"a client with a time limit, through a proxy, to a handler with a time limit", func(t *testing.T, f *fakeT) {
			behind := httptest.NewServer(http.TimeoutHandler(http.HandlerFunc(answer), time.Minute, "late"))
			f.Cleanup(behind.Close)
			to, err := url.Parse(behind.URL)
			if err != nil {
				t.Fatal(err)
			}
			proxy := httputil.NewSingleHostReverseProxy(to)
			proxy.FlushInterval = time.Minute
			proxy.Transport = &http.Transport{IdleConnTimeout: time.Minute, ResponseHeaderTimeout: time.Minute}
			t.Cleanup(proxy.Transport.(*http.Transport).CloseIdleConnections)
			front := httptest.NewUnstartedServer(proxy)
			front.Config.ReadTimeout, front.Config.WriteTimeout, front.Config.IdleTimeout = time.Minute, time.Minute, time.Minute
			front.Start()
			f.Cleanup(front.Close)
			tr := &http.Transport{}
			t.Cleanup(tr.CloseIdleConnections)
			read(t, &http.Client{Transport: tr, Timeout: time.Minute}, front.URL)
		}},
		{"a deadline that ended with its parent", func(*testing.T, *fakeT) {
			parent, end := context.WithCancel(context.Background())
			_, forgotten := context.WithTimeout(parent, time.Hour)
			_ = forgotten
			end()
		}},
		{"a pipe with a deadline, closed", func(t *testing.T, f *fakeT) {
			a, b := net.Pipe()
			f.Cleanup(func() { a.Close(); b.Close() })
			if err := a.SetDeadline(time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}},
		{"a timer that has not fired", func(*testing.T, *fakeT) {
			if !c.Timers {
				time.AfterFunc(time.Hour, func() {})
			}
		}},
		{"a CPU profile", func(t *testing.T, _ *fakeT) {
			if err := pprof.StartCPUProfile(io.Discard); err != nil {
				t.Skip(err) // -cpuprofile is on
			}
			t.Cleanup(pprof.StopCPUProfile)
		}},
		{"a command", func(t *testing.T, _ *fakeT) {
			if out, err := exec.CommandContext(t.Context(), "go", "version").CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		}},
		{"subtests in parallel", func(t *testing.T, _ *fakeT) {
			t.Run("group", func(t *testing.T) {
				for _, name := range []string{"a", "b", "c"} {
					t.Run(name, func(t *testing.T) {
						Verify(t)
						t.Parallel()
						c := make(chan bool)
						go block(c)
						time.Sleep(10 * time.Millisecond)
						close(c)
					})
				}
			})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantNone(t, run(c, t.Name()+"/fake", func(f *fakeT) { tt.body(t, f) }))
		})
	}
}

// What a caller forgot to close is found through the goroutine that the
// library keeps for it.
func TestVerifyNamesWhatWasNotClosed(t *testing.T) {
	Verify(t)
	srv := httptest.NewServer(http.HandlerFunc(answer))
	defer srv.Close()
	streams := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	streams.EnableHTTP2 = true
	streams.StartTLS()
	defer streams.Close()
	for _, tt := range []struct {
		want string
		body func(t *testing.T)
	}{
		{"the body of an HTTP response was neither read to its end nor closed", func(t *testing.T) {
			tr := &http.Transport{}
			resp, err := (&http.Client{Transport: tr}).Get(srv.URL)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { resp.Body.Close(); tr.CloseIdleConnections() })
		}},
		{"the body of an HTTP/2 response was neither read to its end nor closed", func(t *testing.T) {
			resp, err := streams.Client().Get(streams.URL)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { resp.Body.Close() })
		}},
		{"a sql.Rows was not closed", func(t *testing.T) {
			db := sql.OpenDB(connector{})
			ctx, cancel := context.WithCancel(context.Background())
			rows, err := db.QueryContext(ctx, "select")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { rows.Close(); cancel(); db.Close() })
		}},
		{"a sql.Tx was neither committed nor rolled back", func(t *testing.T) {
			db := sql.OpenDB(connector{})
			tx, err := db.Begin()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { tx.Rollback(); db.Close() })
		}},
		{"an httptest.Server was not closed", func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(answer))
			t.Cleanup(srv.Close)
		}},
		{"the stop function of signal.NotifyContext was not called", func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			t.Cleanup(cancel)
			_, _ = signal.NotifyContext(ctx, os.Interrupt)
		}},
	} {
		t.Run(tt.want, func(t *testing.T) {
			wantOne(t, run(Config{}, t.Name()+"/fake", func(*fakeT) { tt.body(t) }), tt.want)
		})
	}
}

func answer(w http.ResponseWriter, _ *http.Request) {
	w.Write(make([]byte, 100_000)) // more than a connection's buffers take in passing
}

func read(t *testing.T, c *http.Client, url string) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Error(err)
	}
}

// A connector of connections that answer every query with two rows.
type connector struct{}

func (connector) Connect(context.Context) (driver.Conn, error) { return conn{}, nil }
func (connector) Driver() driver.Driver                        { return nil }

type conn struct{}

func (conn) Prepare(string) (driver.Stmt, error) { return stmt{}, nil }
func (conn) Close() error                        { return nil }
func (conn) Begin() (driver.Tx, error)           { return tx{}, nil }

type tx struct{}

func (tx) Commit() error   { return nil }
func (tx) Rollback() error { return nil }

type stmt struct{}

func (stmt) Close() error                               { return nil }
func (stmt) NumInput() int                              { return 0 }
func (stmt) Exec([]driver.Value) (driver.Result, error) { return nil, errors.New("not needed") }
func (stmt) Query([]driver.Value) (driver.Rows, error)  { return &rows{}, nil }

type rows struct{ n int }

func (*rows) Columns() []string { return []string{"n"} }
func (*rows) Close() error      { return nil }
func (r *rows) Next(dest []driver.Value) error {
	if r.n++; r.n > 2 {
		return io.EOF
	}
	dest[0] = int64(r.n)
	return nil
}
