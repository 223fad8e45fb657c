// Package capture answers: what was going on in the process at that bad moment?
//
//	store, err := capture.Open(capture.Config{Dir: "/var/lib/shop/captures"})
//	if err != nil { return err }
//	go store.Run(ctx)
//	store.Arm("p99 rises", time.Minute)                        // the flight recorder, for a minute
//	store.Trigger(capture.Reason{Kind: "slow_request", TraceID: id}) // never blocks
//
// A capture is a bundle: a directory with the seconds before (trace.out, from
// the flight recorder), the moment (goroutine, heap, mutex and block profiles,
// and what the program adds as a [Part]) and the seconds after (cpu.pprof),
// described by manifest.json, a [Manifest].
//
// # Failure
//
// A bundle is written under another name and renamed when it is whole: what a
// crash left torn is removed at the next [Open]. What could not be written ends
// the bundle, not the program; what could not be taken (a CPU profile while
// another runs) is named in the manifest, and the rest is kept.
//
// # Concurrency
//
// All methods may be called concurrently. One bundle is made at a time, and
// several processes may share a directory.
//
// # Cost
//
// Nothing until something happens: a Store that is not armed and not triggered
// has one goroutine that waits. An armed flight recorder costs the program's
// requests about a tenth more CPU, which is why arming always ends.
package capture
