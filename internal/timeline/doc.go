// Package timeline answers where the wall time of requests went: running,
// ready and waiting for a processor, or blocked, and on what. It reads a
// recording of runtime/trace, as a flight recorder leaves it in a capture.
//
//	report, err := timeline.Account(ctx, file, timeline.Question{TraceID: id})
//	report.Print(os.Stdout)
//
// A request is the first region of a task without a parent, which is what
// package observe makes of each request while a recording runs. Its wall time is
// that of the goroutine which the region is on, so the figures of a request add
// up to it exactly.
//
// # Failure
//
// A recording that is cut off, torn or no recording at all is an error, with
// what was read until there. Nothing panics.
//
// # Concurrency
//
// Account may be called concurrently; a Report is not written after it.
//
// # Cost
//
// About a microsecond of CPU for each event, and the memory of one generation
// of the recording, which is some seconds of it: a few times its bytes. With
// Question.Share it takes no more than that of a processor.
package timeline
