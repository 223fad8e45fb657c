package observe_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"time"

	"github.com/loadline-go/loadline/observe"
)

func ExampleSLO() {
	tel, err := observe.Start(context.Background(), observe.Config{
		AdminAddr: observe.Off,
		SLOs: []observe.SLO{
			{Name: "available", Objective: 0.999},
			{Name: "pay", Route: "POST /pay", Objective: 0.99, Latency: 300 * time.Millisecond},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer tel.Shutdown(context.Background())

	mux := http.NewServeMux()
	mux.HandleFunc("POST /pay", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(400 * time.Millisecond) // the bank takes its time
	})
	tel.Handler(mux).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/pay", nil))

	var lines []string
	families, err := tel.Registry().Gather()
	for _, f := range families {
		if f.GetName() == "observe_slo_requests_total" {
			for _, m := range f.GetMetric() { // its labels: objective, result
				lines = append(lines, fmt.Sprintln(m.Label[0].GetValue(), m.Label[1].GetValue(), m.GetCounter().GetValue()))
			}
		}
	}
	slices.Sort(lines)
	fmt.Print(lines, err)
	// Output:
	// [available bad 0
	//  available good 1
	//  pay bad 1
	//  pay good 0
	// ] <nil>
}
