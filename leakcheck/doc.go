// Package leakcheck answers: what is left behind or only grows, who started
// it, and where is it stuck?
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
// In production, [Watch] tells which groups of goroutines, heap sites and
// descriptors only grow:
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
// No suspicion is a proof without the runtime's: a pool that grows by one each
// window for longer than 24 windows, or 16 under a load that is known and steady,
// looks like a leak until it stops.
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
// thousand (BenchmarkVerify, two cores).
//
// A Watch takes 1 ms of a processor each minute with 1,000 goroutines, 13 ms
// with 10,000 and a heap of 1 GiB (0.02 %), and 100 ms with 100,000, for which
// its windows become longer (0.12 %); on a machine that is short of processors
// some times as much (BenchmarkWatch, two cores). It stops the program for an
// instant, 0.1 ms, beside the budget of [Config.MaxPause].
package leakcheck
