package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/loadline-go/loadline/dashboards/internal/plan"
)

// told is what a program tells of itself at its /debug/metrics/table: the
// metrics and the objectives that it defines.
type told struct {
	Service string
	Program []plan.Metric
	SLOs    []plan.SLO
}

// readTable asks the admin address, or reads a file that was saved from there.
func readTable(from string) (t told, err error) {
	r, err := openTable(from)
	if err != nil {
		return t, fmt.Errorf("-table: %w", err)
	}
	defer r.Close()
	if err := json.NewDecoder(io.LimitReader(r, 1<<20)).Decode(&t); err != nil {
		return t, fmt.Errorf("-table: %s: not what /debug/metrics/table tells: %w", from, err)
	}
	if len(t.Program)+len(t.SLOs) == 0 {
		return t, fmt.Errorf("-table: %s: the program defines no metrics and no objectives", from)
	}
	return t, nil
}

func openTable(from string) (io.ReadCloser, error) {
	if !strings.HasPrefix(from, "http://") && !strings.HasPrefix(from, "https://") {
		return os.Open(from)
	}
	client := &http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get(from)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("%s: %s", from, resp.Status)
	}
	return resp.Body, nil
}
