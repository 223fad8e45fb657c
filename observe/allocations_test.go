package observe

import (
	"math"
	"testing"
)

// allocations is how many f makes: the least of many measurements, for what else
// runs in the process allocates, too, now and then.
func allocations(runs int, f func()) float64 {
	least := math.Inf(1)
	for i := 0; i < 20 && least > 0; i++ {
		least = min(least, testing.AllocsPerRun(runs, f))
	}
	return least
}
