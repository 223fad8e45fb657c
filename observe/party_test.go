package observe

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/internal/span"
)

// lazy is a database whose statements take a second each.
type lazy struct{ driver.Conn }

func (lazy) Connect(context.Context) (driver.Conn, error) { return lazy{}, nil }
func (lazy) Driver() driver.Driver                        { return nil }
func (lazy) Close() error                                 { return nil }
func (lazy) ExecContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Result, error) {
	time.Sleep(time.Second)
	if strings.HasPrefix(query, "DELETE") {
		return nil, errBoom
	}
	return driver.ResultNoRows, nil
}

// late is a server that answers after a second, with a body that takes a second
// for each of its parts.
type late struct{ parts int }

func (l late) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(time.Second)
	if r.URL.Path == "/down" {
		return nil, errBoom
	}
	status := map[string]int{"/missing": 404, "/broken": 500}[r.URL.Path]
	return &http.Response{StatusCode: max(status, 200), Body: &lateBody{l.parts}, Request: r}, nil
}

type lateBody struct{ parts int }

func (b *lateBody) Close() error { return nil }
func (b *lateBody) Read(p []byte) (int, error) {
	if b.parts == 0 {
		return 0, io.EOF
	}
	b.parts--
	time.Sleep(time.Second)
	return copy(p, "part"), nil
}

// waited renders what the requests of a route, or a job, waited for.
func waited(tel *Telemetry, pace string) string {
	covered, parties, _ := tel.provider.Pace(pace).Waited()
	all := map[string]string{}
	for _, w := range parties {
		calls, failed, took := w.Totals()
		all[w.Party.Kind+" "+w.Party.Name] = fmt.Sprintf("%d calls, %d failed, %v", calls, failed, took)
	}
	return fmt.Sprint(covered, " ", all)
}

