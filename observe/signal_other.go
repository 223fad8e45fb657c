//go:build !unix

package observe

import "context"

// captureSignals has no signal to wait for here.
func (c *captures) captureSignals(ctx context.Context) { close(c.listening); <-ctx.Done() }
