// Package span holds the spans of this module: one small type that is a context, an API span and an SDK span at
// once, and the provider that begins, ends and hands it on.
//
//	var s span.Span                                   // by value, inside the caller's own allocation
//	p.Begin(&s, r.Context(), span.Options{Name: "GET", Kind: trace.SpanKindServer, Header: r.Header})
//	next.ServeHTTP(w, r.WithContext(&s))
//	s.Finish(span.Outcome{End: time.Now(), Failed: status >= 500, Route: route})
//
// # What is recorded
//
// Every span is recorded in memory, sampled or refused: IsRecording answers true until the span ends, also when the
// sampler said drop. A refused span has the sampled flag clear, so whoever is called downstream is told the truth; it is
// what the specification calls RECORD_ONLY. Instrumentation libraries therefore set the attributes that say which
// dependency they call, whatever the sampler said, and a refused trace can still be exported when its local root ends
// slow, failed or marked (late sampling). Processors see a refused span only then.
//
// # Memory
//
// A Span belongs to its trace until the local root has ended: the caller must not reuse its memory for another span. What
// is exported is a copy, so a queued span never holds a request, a connection or a context alive. The spans kept for one
// trace and the traces kept at once are bounded by Limits.
//
// # Concurrency
//
// Methods of Span and Provider may be called concurrently, except that Begin must have returned before the span is
// shared.
package span
