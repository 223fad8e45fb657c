package doctor_test

import (
	"fmt"
	"time"

	"github.com/loadline-go/loadline/observe/doctor"
)

// A dependency that answers in 20 ms takes half a second now. Package observe
// gathers such evidence in a running service.
func ExampleDiagnose() {
	window := func(each float64, interval time.Duration) doctor.Window {
		n := 100 * interval.Seconds()
		return doctor.Window{
			Time: time.Date(2026, 11, 20, 14, 3, 0, 0, time.UTC), Interval: interval,
			Routes: []doctor.Route{{
				Route: "POST /orders", Requests: n, Seconds: n * (each + .001), Waited: n * each,
				Parts: []doctor.Part{{Name: "payments:443", Calls: n, Seconds: n * each}},
			}},
			Dependencies: []doctor.Dependency{{Name: "payments:443", Kind: "http", Calls: n, Seconds: n * each}},
		}
	}
	report := doctor.Diagnose(doctor.Evidence{
		Now: window(.5, 10*time.Second), Usual: window(.02, 5*time.Minute), Running: time.Hour,
	})
	fmt.Println(report.Headline())
	for _, f := range report.Findings {
		fmt.Printf("%s %s: %.0f %% of the users' time\n", f.Cause, f.Subject, 100*f.Share)
	}
	// Output:
	// sick: payments:443 takes 500 ms to answer (usually 20 ms)
	// dependency-slow payments:443: 96 % of the users' time
}
