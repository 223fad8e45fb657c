package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/loadline-go/loadline/observe"
	"github.com/loadline-go/loadline/observe/capture"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// ledger is the gRPC server's own account of its calls.
type ledger struct {
	mu       sync.Mutex
	inFlight int
	answered map[string]int // by status
}

func (*ledger) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (*ledger) HandleConn(context.Context, stats.ConnStats)                       {}
func (*ledger) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (l *ledger) HandleRPC(_ context.Context, s stats.RPCStats) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch s := s.(type) {
	case *stats.Begin:
		l.inFlight++
	case *stats.End:
		l.inFlight--
		l.answered[status.Code(s.Error).String()]++
	}
}

func (l *ledger) read() (inFlight int, answered map[string]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.inFlight, maps.Clone(l.answered)
}

// A gRPC server that is instrumented with otelgrpc has rate, errors and
// duration by method and status and its calls in flight, exactly those that
// the server counts, sampled or not, and methods that somebody makes up take
// no series. A server that has a handler for unknown methods counts those;
// another one begins them, answers, and never speaks of them again.
func TestServedProceduresAreThoseOfTheServer(t *testing.T) {
	for _, run := range []struct {
		sampler  string
		catchAll bool
	}{{"always_on", true}, {"always_off", true}, {"always_off", false}} {
		t.Run(fmt.Sprint(run.sampler, " ", run.catchAll), func(t *testing.T) {
			t.Setenv("OTEL_TRACES_SAMPLER", run.sampler)
			tel, err := observe.Start(t.Context(), observe.Config{Service: "e2e", AdminAddr: observe.Off, Captures: capture.Config{Dir: observe.Off}})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = tel.Shutdown(context.Background()) }()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			own := &ledger{answered: map[string]int{}}
			// The ledger is told after the handler that makes the span, and its end before the span's.
			options := []grpc.ServerOption{grpc.StatsHandler(otelgrpc.NewServerHandler()), grpc.StatsHandler(own),
				grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
					if r, ok := req.(*grpc_health_v1.HealthCheckRequest); ok && r.Service == "broken" {
						return nil, status.Error(codes.Internal, "broken")
					}
					return next(ctx, req)
				})}
			if run.catchAll {
				options = append(options, grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error { return status.Error(codes.Unimplemented, "unknown") }))
			}
			s := grpc.NewServer(options...)
			grpc_health_v1.RegisterHealthServer(s, health.NewServer())
			served := make(chan struct{})
			go func() {
				defer close(served)
				_ = s.Serve(l)
			}()
			defer func() { s.Stop(); <-served }()
			conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			client := grpc_health_v1.NewHealthClient(conn)
			const checks, unknown, broken, evil, streams = 40, 7, 5, 2500, 3
			check := func(n int, service string, want codes.Code) {
				for range n {
					if _, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service}); status.Code(err) != want {
						t.Fatalf("%q: %v, want %v", service, err, want)
					}
				}
			}
			check(checks, "", codes.OK)
			check(unknown, "unknown", codes.NotFound)
			check(broken, "broken", codes.Internal)
			for i := range evil {
				err := conn.Invoke(t.Context(), fmt.Sprintf("/evil.Service%d/Method%d", i%7, i), &grpc_health_v1.HealthCheckRequest{}, &grpc_health_v1.HealthCheckResponse{})
				if status.Code(err) != codes.Unimplemented {
					t.Fatal(err)
				}
			}
			watch := func(ctx context.Context) grpc_health_v1.Health_WatchClient {
				w, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := w.Recv(); err != nil {
					t.Fatal(err)
				}
				return w
			}
			ended := func() (all, canceled int) {
				_, answered := own.read()
				for _, n := range answered {
					all += n
				}
				return all, answered["Canceled"]
			}
			duration := func(labels map[string]string) float64 {
				return value(t, tel, "rpc_server_call_duration_seconds", labels)
			}
			settled := func(canceled int) {
				t.Helper()
				for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
					if all, n := ended(); n == canceled && duration(nil) == float64(all) {
						return
					}
					if time.Now().After(deadline) {
						_, answered := own.read()
						t.Fatalf("%v counted; the server has %v, want %d canceled", duration(nil), answered, canceled)
					}
				}
			}
			first, end := context.WithCancel(t.Context()) // a method is known from its first answer on
			watch(first)
			end()
			settled(1)
			held, release := context.WithCancel(t.Context())
			var open []grpc_health_v1.Health_WatchClient
			for range streams {
				open = append(open, watch(held))
			}
			active := func() float64 {
				return value(t, tel, "observe_rpc_server_active_calls", map[string]string{"rpc_system_name": "grpc"})
			}
			if n, _ := own.read(); n != streams || active() != float64(n) {
				t.Errorf("%v calls in flight, the server has %d, want %d", active(), n, streams)
			}
			release()
			for _, w := range open {
				if _, err := w.Recv(); status.Code(err) != codes.Canceled && !errors.Is(err, io.EOF) {
					t.Error(err)
				}
			}
			settled(1 + streams)
			if n, _ := own.read(); n != 0 || active() != 0 {
				t.Errorf("%v calls in flight at the end, the server has %d", active(), n)
			}
			unimplemented := evil
			if !run.catchAll {
				unimplemented = 0
			}
			_, answered := own.read()
			for _, c := range []struct {
				method, status, errorType, own string
				n                              int
			}{
				{"grpc.health.v1.Health/Check", "OK", "", "OK", checks},
				{"grpc.health.v1.Health/Check", "NOT_FOUND", "", "NotFound", unknown},
				{"grpc.health.v1.Health/Check", "INTERNAL", "INTERNAL", "Internal", broken},
				{"grpc.health.v1.Health/Watch", "CANCELLED", "", "Canceled", 1 + streams},
				{"_OTHER", "UNIMPLEMENTED", "UNIMPLEMENTED", "Unimplemented", unimplemented},
			} {
				got := duration(map[string]string{"rpc_system_name": "grpc", "rpc_method": c.method, "rpc_response_status_code": c.status, "error_type": c.errorType})
				if got != float64(c.n) || answered[c.own] != c.n {
					t.Errorf("%s %s: %v, the server counts %d, want %d", c.method, c.status, got, answered[c.own], c.n)
				}
			}
		})
	}
}
