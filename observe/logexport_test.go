package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	collectorlogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	"google.golang.org/protobuf/proto"

	"github.com/loadline-go/loadline/tracing"
)

// logReceiver is an OTLP/HTTP endpoint for logs.
func logReceiver(t *testing.T, answer func(*collectorlogs.ExportLogsServiceRequest) int) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		var req collectorlogs.ExportLogsServiceRequest
		if err := proto.Unmarshal(body, &req); err != nil {
			t.Error(err)
		}
		w.WriteHeader(answer(&req))
	}))
	t.Cleanup(srv.Close)
	t.Setenv("OTEL_LOGS_EXPORTER", "otlp")
	t.Setenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", srv.URL+"/v1/logs")
}

func lost(t *testing.T, tel *Telemetry, signal string) float64 {
	n := 0.0
	for labels, m := range family(t, tel, "observe_dropped_total") {
		if strings.HasSuffix(labels, "signal="+signal) {
			n += m.GetCounter().GetValue()
		}
	}
	return n
}

func TestLogsAreSentByOTLPWhenAskedFor(t *testing.T) {
	var mu sync.Mutex
	bodies := map[string]string{} // by message: attributes and trace ID
	logReceiver(t, func(req *collectorlogs.ExportLogsServiceRequest) int {
		mu.Lock()
		defer mu.Unlock()
		for _, rl := range req.ResourceLogs {
			for _, sl := range rl.ScopeLogs {
				for _, r := range sl.LogRecords {
					attrs, _ := json.Marshal(r.Attributes)
					bodies[r.Body.GetStringValue()] = string(attrs) + strings.ToUpper(hexText(r.TraceId))
				}
			}
		}
		return 200
	})
	tel := start(t, Config{Redact: []string{"Card"}})
	var printed bytes.Buffer
	log := slog.New(tel.LogHandler(slog.NewJSONHandler(&printed, nil)))
	var id string
	tracing.Do(t.Context(), "step", func(ctx context.Context) error {
		id = tracing.ID(ctx)
		log.With("card", "4111").WithGroup("g").InfoContext(ctx, "inside", "k", "v", "CARD", "4222")
		return nil
	})
	log.Debug("below the level")
	if err := tel.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	got, ok := bodies["inside"]
	if !ok || len(bodies) != 1 || !strings.Contains(got, strings.ToUpper(id)) || !strings.Contains(got, `"v"`) {
		t.Errorf("sent %v; want the one record with its attributes and trace %s", bodies, id)
	}
	for _, out := range []string{got, printed.String()} {
		if strings.Contains(out, "4111") || strings.Contains(out, "4222") || !strings.Contains(out, redacted) {
			t.Errorf("the card is not redacted: %s", out)
		}
	}
	if strings.Contains(got, "trace_id") {
		t.Errorf("the trace ID is an attribute as well as a field: %s", got)
	}
	if !strings.Contains(printed.String(), `"trace_id":"`+id+`"`) {
		t.Errorf("printed without the trace: %s", &printed)
	}
}

func hexText(b []byte) string {
	const digits = "0123456789abcdef"
	var s []byte
	for _, c := range b {
		s = append(s, digits[c>>4], digits[c&15])
	}
	return string(s)
}

func TestEveryLogRecordIsSentOrCounted(t *testing.T) {
	release := make(chan struct{})
	var mu sync.Mutex
	received := 0
	logReceiver(t, func(req *collectorlogs.ExportLogsServiceRequest) int {
		<-release
		mu.Lock()
		defer mu.Unlock()
		received += len(req.ResourceLogs[0].ScopeLogs[0].LogRecords)
		return 200
	})
	t.Setenv("OTEL_BLRP_MAX_QUEUE_SIZE", "100")
	tel := start(t, Config{})
	log := slog.New(tel.LogHandler(slog.NewJSONHandler(io.Discard, nil)))
	const records = 1000
	began := time.Now()
	for range records {
		log.Info("x")
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("logging waited %v for a receiver that hangs", took)
	}
	close(release)
	if err := tel.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if dropped := lost(t, tel, "logs"); received+int(dropped) != records || received < 100 {
		t.Errorf("%d received and %v counted as lost, of %d", received, dropped, records)
	}
}

func TestLogsThatNobodyTakesAreCountedAtTheEnd(t *testing.T) {
	hang := make(chan struct{})
	logReceiver(t, func(*collectorlogs.ExportLogsServiceRequest) int { <-hang; return 200 })
	t.Cleanup(func() { close(hang) }) // before the receiver closes, which waits for its requests
	var out lines
	tel, err := Start(t.Context(), Config{Service: "test", AdminAddr: Off, Logger: out.logger()})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(tel.LogHandler(slog.NewJSONHandler(io.Discard, nil)))
	for range 7 {
		log.Info("x")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := tel.Shutdown(ctx); err == nil || !strings.Contains(err.Error(), "logs: 7 records were not sent") {
		t.Errorf("Shutdown returned %v", err)
	}
	if n := lost(t, tel, "logs"); n != 7 {
		t.Errorf("%v counted as lost, want 7", n)
	}
}

func TestLogsEnvironmentIsChecked(t *testing.T) {
	t.Setenv("OTEL_LOGS_EXPORTER", "carrier-pigeon")
	if _, err := Start(t.Context(), Config{AdminAddr: Off}); err == nil || !strings.Contains(err.Error(), `OTEL_LOGS_EXPORTER: "carrier-pigeon" is none of otlp, none`) {
		t.Errorf("Start returned %v", err)
	}
}
