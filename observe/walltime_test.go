package observe

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/loadline-go/loadline/observe/capture"
)

// Routers that are no http.ServeMux tell the route when its region has begun
// already, and some handlers panic.
func TestRecordingKnowsLateRoutes(t *testing.T) {
	tel := start(t, Config{Captures: capture.Config{Dir: t.TempDir(), CPUProfile: -1}, Interval: time.Hour})
	if err := tel.captures.store.Arm("the test wants it", time.Minute); err != nil {
		t.Fatal(err)
	}
	h := tel.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		SetRoute(r.Context(), "/users/{id}")
		if r.Method == "POST" {
			panic(http.ErrAbortHandler)
		}
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/users/1", nil))
	func() {
		defer func() { recover() }()
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/users/1", nil))
	}()
	dir, err := tel.Capture(t.Context(), "now")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "doctor.txt"))
	if got := string(text); err != nil || !strings.Contains(got, "Where the time of 2 requests went") ||
		!strings.Contains(got, "\nGET /users/{id}  ") || !strings.Contains(got, "\nPOST /users/{id} ") || strings.Contains(got, unmatched) {
		t.Errorf("%v\n%s", err, got)
	}
}

func TestBundleSaysWhyItHasNoAccount(t *testing.T) {
	tel := start(t, Config{Captures: capture.Config{Dir: t.TempDir(), CPUProfile: -1}, Interval: time.Hour})
	b, err := tel.captures.store.Capture(t.Context(), capture.Reason{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range b.Files {
		if f.Name == "doctor.txt" && f.Missing != "no trace.out: the flight recorder is not armed" {
			t.Errorf("%q", f.Missing)
		}
	}
	torn := t.TempDir()
	if err := os.WriteFile(filepath.Join(torn, "trace.out"), []byte("go 1.26 trace"), 0o600); err != nil {
		t.Fatal(err)
	}
	b = capture.Bundle{Dir: torn, Manifest: capture.Manifest{Files: []capture.File{{Name: "trace.out", Bytes: 13}}}}
	if err := tel.writeDoctor(t.Context(), b, &strings.Builder{}); err == nil || !strings.HasPrefix(err.Error(), "timeline: ") {
		t.Errorf("of a torn recording: %v", err)
	}
}
