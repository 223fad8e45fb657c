package server

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// StartChromium starts a browser without a window, and returns the context of
// its first tab; chromedp.NewContext of it makes another tab. The browser ends
// with the test.
func StartChromium(t testing.TB) context.Context {
	t.Helper()
	path := Binary(t, "chromium", "chromium")
	// Not t.TempDir: the browser's helpers write there for a moment longer.
	profile, err := os.MkdirTemp("", "loadline-chromium-")
	if err != nil {
		t.Fatal(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:len(chromedp.DefaultExecAllocatorOptions):len(chromedp.DefaultExecAllocatorOptions)],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(filepath.Join(profile, "profile")), chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("no-proxy-server", true),
		chromedp.WindowSize(1280, 860),
	)
	allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	ctx, stop := context.WithTimeout(ctx, 10*time.Minute)
	t.Cleanup(func() {
		stop()
		cancel()
		end()
		os.RemoveAll(profile)
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return ctx
}
