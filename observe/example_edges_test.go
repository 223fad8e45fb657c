package observe_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/loadline-go/loadline/observe"
)

// begin is what main does, without an admin address.
func begin() *observe.Telemetry {
	tel, err := observe.Start(context.Background(), observe.Config{Service: "shop", AdminAddr: observe.Off})
	if err != nil {
		log.Fatal(err)
	}
	return tel
}

// count prints how often each label set of a histogram was observed, in order.
func count(tel *observe.Telemetry, metric string) {
	families, err := tel.Registry().Gather()
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != metric {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				switch l.GetName() {
				case "db_namespace", "db_operation_name", "dependency", "operation", "http_request_method", "http_response_status_code", "error_type", "url_template":
					if l.GetValue() != "" {
						fmt.Print(l.GetValue(), " ")
					}
				}
			}
			fmt.Println(m.GetHistogram().GetSampleCount())
		}
	}
}

func ExampleTelemetry_Transport() {
	tel := begin()
	defer tel.Shutdown(context.Background())

	inventory := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("the trace goes on:", r.Header.Get("Traceparent") != "")
		fmt.Fprint(w, "12 in stock")
	}))
	defer inventory.Close()

	client := &http.Client{Transport: tel.Transport(nil)}
	resp, err := client.Get(inventory.URL + "/items/42")
	if err != nil {
		log.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	fmt.Printf("%s\n", body)
	count(tel, "http_client_request_duration_seconds")
	client.CloseIdleConnections()
	// Output:
	// the trace goes on: true
	// 12 in stock
	// GET 200 1
}

func ExampleTelemetry_OpenDB() {
	tel := begin()
	defer tel.Shutdown(context.Background())

	db := tel.OpenDB(shelf{}, "orders") // shelf stands for the connector of a real driver
	defer db.Close()

	var id int
	if err := db.QueryRow("SELECT id FROM items WHERE name = 'anchor'").Scan(&id); err != nil {
		log.Fatal(err)
	}
	fmt.Println("id", id)
	count(tel, "db_client_operation_duration_seconds")
	// Output:
	// id 42
	// orders CONNECT 1
	// orders SELECT 1
}

func ExampleConnector() {
	tel := begin()
	defer tel.Shutdown(context.Background())

	sql.Register("shelf", shelf{}) // as the package of a driver does when it is imported
	plain, err := sql.Open("shelf", "dsn")
	if err != nil {
		log.Fatal(err)
	}
	plain.Close() // it was opened for its Driver

	db := tel.OpenDB(observe.Connector(plain.Driver(), "dsn"), "orders")
	defer db.Close()
	fmt.Println(db.Ping())
	// Output: <nil>
}

func ExampleTelemetry_Call() {
	tel := begin()
	defer tel.Shutdown(context.Background())

	ctx := context.Background()
	err := tel.Call(ctx, "mail", "send", func(ctx context.Context) error { return errors.New("mailbox full") })
	fmt.Println(err)
	err = tel.Call(ctx, "mail", "send", func(ctx context.Context) error { return nil })
	fmt.Println(err)
	count(tel, "observe_dependency_duration_seconds")
	// Output:
	// mailbox full
	// <nil>
	// mail send 1
	// mail _OTHER send 1
}

// shelf is a database with one item.
type shelf struct{}

func (shelf) Connect(context.Context) (driver.Conn, error) { return shelf{}, nil }
func (shelf) Driver() driver.Driver                        { return shelf{} }
func (shelf) Open(string) (driver.Conn, error)             { return shelf{}, nil }
func (shelf) Prepare(string) (driver.Stmt, error)          { return nil, errors.ErrUnsupported }
func (shelf) Begin() (driver.Tx, error)                    { return nil, errors.ErrUnsupported }
func (shelf) Close() error                                 { return nil }

func (shelf) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	return &item{}, nil
}

type item struct{ read bool }

func (*item) Columns() []string { return []string{"id"} }
func (*item) Close() error      { return nil }
func (i *item) Next(to []driver.Value) error {
	if i.read {
		return io.EOF
	}
	i.read, to[0] = true, int64(42)
	return nil
}

// A long poll is slow because nothing happened: its time is the client's.
func ExampleSetStream() {
	tel, err := observe.Start(context.Background(), observe.Config{Service: "mail", AdminAddr: observe.Off})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tel.Shutdown(context.Background())
	mux := http.NewServeMux()
	mux.HandleFunc("GET /news", func(w http.ResponseWriter, r *http.Request) {
		observe.SetStream(r.Context())
		select { // until there is news, or the client asks again
		case <-r.Context().Done():
		case <-time.After(time.Millisecond):
		}
	})
	tel.Handler(mux).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/news", nil))
	printMetrics(tel, "observe_http_server_stream_duration_seconds_count")
	// Output: observe_http_server_stream_duration_seconds_count{http_request_method="GET",http_route="/news",url_scheme="http"} 1
}
