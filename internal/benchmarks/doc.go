// Package benchmarks measures what observing costs: nothing, the peers and
// package observe, side by side in one run.
//
//	GOWORK=off go run ./table                           the README's table, from interleaved rounds
//	GOWORK=off go test -run '^$' -bench Server          one edge
//	GOWORK=off go test -run '^$' -bench . -benchtime 1x whether all of it still runs
//
// Each benchmark has a sub-benchmark for each peer. A name ending in "-never"
// is measured with no trace sampled, one in "-always" with every trace sampled
// and handed, in batches, to an exporter that throws it away. Metrics are on in
// every case. Nothing is sent anywhere.
//
// Beside the time the wall clock gives, every benchmark reports cpu-ns/op: the
// CPU time of the whole process, so that work done beside the request (batches,
// garbage collection) is counted, and what else runs on the machine is not.
package benchmarks
