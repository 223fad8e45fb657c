// Command s3 is a service whose captures leave the machine: each bundle of
// evidence is put into a bucket of an S3-compatible store, so that it outlives
// the pod that it was made in. Upload is to be copied.
//
//	AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... go run ./examples/s3 -endpoint localhost:9000 -bucket evidence
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"syscall"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/loadline-go/loadline/observe"
	"github.com/loadline-go/loadline/observe/capture"
)

// Upload returns a function for Config.Captures.Upload that puts each file of a
// bundle into bucket as SERVICE/BUNDLE/FILE. The manifest goes last: a bundle
// that has one there is whole. What fails is counted and logged by observe; the
// bundle stays on the disk.
func Upload(client *minio.Client, bucket string) func(context.Context, capture.Bundle) error {
	return func(ctx context.Context, b capture.Bundle) error {
		var names []string
		for _, f := range b.Files {
			if f.Missing == "" {
				names = append(names, f.Name)
			}
		}
		for _, name := range append(names, "manifest.json") {
			object := path.Join(b.Service, b.Name, name)
			if _, err := client.FPutObject(ctx, bucket, object, filepath.Join(b.Dir, name), minio.PutObjectOptions{}); err != nil {
				return fmt.Errorf("%s: %w", object, err)
			}
		}
		return nil
	}
}

func main() {
	endpoint := flag.String("endpoint", "localhost:9000", "host and port of the store")
	secure := flag.Bool("tls", false, "speak TLS to it")
	bucket := flag.String("bucket", "evidence", "the bucket, which exists")
	addr := flag.String("addr", "localhost:8080", "where the service listens")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	client, err := minio.New(*endpoint, &minio.Options{Creds: credentials.NewEnvAWS(), Secure: *secure})
	if err == nil {
		var l net.Listener
		if l, err = net.Listen("tcp", *addr); err == nil {
			err = run(ctx, l, observe.Config{Service: "shop", Captures: capture.Config{Upload: Upload(client, *bucket)}})
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run serves on l; the second request for /slow makes a capture.
func run(ctx context.Context, l net.Listener, config observe.Config) error {
	config.Tracing.Late.Slow = 100 * time.Millisecond
	tel, err := observe.Start(ctx, config)
	if err != nil {
		l.Close()
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) { time.Sleep(150 * time.Millisecond) })
	return tel.ServeListener(ctx, l, &http.Server{Handler: tel.Handler(mux)})
}
