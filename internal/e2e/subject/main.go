// Command subject is the smallest service that says everything: each GET
// /tasks/{id} makes three spans in one trace, its own, that of the call it
// makes to /leaf, and /leaf's, which is its own too unless -leaf names another
// process. With ?do=fail or ?do=slow, /leaf fails or takes 1.2 s. Traces are
// configured by the environment. When it has ended it prints what was dropped,
// as JSON.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/loadline-go/loadline/observe"
	"github.com/loadline-go/loadline/tracing"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "where the service listens")
	admin := flag.String("admin", "127.0.0.1:9464", "where the admin pages listen")
	service := flag.String("service", "subject", "its name")
	leaf := flag.String("leaf", "", "base URL of the process whose /leaf is called; its own when empty")
	factor := flag.Float64("late-factor", 0, "Config.Tracing.Late.Factor")
	slow := flag.Duration("late-slow", 0, "Config.Tracing.Late.Slow")
	captures := flag.String("captures", observe.Off, "Config.Captures.Dir")
	armed := flag.Float64("armed", 0, "Config.Captures.ArmedShare")
	cpuProfile := flag.Duration("cpu-profile", 0, "Config.Captures.CPUProfile")
	drain := flag.Duration("drain", 0, "Config.DrainDelay")
	shutdown := flag.Duration("shutdown", 0, "Config.ShutdownTimeout")
	queueHeader := flag.String("queue-header", "", "Config.QueueHeader")
	flag.Parse()
	if *leaf == "" {
		*leaf = "http://" + *addr
	}
	config := observe.Config{Service: *service, AdminAddr: *admin, DrainDelay: *drain, ShutdownTimeout: *shutdown, QueueHeader: *queueHeader}
	config.Tracing.Late.Factor = *factor
	config.Tracing.Late.Slow = *slow
	config.Captures.Dir, config.Captures.ArmedShare, config.Captures.CPUProfile = *captures, *armed, *cpuProfile
	config.Triggers = observe.Triggers{SchedDelay: -1, CPUShare: -1, Goroutines: -1} // the machine's load is not the matter
	if err := run(context.Background(), config, *addr, *leaf); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// takeLock has a name of its own to be found by in an execution trace.
//
//go:noinline
func takeLock(l *sync.Mutex) { l.Lock() }

func letGo(l *sync.Mutex) {
	defer l.Unlock()
	time.Sleep(300 * time.Millisecond)
}

// burn takes CPU time by counted work.
//
//go:noinline
func burn(n int) {
	var block [4096]byte
	for range n {
		sum := sha256.Sum256(block[:])
		copy(block[:], sum[:])
	}
}

func run(ctx context.Context, config observe.Config, addr, leaf string) error {
	tel, err := observe.Start(ctx, config)
	if err != nil {
		return err
	}
	slog.SetDefault(slog.New(tel.LogHandler(slog.NewJSONHandler(os.Stderr, nil))))
	client := &http.Client{Transport: tel.Transport(&http.Transport{MaxIdleConnsPerHost: 64})}

	mux := http.NewServeMux()
	mux.HandleFunc("/leaf", func(w http.ResponseWriter, r *http.Request) {
		switch r.FormValue("do") {
		case "fail":
			http.Error(w, "failed as asked", http.StatusInternalServerError)
			return
		case "slow":
			time.Sleep(1200 * time.Millisecond) // beyond the 1 s from which every root is kept
		}
		fmt.Fprintln(w, "leaf")
	})
	mux.HandleFunc("GET /broken", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "broken", http.StatusInternalServerError) })
	mux.HandleFunc("GET /panic", func(w http.ResponseWriter, r *http.Request) { panic("as asked") })
	mux.HandleFunc("GET /tasks/{id}", func(w http.ResponseWriter, r *http.Request) {
		trace := tracing.ID(r.Context())
		w.Header().Set("Trace-Id", trace)
		call, err := http.NewRequestWithContext(r.Context(), http.MethodGet, leaf+"/leaf?"+r.URL.RawQuery, nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		resp, err := client.Do(call)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
		if _, err := io.Copy(w, resp.Body); err != nil {
			slog.WarnContext(r.Context(), "answer", "err", err)
		}
	})
	// /locked waits for as long as /hold holds.
	var lock sync.Mutex
	mux.HandleFunc("GET /locked", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trace-Id", tracing.ID(r.Context()))
		takeLock(&lock)
		defer lock.Unlock()
		fmt.Fprintln(w, "it was free")
	})
	mux.HandleFunc("GET /hold", func(w http.ResponseWriter, r *http.Request) {
		lock.Lock()
		go letGo(&lock)
	})
	// One, three and six parts of the same work.
	for route, parts := range map[string]int{"GET /one/{id}": 1, "GET /three/{id}": 3, "GET /six/{id}": 6} {
		mux.HandleFunc(route, func(w http.ResponseWriter, r *http.Request) { burn(200 * parts) })
	}
	served := tel.Serve(ctx, &http.Server{Addr: addr, Handler: tel.Handler(mux)})
	if served != nil {
		fmt.Fprintln(os.Stderr, "served:", served)
	}

	dropped := map[string]float64{}
	families, err := tel.Registry().Gather()
	if err != nil {
		return err
	}
	for _, f := range families {
		if f.GetName() != "observe_dropped_total" {
			continue
		}
		for _, m := range f.Metric {
			labels := map[string]string{}
			for _, l := range m.Label {
				labels[l.GetName()] = l.GetValue()
			}
			dropped[labels["signal"]+" "+labels["reason"]] += m.GetCounter().GetValue()
		}
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"dropped": dropped})
}
