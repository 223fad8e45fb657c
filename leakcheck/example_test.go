package leakcheck_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/loadline-go/loadline/leakcheck"
)

// An exampleT stands for a test's *testing.T and prints the first line of a failure.
type exampleT struct{ cleanup func() }

func (*exampleT) Helper()            {}
func (*exampleT) Name() string       { return "TestQueue" }
func (t *exampleT) Cleanup(f func()) { t.cleanup = f }
func (*exampleT) Errorf(format string, args ...any) {
	message, _, _ := strings.Cut(fmt.Sprintf(format, args...), "\n")
	fmt.Println(message)
}

type queue struct{ c chan int }

func newQueue() *queue {
	q := &queue{make(chan int)}
	go q.run()
	return q
}

func (q *queue) run() {
	for range q.c {
	}
}

func (q *queue) Close() { close(q.c) }

func ExampleVerify() {
	t := &exampleT{}

	// In a test:
	leakcheck.Verify(t)
	q := newQueue()
	q.Close()

	t.cleanup() // the test has ended
	fmt.Println("no leak")
	// Output:
	// no leak
}

func ExampleConfig() {
	t := &exampleT{}

	// In a test whose queue is meant to outlive it:
	leakcheck.Config{
		Ignore: []string{"github.com/loadline-go/loadline/leakcheck_test.(*queue).run"},
	}.Verify(t)
	q := newQueue()

	t.cleanup()
	q.Close()
	fmt.Println("no leak")
	// Output:
	// no leak
}

func ExampleConfig_Verify() {
	t := &exampleT{}

	// In a test whose goroutines end at once or never:
	leakcheck.Config{Patience: 100 * time.Millisecond}.Verify(t)
	q := newQueue() // and no q.Close

	t.cleanup()
	q.Close()
	// Output:
	// leakcheck: TestQueue left a goroutine behind [chan receive]
}

// For a whole package:
//
//	func TestMain(m *testing.M) { leakcheck.VerifyMain(m) }
func ExampleVerifyMain() {}

// For a whole package, with exceptions:
//
//	func TestMain(m *testing.M) {
//		leakcheck.Config{Ignore: []string{"example.com/shop/cache"}}.VerifyMain(m)
//	}
func ExampleConfig_VerifyMain() {}

func ExampleWatch() {
	// In a service, until it shuts down:
	ctx, shutdown := context.WithCancel(context.Background())
	watched := make(chan error)
	go func() {
		watched <- leakcheck.Watch(ctx, leakcheck.Config{
			Looked: func(l leakcheck.Look) {
				for _, err := range l.Unknown {
					slog.Warn("leaks are not watched for", "err", err)
				}
			},
		}, func(s leakcheck.Suspect) {
			slog.Warn("goroutines leak", "suspect", s)
		})
	}()

	shutdown()
	fmt.Println(<-watched)
	// Output:
	// <nil>
}

func ExampleSuspect() {
	fmt.Println(leakcheck.Suspect{
		Kind:    "goroutine",
		Site:    leakcheck.Frame{Function: "example.com/shop.(*Queue).next", File: "/src/shop/queue.go", Line: 41},
		Creator: leakcheck.Frame{Function: "example.com/shop.New", File: "/src/shop/shop.go", Line: 18},
		State:   "chan send", Count: 12, PerHour: 60,
		Since: time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC),
	})
	// Output:
	// 12 goroutines [chan send] in example.com/shop.(*Queue).next (/src/shop/queue.go:41), created by example.com/shop.New (/src/shop/shop.go:18), 60 more an hour since 2026-11-21T10:00:00Z
}

func ExampleSource() {
	// Rows that a library of one's own knows of, each by its number.
	rows := leakcheck.Source{Kind: "rows", Open: func() ([]leakcheck.Member, error) {
		return []leakcheck.Member{{ID: 1, Group: "of orders", Site: leakcheck.Frame{Function: "example.com/shop.list"}}}, nil
	}}
	config := leakcheck.Config{Sources: []leakcheck.Source{rows}}
	fmt.Println(config.Sources[0].Kind)
	// Output:
	// rows
}

// A pool of connections that counts those that are out.
type pool struct{ inUse int }

func ExampleConfig_Verify_sources() {
	t, p := &exampleT{}, &pool{}

	// In a test that must give back what it takes; of a *sql.DB this would be
	// db.Stats().InUse, which rows and transactions keep up until they are closed.
	leakcheck.Config{Patience: 100 * time.Millisecond, Sources: []leakcheck.Source{{
		Kind: "connection",
		Open: func() (open []leakcheck.Member, err error) {
			for i := range p.inUse {
				open = append(open, leakcheck.Member{ID: uint64(i), Group: "of the pool orders"})
			}
			return open, nil
		},
	}}}.Verify(t)
	p.inUse++ // taken and not given back

	t.cleanup()
	// Output:
	// leakcheck: TestQueue left open 1 of kind connection, of the pool orders
}
