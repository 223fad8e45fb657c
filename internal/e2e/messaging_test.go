package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/loadline-go/loadline/internal/e2e/server"
	"github.com/loadline-go/loadline/observe"
	"github.com/loadline-go/loadline/tracing"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// startTraced observes this process until the test ends, and returns the spans that ended.
func startTraced(t *testing.T) (*observe.Telemetry, func() tracetest.SpanStubs) {
	t.Helper()
	exporter := tracetest.NewInMemoryExporter()
	tel, err := observe.Start(t.Context(), observe.Config{
		Service: "e2e", AdminAddr: observe.Off, Interval: 200 * time.Millisecond,
		Tracing: tracing.Config{Sampler: sdktrace.AlwaysSample(), Exporter: exporter},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tel.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return tel, func() tracetest.SpanStubs {
		if err := tel.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
		return exporter.GetSpans()
	}
}

// isShown waits until each of the queue's metrics has the value wanted.
func isShown(t *testing.T, tel *observe.Telemetry, labels map[string]string, want map[string]float64) {
	t.Helper()
	server.Eventually(t, 30*time.Second, func() error {
		for name, v := range want {
			if got := value(t, tel, name, labels); got != v {
				return fmt.Errorf("%s%v: %v, want %v", name, labels, got, v)
			}
		}
		return nil
	})
}

// wantLinks fails unless every consumer's span has a link to another of the producer's.
func wantLinks(t *testing.T, spans tracetest.SpanStubs, producer, consumer string, n int) {
	t.Helper()
	sent := map[string]bool{}
	for _, s := range spans {
		if s.Name == producer {
			sent[s.SpanContext.TraceID().String()+s.SpanContext.SpanID().String()] = true
		}
	}
	linked := 0
	for _, s := range spans {
		if s.Name != consumer {
			continue
		}
		if len(s.Links) != 1 || !s.Links[0].SpanContext.IsRemote() || s.Parent.IsValid() {
			t.Errorf("%s: links %v, parent %v", s.Name, s.Links, s.Parent)
			continue
		}
		from := s.Links[0].SpanContext
		if key := from.TraceID().String() + from.SpanID().String(); !sent[key] {
			t.Errorf("%s: linked to %v, which sent nothing", s.Name, from)
		} else {
			linked++
		}
	}
	if len(sent) == 0 || linked != n {
		t.Errorf("%d producers, %d consumers linked to one of them, want %d", len(sent), linked, n)
	}
}

// A message's trace crosses RabbitMQ, and what is shown of its queue is what
// the broker says of it: length and consumers by AMQP, the rest by management.
func TestRabbitMQ(t *testing.T) {
	lanes(t, func(t *testing.T, _ server.Lane) {
		url, management := server.StartRabbitMQ(t)
		tel, spans := startTraced(t)
		open := func() (*amqp.Connection, *amqp.Channel) {
			conn, err := amqp.Dial(url)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			ch, err := conn.Channel()
			if err != nil {
				t.Fatal(err)
			}
			return conn, ch
		}
		_, sender := open()
		if _, err := sender.QueueDeclare("orders", true, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
		if err := sender.Confirm(false); err != nil {
			t.Fatal(err)
		}
		defer tel.Queue("orders", func(ctx context.Context) (observe.Depth, error) { return rabbitDepth(ctx, management, "orders") })()

		const n, prefetch = 20, 7
		order := observe.Job{Name: "invoice", System: "rabbitmq", Queue: "orders"}
		began := time.Now()
		for i := range n {
			err := tel.Publish(t.Context(), order, func(ctx context.Context) error {
				headers := amqp.Table{}
				tracing.Inject(ctx, headers)
				c, err := sender.PublishWithDeferredConfirmWithContext(ctx, "", "orders", false, false,
					amqp.Publishing{Headers: headers, Timestamp: time.Now(), Body: []byte(strconv.Itoa(i))})
				if err != nil {
					return err
				}
				if ok, err := c.WaitContext(ctx); err != nil || !ok {
					return fmt.Errorf("not confirmed: %v, %w", ok, err)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		asTheBrokerSays := func(want map[string]float64) {
			t.Helper()
			isShown(t, tel, map[string]string{"queue": "orders"}, want)
			server.Eventually(t, 10*time.Second, func() error {
				q, err := sender.QueueDeclarePassive("orders", true, false, false, false, nil)
				if err != nil {
					return err
				}
				if ready := want["observe_queue_length"]; float64(q.Messages) != ready || float64(q.Consumers) != want["observe_queue_consumers"] {
					return fmt.Errorf("the broker has %d messages and %d consumers, shown are %v", q.Messages, q.Consumers, want)
				}
				return nil
			})
		}
		asTheBrokerSays(map[string]float64{"observe_queue_length": n, "observe_queue_unacknowledged": 0, "observe_queue_consumers": 0, "observe_queue_added_total": n})

		consume := func(ch *amqp.Channel) <-chan amqp.Delivery {
			if err := ch.Qos(prefetch, 0, false); err != nil {
				t.Fatal(err)
			}
			deliveries, err := ch.Consume("orders", "", false, false, false, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			return deliveries
		}
		work := func(d amqp.Delivery, f func(context.Context) error) error {
			job := order
			job.Enqueued, job.Attempt = d.Timestamp, 1
			if d.Redelivered {
				job.Attempt = 2
			}
			return tel.Run(tracing.Extract(t.Context(), d.Headers), job, f)
		}
		// A consumer that dies with messages in its hands, one of which it had begun.
		dying, first := open()
		d := <-consume(first)
		gone := errors.New("gone")
		if err := work(d, func(context.Context) error {
			isShown(t, tel, map[string]string{"job_name": "invoice"}, map[string]float64{"observe_job_active": 1})
			asTheBrokerSays(map[string]float64{"observe_queue_length": n - prefetch, "observe_queue_unacknowledged": prefetch, "observe_queue_consumers": 1})
			return gone
		}); err != gone {
			t.Fatal(err)
		}
		if err := dying.Close(); err != nil {
			t.Fatal(err)
		}
		asTheBrokerSays(map[string]float64{"observe_queue_length": n, "observe_queue_unacknowledged": 0, "observe_queue_consumers": 0})

		_, second := open()
		redelivered := 0
		deliveries := consume(second)
		for range n {
			d := <-deliveries
			if d.Redelivered {
				redelivered++
			}
			if err := work(d, func(context.Context) error { return d.Ack(false) }); err != nil {
				t.Fatal(err)
			}
		}
		asTheBrokerSays(map[string]float64{"observe_queue_length": 0, "observe_queue_unacknowledged": 0, "observe_queue_consumers": 1, "observe_queue_added_total": n, "observe_queue_taken_total": n})
		if redelivered == 0 || redelivered > prefetch {
			t.Errorf("%d of %d were redelivered", redelivered, prefetch)
		}
		isShown(t, tel, map[string]string{"job_name": "invoice"}, map[string]float64{
			"observe_job_duration_seconds": n + 1, "observe_job_wait_seconds": n + 1, "observe_job_retries_total": float64(redelivered), "observe_job_active": 0,
		})
		isShown(t, tel, map[string]string{"messaging_system": "rabbitmq", "messaging_destination_name": "orders"}, map[string]float64{
			"messaging_client_sent_messages_total": n, "messaging_client_operation_duration_seconds": n,
			"messaging_process_duration_seconds": n + 1, "messaging_client_consumed_messages_total": n + 1,
		})
		// A timestamp of AMQP has whole seconds.
		if sum, most := waits(t, tel), float64(n+1)*(time.Since(began).Seconds()+1); sum < 0 || sum > most {
			t.Errorf("%d messages waited %v s, which is more than %v", n+1, sum, most)
		}
		wantLinks(t, spans(), "send orders", "process orders", n+1)

		// Where no broker is, there is no value, and that is counted.
		nowhere := "http://guest:guest@" + server.FreeAddr(t)
		defer tel.Queue("elsewhere", func(ctx context.Context) (observe.Depth, error) { return rabbitDepth(ctx, nowhere, "orders") })()
		server.Eventually(t, 10*time.Second, func() error {
			if got := value(t, tel, "observe_source_failures_total", map[string]string{"name": "elsewhere"}); got == 0 {
				return errors.New("a queue that cannot be read is not counted")
			}
			return nil
		})
	}, server.Quick)
}

func waits(t *testing.T, tel *observe.Telemetry) (sum float64) {
	for _, f := range gather(t, tel) {
		if f.GetName() == "observe_job_wait_seconds" {
			for _, m := range f.GetMetric() {
				sum += m.GetHistogram().GetSampleSum()
			}
		}
	}
	return sum
}

// rabbitDepth is what a service would write.
func rabbitDepth(ctx context.Context, management, queue string) (d observe.Depth, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, management+"/api/queues/%2F/"+queue, nil)
	if err != nil {
		return d, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return d, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return d, errors.New(resp.Status)
	}
	var q struct {
		Ready   int64 `json:"messages_ready"`
		Unacked int64 `json:"messages_unacknowledged"`
		Consume int64 `json:"consumers"`
		Stats   struct {
			Publish, Ack int64
		} `json:"message_stats"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&q); err != nil {
		return d, err
	}
	return observe.Depth{Length: q.Ready, Unacked: q.Unacked, Consumers: q.Consume, Added: q.Stats.Publish, Taken: q.Stats.Ack}, nil
}

func startRedis(t *testing.T) *redis.Client {
	client := redis.NewClient(&redis.Options{
		Addr: server.StartRedis(t), DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// The same across a Redis stream, whose own counts are the judge.
func TestRedisStreams(t *testing.T) {
	lanes(t, func(t *testing.T, _ server.Lane) {
		client := startRedis(t)
		ctx := t.Context()
		tel, spans := startTraced(t)
		if err := client.XGroupCreateMkStream(ctx, "mails", "workers", "0").Err(); err != nil {
			t.Fatal(err)
		}
		defer tel.Queue("mails", func(ctx context.Context) (d observe.Depth, err error) {
			stream, err := client.XInfoStream(ctx, "mails").Result()
			if err != nil {
				return d, err
			}
			groups, err := client.XInfoGroups(ctx, "mails").Result()
			if err != nil || len(groups) != 1 {
				return d, fmt.Errorf("%d groups: %w", len(groups), err)
			}
			g := groups[0]
			return observe.Depth{Length: g.Lag, Unacked: g.Pending, Consumers: g.Consumers, Added: stream.EntriesAdded, Taken: g.EntriesRead}, nil
		})()

		const n = 10
		mail := observe.Job{Name: "mail", System: "redis", Queue: "mails"}
		for i := range n {
			err := tel.Publish(ctx, mail, func(ctx context.Context) error {
				values := map[string]any{"i": i}
				tracing.Inject(ctx, values)
				return client.XAdd(ctx, &redis.XAddArgs{Stream: "mails", Values: values}).Err()
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		asRedisSays := func(want map[string]float64) {
			t.Helper()
			isShown(t, tel, map[string]string{"queue": "mails"}, want)
			pending, err := client.XPending(ctx, "mails", "workers").Result()
			length, err2 := client.XLen(ctx, "mails").Result()
			if err != nil || err2 != nil || float64(pending.Count) != want["observe_queue_unacknowledged"] || float64(length) != want["observe_queue_added_total"] {
				t.Errorf("XPENDING %+v, XLEN %d, shown are %v; %v, %v", pending, length, want, err, err2)
			}
		}
		asRedisSays(map[string]float64{"observe_queue_length": n, "observe_queue_unacknowledged": 0, "observe_queue_added_total": n})

		run := func(m redis.XMessage, attempt int) {
			t.Helper()
			ms, err := strconv.ParseInt(strings.Split(m.ID, "-")[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			job := mail
			job.Enqueued, job.Attempt = time.UnixMilli(ms), attempt
			if err := tel.Run(tracing.Extract(ctx, m.Values), job, func(ctx context.Context) error {
				return client.XAck(ctx, "mails", "workers", m.ID).Err()
			}); err != nil {
				t.Fatal(err)
			}
		}
		read, err := client.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "workers", Consumer: "a", Streams: []string{"mails", ">"}, Count: 6}).Result()
		if err != nil || len(read) != 1 || len(read[0].Messages) != 6 {
			t.Fatal(read, err)
		}
		for _, m := range read[0].Messages[:2] {
			run(m, 1)
		}
		asRedisSays(map[string]float64{"observe_queue_length": 4, "observe_queue_unacknowledged": 4, "observe_queue_consumers": 1, "observe_queue_added_total": n, "observe_queue_taken_total": 6})

		// Consumer a dies; b claims what it had, and Redis counts the deliveries.
		claimed, _, err := client.XAutoClaim(ctx, &redis.XAutoClaimArgs{Stream: "mails", Group: "workers", Consumer: "b", Start: "0"}).Result()
		if err != nil || len(claimed) != 4 {
			t.Fatal(claimed, err)
		}
		deliveries, err := client.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: "mails", Group: "workers", Start: "-", End: "+", Count: n}).Result()
		if err != nil || len(deliveries) != 4 {
			t.Fatal(deliveries, err)
		}
		for i, m := range claimed {
			if deliveries[i].ID != m.ID || deliveries[i].RetryCount != 2 {
				t.Errorf("delivery %+v of %s", deliveries[i], m.ID)
			}
			run(m, int(deliveries[i].RetryCount))
		}
		asRedisSays(map[string]float64{"observe_queue_length": 4, "observe_queue_unacknowledged": 0, "observe_queue_consumers": 2, "observe_queue_added_total": n, "observe_queue_taken_total": 6})
		isShown(t, tel, map[string]string{"job_name": "mail"}, map[string]float64{"observe_job_duration_seconds": 6, "observe_job_retries_total": 4, "observe_job_wait_seconds": 6})
		isShown(t, tel, map[string]string{"messaging_system": "redis"}, map[string]float64{"messaging_client_sent_messages_total": n, "messaging_client_consumed_messages_total": 6})
		wantLinks(t, spans(), "send mails", "process mails", 6)
	}, server.Quick)
}

// What is shown of a cache is what Redis counts of its look-ups.
func TestRedisCache(t *testing.T) {
	lanes(t, func(t *testing.T, _ server.Lane) {
		client := startRedis(t)
		ctx := t.Context()
		tel, _ := startTraced(t)
		prices := tel.Cache("prices", func(ctx context.Context) (observe.CacheStats, error) { return redisCache(ctx, client) })
		defer prices.Close()
		before, err := redisCache(ctx, client)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			key := "price" + strconv.Itoa(i%3)
			if err := client.Get(ctx, key).Err(); err == redis.Nil {
				if _, err := observe.Load(ctx, prices, key, func(ctx context.Context) (int, error) { return i, client.Set(ctx, key, i, 0).Err() }); err != nil {
					t.Fatal(err)
				}
			} else if err != nil {
				t.Fatal(err)
			}
		}
		isShown(t, tel, map[string]string{"cache": "prices", "result": "hit"}, map[string]float64{"observe_cache_requests_total": float64(before.Hits + 2)})
		isShown(t, tel, map[string]string{"cache": "prices", "result": "miss"}, map[string]float64{"observe_cache_requests_total": float64(before.Misses + 3)})
		size, err := client.DBSize(ctx).Result()
		if err != nil {
			t.Fatal(err)
		}
		isShown(t, tel, map[string]string{"cache": "prices"}, map[string]float64{"observe_cache_entries": float64(size), "observe_cache_load_duration_seconds": 3, "observe_cache_stampedes_total": 0})
	}, server.Quick)
}

// redisCache reads INFO, whose hits and misses are those of every command that looks a key up.
func redisCache(ctx context.Context, client *redis.Client) (s observe.CacheStats, err error) {
	info, err := client.Info(ctx, "stats", "keyspace").Result()
	if err != nil {
		return s, err
	}
	for line := range strings.Lines(info) {
		key, v, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch key {
		case "keyspace_hits":
			s.Hits, err = strconv.ParseInt(v, 10, 64)
		case "keyspace_misses":
			s.Misses, err = strconv.ParseInt(v, 10, 64)
		case "evicted_keys":
			s.Evictions, err = strconv.ParseInt(v, 10, 64)
		case "db0":
			_, err = fmt.Sscanf(v, "keys=%d,", &s.Entries)
		}
		if err != nil {
			return s, fmt.Errorf("%q: %w", line, err)
		}
	}
	return s, nil
}
