// Package doctor answers the question: is it the runtime, one route, or an
// external service?
//
//	report := doctor.Diagnose(doctor.Evidence{Now: window, Usual: before})
//	fmt.Print(report)
//
// Package observe gathers the evidence of a running service and shows the
// report at /debug/doctor; nobody else needs to call this package.
//
// # Method
//
// Everything is counted in one unit, goroutine-seconds per second: the mean
// number of goroutines that were at something. By Little's law that is what
// requests are for their users, too, so the waits can be compared with the harm.
// The harm is what the requests of a route took beyond their usual time. It is
// given to causes in the order in which one makes the other: a processor that is
// not there delays everything, so the machine comes first, then the collector,
// locks, pools, dependencies, and last what the route itself does. A cause gets
// no more than what is left, and waits are corrected for the delay of waking up:
// so a database is not blamed for a run queue. What is slow and explained is a
// symptom of its cause.
//
// A figure that is high while requests are no slower is no finding. Without a
// usual time to compare with only what is waste by nature, or slow by any
// measure, is told, and with less confidence.
//
// # Failure
//
// Diagnose never fails: too little traffic, an interval that says nothing and
// signals that disagree are a verdict, Unknown, with the reason. It is a pure
// function; the same evidence gives the same report.
package doctor

//go:generate go run ./internal/causes CAUSES.md
