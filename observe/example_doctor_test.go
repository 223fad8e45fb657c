package observe_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/loadline-go/loadline/observe"
	"github.com/loadline-go/loadline/observe/doctor"
)

// What is the matter in the next two seconds? A service asks by itself, every
// Config.DiagnoseEvery.
func ExampleTelemetry_Diagnose() {
	tel, err := observe.Start(context.Background(), observe.Config{AdminAddr: observe.Off, DiagnoseEvery: -1})
	if err != nil {
		log.Fatal(err)
	}
	defer tel.Shutdown(context.Background())

	handler := tel.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	time.AfterFunc(time.Second, func() {
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	})
	report, err := tel.Diagnose(context.Background(), 2*time.Second)
	if err != nil {
		log.Fatal(err)
	}
	if report.Verdict == doctor.Sick {
		log.Print(report) // the sentence, the findings with their proof, where the time goes
	}
	fmt.Println("looked at two seconds:", report.Interval >= 2*time.Second)
	// Output:
	// looked at two seconds: true
}
