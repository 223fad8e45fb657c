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

// readTable returns the metrics that a program defined for itself, from the
// /debug/metrics/table of its admin address, or a file that was saved from there.
func readTable(from string) ([]plan.Metric, error) {
	r, err := openTable(from)
	if err != nil {
		return nil, fmt.Errorf("-table: %w", err)
	}
	defer r.Close()
	var table struct{ Program []plan.Metric }
	if err := json.NewDecoder(io.LimitReader(r, 1<<20)).Decode(&table); err != nil {
		return nil, fmt.Errorf("-table: %s: not what /debug/metrics/table tells: %w", from, err)
	}
	if len(table.Program) == 0 {
		return nil, fmt.Errorf("-table: %s: the program defines no metrics", from)
	}
	return table.Program, nil
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
