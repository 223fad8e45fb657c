package span

import (
	"context"
	"errors"
	"fmt"
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
	return wrap("tracing: flush: ", each(ctx, *p.processors.Load(), sdktrace.SpanProcessor.ForceFlush))
}

// each calls f on all processors at once, so that one that hangs leaves the others their time, and waits for them. Only
// our own keep to the time of ctx for certain: the others are not waited for beyond it.
func each(ctx context.Context, processors []sdktrace.SpanProcessor, f func(sdktrace.SpanProcessor, context.Context) error) error {
	results := make([]chan error, len(processors))
	for i, sp := range processors {
		results[i] = make(chan error, 1)
		go func() { results[i] <- f(sp, ctx) }()
	}
	var errs []error
	for i, sp := range processors {
		if _, ours := sp.(*pipeline); ours {
			errs = append(errs, <-results[i])
			continue
		}
		select {
		case err := <-results[i]:
			errs = append(errs, err)
		case <-ctx.Done():
			errs = append(errs, fmt.Errorf("processor %T: %w", sp, ctx.Err()))
		}
	}
	return errors.Join(errs...)
}

// ForceFlush is Flush under the SDK's name.
func (p *Provider) ForceFlush(ctx context.Context) error { return p.Flush(ctx) }

// Shutdown stops taking spans, sends what waits, bounded by ctx, and frees everything. The error says how many of those
// that waited could not be sent; what was lost before is in Stats. A second call returns the result of the first.
func (p *Provider) Shutdown(ctx context.Context) error {
	if p == nil {
		return nil
	}
	p.shutOnce.Do(func() {
		p.shut.Store(true)
		processors := *p.processors.Load()
		after := make([]sdktrace.SpanProcessor, 0, len(p.pipelines)) // users' see nothing more; ours go on counting
		for _, l := range p.pipelines {
			after = append(after, l)
		}
		p.processors.Store(&after)
		err := each(ctx, processors, sdktrace.SpanProcessor.Shutdown)
		for _, e := range p.idle {
			err = errors.Join(err, e.Shutdown(ctx))
		}
		p.shutErr = wrap("tracing: shutdown: ", err)
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
