package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/loadline-go/loadline/internal/e2e/server"
	"github.com/loadline-go/loadline/observe"
	"github.com/loadline-go/loadline/tracing"
	"github.com/redis/go-redis/extra/redisotel/v9"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// Clients that other people's libraries instrument, of real servers, are
// dependencies with durations and errors, whether their traces are sampled or
// not, without an adapter for each.
func TestClientsOfOtherLibrariesAreDependencies(t *testing.T) {
	lanes(t, func(t *testing.T, _ server.Lane) {
		redisAddr, postgres := server.StartRedis(t), server.StartPostgres(t)
		for _, sampler := range []string{"always_on", "always_off", "none configured"} {
			t.Run(sampler, func(t *testing.T) {
				if sampler == "always_on" || sampler == "always_off" {
					t.Setenv("OTEL_TRACES_SAMPLER", sampler)
				}
				tel, err := observe.Start(t.Context(), observe.Config{Service: "e2e", AdminAddr: observe.Off})
				if err != nil {
					t.Fatal(err)
				}
				defer func() {
					if err := tel.Shutdown(context.Background()); err != nil {
						t.Error(err)
					}
				}()
				const calls = 25
				for name, f := range map[string]func(context.Context) error{
					"redis":    func(ctx context.Context) error { return callRedis(ctx, redisAddr, calls) },
					"postgres": func(ctx context.Context) error { return callPostgres(ctx, postgres, calls) },
					"grpc":     func(ctx context.Context) error { return callGRPC(ctx, calls) },
				} {
					if err := tracing.Do(t.Context(), name, f); err != nil {
						t.Fatalf("%s: %v", name, err)
					}
				}
				for _, want := range []struct {
					metric string
					labels map[string]string
					n      float64
				}{
					{"db_client_operation_duration_seconds", map[string]string{"db_system_name": "redis", "db_operation_name": "set", "error_type": ""}, calls},
					{"db_client_operation_duration_seconds", map[string]string{"db_system_name": "redis", "db_operation_name": "get", "error_type": ""}, calls},
					{"db_client_operation_duration_seconds", map[string]string{"db_system_name": "postgresql", "db_operation_name": "SELECT", "error_type": ""}, calls},
					{"rpc_client_call_duration_seconds", map[string]string{"rpc_system_name": "grpc", "rpc_method": "grpc.health.v1.Health/Check", "error_type": ""}, calls},
				} {
					if got := value(t, tel, want.metric, want.labels); got != want.n {
						t.Errorf("%s%v: %v, want %v", want.metric, want.labels, got, want.n)
					}
				}
				for system, metric := range map[string]string{"redis": "db_client_operation_duration_seconds", "postgresql": "db_client_operation_duration_seconds", "grpc": "rpc_client_call_duration_seconds"} {
					label := "db_system_name"
					if system == "grpc" {
						label = "rpc_system_name"
					}
					all := value(t, tel, metric, map[string]string{label: system})
					if failed := all - value(t, tel, metric, map[string]string{label: system, "error_type": ""}); failed != 1 {
						t.Errorf("%s: %v failed calls, want 1", system, failed)
					}
				}
			})
		}
	}, server.Quick)
}

// Each calls its server n times and once more for an error.

func callRedis(ctx context.Context, addr string, n int) error {
	client := redis.NewClient(&redis.Options{
		Addr: addr,
		// What a client says of itself this Redis does not know, which would count as errors.
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	defer func() { _ = client.Close() }()
	if err := redisotel.InstrumentTracing(client); err != nil {
		return err
	}
	for i := range n {
		key := fmt.Sprint("key", i)
		if err := client.Set(ctx, key, i, 0).Err(); err != nil {
			return err
		}
		if err := client.Get(ctx, key).Err(); err != nil {
			return err
		}
	}
	if err := client.LPush(ctx, "key0", "not a list").Err(); err == nil {
		return errors.New("LPUSH on a string succeeded")
	}
	return nil
}

func callPostgres(ctx context.Context, dsn string, n int) error {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return err
	}
	config.Tracer = otelpgx.NewTracer()
	config.DefaultQueryExecMode = pgx.QueryExecModeExec // preparing a statement would be an operation too
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	for i := range n {
		var got int
		if err := conn.QueryRow(ctx, "SELECT $1::int", i).Scan(&got); err != nil || got != i {
			return fmt.Errorf("got %d of %d: %w", got, i, err)
		}
	}
	if _, err := conn.Exec(ctx, "DELETE FROM nowhere"); err == nil {
		return errors.New("DELETE FROM nowhere succeeded")
	}
	return nil
}

func callGRPC(ctx context.Context, n int) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := grpc.NewServer(grpc.StatsHandler(otelgrpc.NewServerHandler()))
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	go func() { _ = s.Serve(l) }()
	defer s.Stop()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithStatsHandler(otelgrpc.NewClientHandler()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	client := grpc_health_v1.NewHealthClient(conn)
	for range n {
		if _, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil {
			return err
		}
	}
	if _, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "unknown"}); err == nil {
		return errors.New("the health of an unknown service is known")
	}
	return nil
}
