package observe_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/loadline-go/loadline/observe"
)

// A service behind a local proxy listens on a Unix socket, and beside it on a
// port for other services: both begin and end together.
func ExampleTelemetry_ServeListener() {
	tel, err := observe.Start(context.Background(), observe.Config{Service: "shop", AdminAddr: observe.Off})
	if err != nil {
		fmt.Println(err)
		return
	}
	dir, err := os.MkdirTemp("", "shop")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	socket, err := net.Listen("unix", filepath.Join(dir, "http"))
	if err != nil {
		fmt.Println(err)
		return
	}

	public, internal := http.NewServeMux(), http.NewServeMux()
	public.HandleFunc("GET /products", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "tea, coffee") })
	ctx, end := context.WithCancel(context.Background())
	defer end()
	ended := make(chan error)
	go func() {
		ended <- tel.ServeListener(ctx, socket,
			&http.Server{Handler: tel.Handler(public)},
			&http.Server{Addr: "127.0.0.1:0", Handler: tel.Handler(internal)})
	}()

	client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", socket.Addr().String())
	}}}
	resp, err := client.Get("http://shop/products")
	if err != nil {
		fmt.Println(err)
		return
	}
	products, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	fmt.Printf("%s\n", products)
	client.CloseIdleConnections()
	end()
	fmt.Println(<-ended)
	// Output:
	// tea, coffee
	// <nil>
}
