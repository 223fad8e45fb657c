package runtimemetrics

import (
	"bytes"
	"compress/gzip"
	"io"
	"math"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

type tree struct{ left, right *tree }

func grow(depth int) *tree {
	if depth == 0 {
		return &tree{}
	}
	return &tree{grow(depth - 1), grow(depth - 1)}
}

func TestGCShareAgreesWithTheCPUProfile(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a second of all processors")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(50))
	live := grow(19) // 16 MiB of pointers: each cycle has something to do
	defer runtime.KeepAlive(live)
	var ours, gc, total, tries float64
	var cpu, had time.Duration
	// A profile has 100 samples a second of CPU: tries count together until they
	// are enough.
	for range 8 {
		var raw bytes.Buffer
		if err := pprof.StartCPUProfile(&raw); err != nil {
			t.Skip(err) // the tests are being profiled
		}
		d := during(runtime.GOMAXPROCS(0), time.Second, func(stop *atomic.Bool) {
			for !stop.Load() {
				grow(10)
			}
		})
		pprof.StopCPUProfile()
		sampled, all := gcSamplesOf(t, raw.Bytes())
		ours, gc, total, tries = ours+d.GCShare, gc+sampled, total+all, tries+1
		cpu += time.Duration(all) * 10 * time.Millisecond
		had += time.Duration(runtime.GOMAXPROCS(0)) * d.Interval
		if share := ours / tries; share > .1 && math.Abs(share-gc/total) < .05 {
			t.Logf("GCShare %.3f, of the CPU profile %.3f", share, gc/total)
			return
		}
	}
	if cpu < had/2 {
		t.Skipf("the machine is too busy: it gave %v of CPU in %v", cpu, had)
	}
	t.Errorf("GCShare %.3f, of the CPU profile %.3f", ours/tries, gc/total)
}

// gcSamplesOf returns how many samples of a CPU profile are the collector's (its
// workers, the help of allocating goroutines, and its pauses) and how many
// there are.
func gcSamplesOf(t *testing.T, compressed []byte) (gc, total float64) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	// See github.com/google/pprof/proto/profile.proto.
	type sample struct {
		locations []uint64
		count     uint64
	}
	var samples []sample
	var names []string
	functionName := map[uint64]uint64{}
	locationFunctions := map[uint64][]uint64{}
	fields(raw, func(n protowire.Number, v uint64, b []byte) {
		switch n {
		case 2:
			var s sample
			var values []uint64
			fields(b, func(n protowire.Number, v uint64, b []byte) {
				switch n {
				case 1:
					s.locations = append(s.locations, packed(v, b)...)
				case 2:
					values = append(values, packed(v, b)...)
				}
			})
			if len(values) > 0 {
				s.count = values[0]
			}
			samples = append(samples, s)
		case 4:
			var id uint64
			var functions []uint64
			fields(b, func(n protowire.Number, v uint64, b []byte) {
				switch n {
				case 1:
					id = v
				case 4:
					fields(b, func(n protowire.Number, v uint64, _ []byte) {
						if n == 1 {
							functions = append(functions, v)
						}
					})
				}
			})
			locationFunctions[id] = functions
		case 5:
			var id, name uint64
			fields(b, func(n protowire.Number, v uint64, _ []byte) {
				switch n {
				case 1:
					id = v
				case 2:
					name = v
				}
			})
			functionName[id] = name
		case 6:
			names = append(names, string(b))
		}
	})
	for _, s := range samples {
		total += float64(s.count)
		if slices.ContainsFunc(s.locations, func(l uint64) bool {
			return slices.ContainsFunc(locationFunctions[l], func(f uint64) bool {
				name := names[functionName[f]]
				return name == "runtime.gcBgMarkWorker" || strings.HasPrefix(name, "runtime.gcAssistAlloc") ||
					name == "runtime.gcStart" || name == "runtime.gcMarkDone"
			})
		}) {
			gc += float64(s.count)
		}
	}
	return gc, total
}

func fields(b []byte, f func(n protowire.Number, v uint64, b []byte)) {
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return
		}
		b = b[size:]
		switch kind {
		case protowire.VarintType:
			v, size := protowire.ConsumeVarint(b)
			if size < 0 {
				return
			}
			f(n, v, nil)
			b = b[size:]
		case protowire.BytesType:
			v, size := protowire.ConsumeBytes(b)
			if size < 0 {
				return
			}
			f(n, 0, v)
			b = b[size:]
		default:
			size := protowire.ConsumeFieldValue(n, kind, b)
			if size < 0 {
				return
			}
			b = b[size:]
		}
	}
}

func packed(v uint64, b []byte) []uint64 {
	if b == nil {
		return []uint64{v}
	}
	var out []uint64
	for len(b) > 0 {
		v, size := protowire.ConsumeVarint(b)
		if size < 0 {
			break
		}
		out = append(out, v)
		b = b[size:]
	}
	return out
}
