package span

import (
	"context"
	"errors"
	"maps"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// Stats are the provider's accounts.
type Stats struct {
	Live       int64 // local roots that are known and have not come to rest with all their children
	KeptLate   int64 // traces exported though the sampler had refused them
	OverBudget int64 // traces that would have been, beyond the budget
	Evicted    int64 // traces that gave up their waiting spans because too many were live
	Exporters  []ExporterStats
}

// ExporterStats are the accounts of one exporter: Produced = Exported + Queued + the sum of Dropped, at any time.
type ExporterStats struct {
	Name     string
	Produced int64            // spans that were to be exported
	Queued   int64            // waiting, or on their way
	Capacity int64            // the most that may be queued
	Exported int64            // taken by the receiver
	Dropped  map[string]int64 // by reason, see Reasons
}

// Stats returns the accounts now. A nil Provider has none.
func (p *Provider) Stats() Stats {
	if p == nil {
		return Stats{}
	}
	s := Stats{KeptLate: p.late.kept.Load(), OverBudget: p.late.overBudget.Load()}
	s.Live, s.Evicted = p.families.live()
	for _, l := range p.pipelines {
		l.mu.Lock()
		s.Exporters = append(s.Exporters, ExporterStats{
			Name: l.name, Produced: l.produced, Queued: l.waiting, Capacity: int64(l.queue), Exported: l.exported,
			Dropped: maps.Clone(l.dropped),
		})
		l.mu.Unlock()
	}
	return s
}

// Flush sends every ended span that waits, bounded by ctx. The error says how many spans were lost on the way.
func (p *Provider) Flush(ctx context.Context) error {
	if p == nil {
		return nil
	}
	var errs []error
	for _, sp := range *p.processors.Load() {
		if err := sp.ForceFlush(ctx); err != nil {
			errs = append(errs, err)
		}
	}
	return wrap("tracing: flush: ", errors.Join(errs...))
}

// ForceFlush is Flush under the SDK's name.
func (p *Provider) ForceFlush(ctx context.Context) error { return p.Flush(ctx) }

// Shutdown stops taking spans, sends what waits, bounded by ctx, and frees everything. The error says how many spans
// could not be sent. A second call returns the result of the first.
func (p *Provider) Shutdown(ctx context.Context) error {
	if p == nil {
		return nil
	}
	p.shutOnce.Do(func() {
		p.shut.Store(true)
		processors := *p.processors.Load()
		errs := make([]error, len(processors))
		done := make(chan struct{}, len(processors))
		for i, sp := range processors { // at once, so that one that hangs leaves the others their time
			go func() {
				errs[i] = sp.Shutdown(ctx)
				done <- struct{}{}
			}()
		}
		for range processors {
			<-done
		}
		p.shutErr = wrap("tracing: shutdown: ", errors.Join(errs...))
	})
	return p.shutErr
}

type wrapped struct {
	prefix string
	error
}

func (w wrapped) Error() string { return w.prefix + w.error.Error() }
func (w wrapped) Unwrap() error { return w.error }

func wrap(prefix string, err error) error {
	if err == nil {
		return nil
	}
	return wrapped{prefix, err}
}

var _ sdktrace.SpanProcessor = (*pipeline)(nil)
