package observe_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/loadline-go/loadline/observe"
	"github.com/loadline-go/loadline/tracing"
)

func ExampleTelemetry_Run() {
	tel := begin()
	defer tel.Shutdown(context.Background())
	invoice := observe.Job{Name: "invoice", System: "rabbitmq", Queue: "orders"}

	// The producer: what Inject writes travels with the message.
	headers := map[string]string{}
	err := tel.Publish(context.Background(), invoice, func(ctx context.Context) error {
		tracing.Inject(ctx, headers)
		return nil // channel.PublishWithContext(ctx, ...)
	})
	fmt.Println("published:", err)

	// The consumer, in another process: a trace of its own, linked to that one.
	invoice.Enqueued = time.Now().Add(-time.Second) // delivery.Timestamp
	err = tel.Run(tracing.Extract(context.Background(), headers), invoice, func(ctx context.Context) error {
		return errors.New("no such order")
	})
	fmt.Println("run:", err)
	count(tel, "messaging_process_duration_seconds")
	// Output:
	// published: <nil>
	// run: no such order
	// _OTHER 1
}

func ExampleTelemetry_Expect() {
	tel := begin()
	defer tel.Shutdown(context.Background())

	tel.Expect("nightly-report", 24*time.Hour) // overdue also when it never runs
	report := func() {                         // what a scheduler calls
		err := tel.Run(context.Background(), observe.Job{Name: "nightly-report"}, func(context.Context) error { return nil })
		fmt.Println("report:", err)
	}
	report()
	// Output:
	// report: <nil>
}

func ExampleTelemetry_Queue() {
	tel := begin()
	defer tel.Shutdown(context.Background())

	orders := make(chan string, 100)
	stop := tel.Queue("orders", func(context.Context) (observe.Depth, error) {
		// Or ask a server: rdb.XLen, channel.QueueDeclarePassive, a count of rows.
		return observe.Depth{Length: int64(len(orders)), Capacity: int64(cap(orders))}, nil
	})
	defer stop()
	orders <- "tea"
	fmt.Println(len(orders), "waits")
	// Output:
	// 1 waits
}

func ExampleNewChannel() {
	tel := begin()
	defer tel.Shutdown(context.Background())
	ctx := context.Background()

	images := observe.NewChannel[string](tel, "resize", 10)
	go func() {
		defer images.Close()
		for _, name := range []string{"a.png", "b.png"} {
			if images.Send(ctx, name) != nil {
				return
			}
		}
	}()
	for name := range images.All(ctx) {
		fmt.Println(name)
	}
	_, err := images.Receive(ctx)
	fmt.Println(err == io.EOF)
	// Output:
	// a.png
	// b.png
	// true
}

func ExampleLoad() {
	tel := begin()
	defer tel.Shutdown(context.Background())

	var hits, misses atomic.Int64 // as a cache counts them
	prices := tel.Cache("prices", func(context.Context) (observe.CacheStats, error) {
		return observe.CacheStats{Hits: hits.Load(), Misses: misses.Load()}, nil
	})
	defer prices.Close()

	misses.Add(1)
	price, err := observe.Load(context.Background(), prices, "tea", func(context.Context) (int, error) { return 350, nil })
	fmt.Println(price, err)
	count(tel, "observe_cache_load_duration_seconds")
	// Output:
	// 350 <nil>
	// 1
}

func ExampleTelemetry_Stream() {
	tel := begin()
	defer tel.Shutdown(context.Background())

	upload := tel.Stream("upload")
	_, err := io.Copy(upload.Writer(os.Stdout), upload.Reader(strings.NewReader("one line\n")))
	fmt.Println(err)
	// Output:
	// one line
	// <nil>
}
