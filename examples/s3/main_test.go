package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/s3api"
	"github.com/versity/versitygw/s3api/middlewares"

	"github.com/loadline-go/loadline/observe"
	"github.com/loadline-go/loadline/observe/capture"
)

const region = "us-east-1"

// store runs a real S3 gateway in this process, on a socket, and returns a
// client for each secret. It checks signatures as the store of a cloud does.
func store(t *testing.T) (client func(secret string) *minio.Client, files string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "s3-") // short: a socket's path has a hundred letters
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	files, socket := filepath.Join(dir, "files"), filepath.Join(dir, "socket")
	for _, d := range []string{files, filepath.Join(dir, "meta")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(files) // which the gateway does, too
	side, err := meta.NewSideCar(filepath.Join(dir, "meta"))
	if err != nil {
		t.Fatal(err)
	}
	backend, err := posix.New(files, side, posix.PosixOpts{SideCarDir: filepath.Join(dir, "meta")})
	if err != nil {
		t.Fatal(err)
	}
	root := auth.Account{Access: "key", Secret: "secret", Role: auth.RoleAdmin}
	listening := make(chan bool)
	server, err := s3api.New(backend, middlewares.RootUserConfig{Access: root.Access, Secret: root.Secret}, region, auth.NewIAMServiceSingle(root), nil, nil, nil, nil,
		s3api.WithQuiet(), s3api.WithConcurrencyLimiter(100, 100), s3api.WithOnListen(func() { close(listening) }))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.ServeMultiPort([]string{socket}) }()
	select {
	case <-listening:
	case err := <-ended:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.ShutDown(); err != nil {
			t.Error(err)
		}
		<-ended
		backend.Shutdown()
	})
	return func(secret string) *minio.Client {
		transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}}
		t.Cleanup(transport.CloseIdleConnections)
		c, err := minio.New("localhost:9000", &minio.Options{Creds: credentials.NewStaticV4("key", secret, ""), Region: region, Transport: transport})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}, files
}

func TestBundleReachesTheStore(t *testing.T) {
	client, _ := store(t)
	c := client("secret")
	if err := c.MakeBucket(t.Context(), "evidence", minio.MakeBucketOptions{Region: region}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ secret, bucket, wrong string }{
		{"secret", "evidence", ""},
		{"guessed", "evidence", "signature"},
		{"secret", "elsewhere", "bucket does not exist"},
	} {
		var told []error
		config := capture.Config{Dir: t.TempDir(), CPUProfile: -1, Upload: Upload(client(test.secret), test.bucket), Report: func(_ capture.Bundle, err error) { told = append(told, err) }}
		tel, err := observe.Start(t.Context(), observe.Config{Service: "shop", AdminAddr: observe.Off, ProfileEvery: -1, Captures: config, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		dir, err := tel.Capture(t.Context(), "now")
		if err != nil {
			t.Error(err) // the bundle is whole, wherever else it should go
		}
		if err := tel.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if test.wrong != "" {
			if len(told) != 2 || told[0] == nil || !strings.Contains(told[0].Error(), test.wrong) {
				t.Errorf("%+v: told %v", test, told)
			}
			continue
		}
		if len(told) != 1 || told[0] != nil {
			t.Errorf("told %v", told)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			want, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			object, err := c.GetObject(t.Context(), "evidence", "shop/"+filepath.Base(dir)+"/"+e.Name(), minio.GetObjectOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(object); err != nil || string(got) != string(want) || len(got) == 0 {
				t.Errorf("%s: %d bytes, want %d: %v", e.Name(), len(got), len(want), err)
			}
			object.Close()
		}
		n := 0
		for o := range c.ListObjects(t.Context(), "evidence", minio.ListObjectsOptions{Recursive: true}) {
			if o.Err != nil {
				t.Error(o.Err)
			}
			n++
		}
		if n != len(entries) || n < 5 {
			t.Errorf("%d objects of %d files", n, len(entries))
		}
	}
}

// The program itself: a slow request arms the recorder, the next one is in the store.
func TestSlowRequestReachesTheStore(t *testing.T) {
	client, _ := store(t)
	c := client("secret")
	if err := c.MakeBucket(t.Context(), "evidence", minio.MakeBucketOptions{Region: region}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	uploaded := make(chan capture.Bundle, 1)
	upload := Upload(c, "evidence")
	go func() {
		ended <- run(ctx, l, observe.Config{
			Service: "shop", AdminAddr: observe.Off, ProfileEvery: -1, Interval: time.Hour, Logger: slog.New(slog.DiscardHandler),
			Captures: capture.Config{Dir: t.TempDir(), CPUProfile: -1, Upload: func(ctx context.Context, b capture.Bundle) error {
				err := upload(ctx, b)
				uploaded <- b
				return err
			}},
		})
	}()
	deadline := time.After(time.Minute)
	var b capture.Bundle
	for done := false; !done; {
		if resp, err := http.Get("http://" + l.Addr().String() + "/slow"); err == nil {
			resp.Body.Close()
		}
		select {
		case b = <-uploaded:
			done = true
		case err := <-ended:
			t.Fatal(err)
		case <-deadline:
			t.Fatal("no capture")
		case <-time.After(10 * time.Millisecond):
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
	object, err := c.GetObject(t.Context(), "evidence", "shop/"+b.Name+"/doctor.txt", minio.GetObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer object.Close()
	if text, err := io.ReadAll(object); err != nil || !strings.Contains(string(text), "The request of this capture: GET /slow, ") || !strings.Contains(string(text), " asleep at\n") {
		t.Errorf("%v\n%s", err, text)
	}
}
