package capture_test

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/loadline-go/loadline/observe/capture"
)

func Example() {
	dir, _ := os.MkdirTemp("", "captures")
	defer os.RemoveAll(dir)
	store, err := capture.Open(capture.Config{Dir: dir, CPUProfile: -1, Parts: []capture.Part{
		{Name: "orders.txt", Write: func(_ context.Context, w io.Writer) error { _, err := fmt.Fprintln(w, "17 orders wait"); return err }},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { store.Run(ctx); close(done) }()
	b, err := store.Capture(ctx, capture.Reason{Kind: "manual", Detail: "orders wait"})
	for _, f := range b.Files {
		if f.Missing == "" {
			fmt.Println(f.Name)
		} else {
			fmt.Println(f.Name, "is missing:", f.Missing)
		}
	}
	fmt.Println(err)
	cancel()
	<-done
	// Output:
	// trace.out is missing: the flight recorder is not armed
	// goroutine.pprof
	// orders.txt
	// heap.pprof
	// mutex.pprof
	// block.pprof
	// <nil>
}
