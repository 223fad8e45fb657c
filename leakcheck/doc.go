// Package leakcheck answers: which goroutines are left behind, who started
// them, and where are they stuck?
//
// A test of a function that starts goroutines:
//
//	func TestQueue(t *testing.T) {
//		leakcheck.Verify(t) // first, before t.Parallel
//		t.Parallel()
//		q := NewQueue()
//		defer q.Close()
//	}
//
// and all tests of a package, those without Verify included:
//
//	func TestMain(m *testing.M) { leakcheck.VerifyMain(m) }
//
// In production, [Watch] tells which groups of goroutines only grow:
//
//	go leakcheck.Watch(ctx, leakcheck.Config{}, func(s leakcheck.Suspect) { slog.Warn("leak", "suspect", s) })
//
// # Failure
//
// A leak fails the test with one message for each place, which names the test,
// the line that blocks and the line that started the goroutine. A check that
// could not read the goroutines says "unknown" and fails: it never takes what
// it cannot see for nothing. What it cannot attribute to one of several tests
// running in parallel (see [Config.Verify]) it leaves to VerifyMain. A Watch
// that may not look says so in the [Look].
//
// No finding is a proof without the runtime's: a pool that grows by one each
// window for longer than 24 windows looks like a leak until it stops.
//
// # Concurrency
//
// All functions may be called concurrently. Tests may run in parallel, in
// subtests, and in synctest bubbles.
//
// # Cost
//
// A clean test pays for two tracebacks and one goroutine profile: under a
// millisecond with ten goroutines alive, a few with a hundred, some 20 with a
// thousand (BenchmarkVerify, two cores). A Watch stops the program for about
// 10 µs per goroutine and window, and keeps to a budget.
package leakcheck