func TestWhatARequestWaitsForIsKnown(t *testing.T) {
	for _, c := range []struct {
		name string
		work func(ctx context.Context, tel *Telemetry, get func(path string, parts int) *http.Response)
		want string
	}{
		{"nothing", func(context.Context, *Telemetry, func(string, int) *http.Response) { time.Sleep(time.Second) }, "0s map[]"},
		{"a statement", func(ctx context.Context, tel *Telemetry, _ func(string, int) *http.Response) {
			db := tel.OpenDB(lazy{}, "orders")
			defer db.Close()
			db.ExecContext(ctx, "UPDATE orders SET n = 1")
			db.ExecContext(ctx, "DELETE FROM orders")
			time.Sleep(time.Second)
			db.Exec("UPDATE orders SET n = 1") // of no trace
		}, "2s map[db orders:3 calls, 1 failed, 2s]"}, // and CONNECT
		{"a whole body", func(_ context.Context, _ *Telemetry, get func(string, int) *http.Response) {
			io.ReadAll(get("/", 2).Body)
			time.Sleep(time.Second)
		}, "3s map[http payments:80:1 calls, 0 failed, 3s]"},
		{"a body of which nothing is read", func(_ context.Context, _ *Telemetry, get func(string, int) *http.Response) {
			defer get("/", 2).Body.Close()
			time.Sleep(time.Second)
		}, "1s map[http payments:80:1 calls, 0 failed, 1s]"},
		{"a stream with work between its parts", func(_ context.Context, _ *Telemetry, get func(string, int) *http.Response) {
			r := get("/", 10)
			for err := error(nil); err == nil; time.Sleep(time.Hour) {
				_, err = r.Body.Read(make([]byte, 10))
			}
		}, "8s map[http payments:80:1 calls, 0 failed, 8s]"}, // not the first three parts
		{"faults of the caller and of the server", func(_ context.Context, _ *Telemetry, get func(string, int) *http.Response) {
			get("/missing", 0).Body.Close()
			get("/broken", 0).Body.Close()
			get("/down", 0)
		}, "3s map[http payments:80:3 calls, 2 failed, 3s]"},
		{"calls beside each other", func(ctx context.Context, tel *Telemetry, get func(string, int) *http.Response) {
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() { io.ReadAll(get("/", 1).Body) })
			}
			wg.Go(func() {
				tel.Call(ctx, "mail", "send", func(context.Context) error { time.Sleep(3 * time.Second); return nil })
			})
			wg.Wait()
		}, "3s map[http payments:80:3 calls, 0 failed, 6s other mail:1 calls, 0 failed, 3s]"},
		{"a message", func(ctx context.Context, tel *Telemetry, _ func(string, int) *http.Response) {
			tel.Publish(ctx, Job{System: "rabbitmq", Queue: "orders"}, func(context.Context) error { time.Sleep(time.Second); return errBoom })
		}, "1s map[messaging orders:1 calls, 1 failed, 1s]"},
		{"another library", func(ctx context.Context, _ *Telemetry, _ func(string, int) *http.Response) {
			_, s := otel.Tracer("redisotel").Start(ctx, "get", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attribute.String("db.system.name", "redis")))
			time.Sleep(time.Second)
			s.End()
			_, s = otel.Tracer("unknown").Start(ctx, "get", trace.WithSpanKind(trace.SpanKindClient))
			time.Sleep(time.Second)
			s.End()
		}, "2s map[db redis:1 calls, 0 failed, 1s]"},
		{"a job inside", func(ctx context.Context, tel *Telemetry, _ func(string, int) *http.Response) {
			tel.Run(ctx, Job{Name: "inside"}, func(ctx context.Context) error {
				return tel.Call(ctx, "mail", "send", func(context.Context) error { time.Sleep(time.Second); return nil })
			})
		}, "1s map[other mail:1 calls, 0 failed, 1s]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, Config{}, func(t *testing.T, tel *Telemetry) {
				mux := http.NewServeMux()
				mux.HandleFunc("GET /wait/{id}", func(_ http.ResponseWriter, r *http.Request) {
					c.work(r.Context(), tel, func(path string, parts int) *http.Response {
						out, _ := http.NewRequestWithContext(r.Context(), "GET", "http://payments"+path, nil)
						resp, err := tel.Transport(late{parts}).RoundTrip(out)
						if err != nil && !errors.Is(err, errBoom) {
							t.Error(err)
						}
						return resp
					})
				})
				tel.Handler(mux).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/wait/1", nil))
				if got := waited(tel, "GET /wait/{id}"); got != c.want {
					t.Errorf("it waited for %s, want %s", got, c.want)
				}
			})
		})
	}
}

func TestWhatAJobWaitsForIsKnown(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, tel *Telemetry) {
		tel.Run(t.Context(), Job{Name: "report"}, func(ctx context.Context) error {
			return tel.Call(ctx, "mail", "send", func(context.Context) error { time.Sleep(time.Minute); return nil })
		})
		if got, want := waited(tel, "job report"), "1m0s map[other mail:1 calls, 0 failed, 1m0s]"; got != want {
			t.Errorf("it waited for %s, want %s", got, want)
		}
	})
}

func TestPartiesAreBounded(t *testing.T) {
	p := parties{max: 3}
	names := map[string]bool{}
	for _, name := range []string{"a", "b", "", "c\xff", "c\xfe", "c\xff", strings.Repeat("d", 1000), "a", "e"} {
		one := p.named(span.Party{Kind: "http", Name: name})
		if two := p.named(span.Party{Kind: "http", Name: name}); one != two {
			t.Errorf("%q is two parties", clip(name, 20))
		}
		names[one.Name] = true
	}
	if want := map[string]bool{"a": true, "b": true, other: true}; !maps.Equal(names, want) {
		t.Errorf("they are %v, want %v", names, want)
	}
}

func TestFaultsAreThoseOfWhoWasCalled(t *testing.T) {
	for class, want := range map[string]bool{
		"": false, "canceled": false, "404": false, "401": false, "429": true, "408": true, "500": true, "503": true,
		"timeout": true, "connection_refused": true, "panic": true, "_OTHER": true, "40001": true,
	} {
		if faultOf(class) != want {
			t.Errorf("%q: %t", class, !want)
		}
	}
}
