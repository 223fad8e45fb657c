package leakcheck_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/loadline-go/loadline/leakcheck"
)

// t stands for a test's *testing.T and prints the first line of a failure.
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
