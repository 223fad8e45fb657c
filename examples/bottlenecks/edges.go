package main

import (
	"io"
	"net/http"
	"os"
	"time"

	"github.com/loadline-go/loadline/observe"
)

// What happens at the service's edges: its clients, its telemetry.
var edgePrograms = []program{
	{
		name:     "slow-clients",
		what:     "Clients on bad lines read a large answer slowly, and the handler waits for them.",
		seen:     "goroutine dumps show the handler of /export in a socket's Write; send queues are full (ss -t)",
		causes:   []string{"slow-clients"},
		subjects: []string{"", "/export"},
		service: func(s *service, f *fault) {
			s.route("GET /export", func(w http.ResponseWriter, r *http.Request) error {
				f.sick()
				for range 16 {
					if _, err := w.Write(zeros[:]); err != nil {
						return errAnswered
					}
				}
				return nil
			})
		},
		world: func(w *world) (begin, end func()) {
			export := clientRoute{method: "GET", path: "/export", weight: 3}
			slow := export
			slow.read = func(r io.Reader) error {
				for {
					if _, err := io.CopyN(io.Discard, r, 64<<10); err == io.EOF {
						return nil
					} else if err != nil {
						return err
					}
					time.Sleep(10 * time.Millisecond)
				}
			}
			w.load.add(export)
			return func() { w.load.add(slow) }, func() { w.load.add(export) }
		},
	},
	{
		name:   "telemetry-loss",
		what:   "The collector of traces does not answer any more, and spans are thrown away.",
		seen:   "observe_dropped_total grows, a warning a minute in the log; the requests are as quick as ever",
		causes: []string{"telemetry-loss"},
		config: func(s *service, _ *observe.Config) {
			os.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", s.Collector)
			os.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
			os.Setenv("OTEL_BSP_SCHEDULE_DELAY", "500")
			os.Setenv("OTEL_BSP_EXPORT_TIMEOUT", "1000")
		},
		world: func(w *world) (begin, end func()) {
			return func() { w.collector.dead.Store(true) }, func() { w.collector.dead.Store(false) }
		},
	},
}
