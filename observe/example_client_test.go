package observe_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/loadline-go/loadline/observe"
)

// The label url_template tells the calls of one host apart; the path, with its
// numbers, could not.
func ExampleWithTemplate() {
	tel := begin()
	defer tel.Shutdown(context.Background())

	users := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer users.Close()

	client := &http.Client{Transport: tel.Transport(nil)}
	defer client.CloseIdleConnections()
	for id := range 3 {
		ctx := observe.WithTemplate(context.Background(), "/users/{id}")
		r, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprint(users.URL, "/users/", id), nil)
		if err != nil {
			log.Fatal(err)
		}
		resp, err := client.Do(r)
		if err != nil {
			log.Fatal(err)
		}
		resp.Body.Close()
	}
	count(tel, "http_client_request_duration_seconds")
	// Output:
	// GET 200 /users/{id} 3
}
