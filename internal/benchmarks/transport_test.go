package benchmarks

import (
	"net/http"
	"testing"
)

// BenchmarkTransport is one request out through a transport that answers at once.
func BenchmarkTransport(b *testing.B) {
	for _, p := range peers {
		b.Run(p.name, func(b *testing.B) {
			t := p.transport(b, discard{})
			r, err := http.NewRequest("GET", "http://inventory:8080/items/42", nil)
			if err != nil {
				b.Fatal(err)
			}
			measure(b, func() {
				resp, err := t.RoundTrip(r)
				if err != nil {
					b.Fatal(err)
				}
				resp.Body.Close()
			})
		})
	}
}
