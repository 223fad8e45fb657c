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
// # Failure
//
// A leak fails the test with one message for each place, which names the test,
// the line that blocks and the line that started the goroutine. A check that
// could not read the goroutines says "unknown" and fails: it never takes what
// it cannot see for nothing. What it cannot attribute to one of several tests
// running in parallel (see [Config.Verify]) it leaves to VerifyMain.
//
// # Concurrency
//
// All functions may be called concurrently. Tests may run in parallel, in
// subtests, and in synctest bubbles.
//
// # Cost
//
// A clean test pays for two tracebacks and one goroutine profile. They stop
// the world for about 10 ms per 1,000 goroutines, so for some 100 µs where
// there are ten.
package leakcheck
