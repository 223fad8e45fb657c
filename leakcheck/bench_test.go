package leakcheck

import (
	"fmt"
	"testing"
)

// BenchmarkVerify is what a clean test pays.
func BenchmarkVerify(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("goroutines=%d", n), func(b *testing.B) {
			c := make(chan bool)
			for range n {
				go block(c)
			}
			for b.Loop() {
				if got := run(Config{}, "TestClean", func(*fakeT) {}); len(got) > 0 {
					b.Fatal(got)
				}
			}
			close(c)
		})
	}
}
