package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A report is what the doctor says, as GET /debug/doctor?format=json gives it.
type report struct {
	Time     time.Time `json:"time"`
	Interval float64   `json:"interval_seconds"`
	Verdict  string    `json:"verdict"` // healthy, sick or unknown
	Reason   string    `json:"reason"`
	Findings []finding `json:"findings"`
}

type finding struct {
	Cause   string  `json:"cause"`
	Subject string  `json:"subject"`
	Share   float64 `json:"share"`
	Level   string  `json:"level"` // page, ticket or info
	Summary string  `json:"summary"`
}

func (f finding) String() string {
	if f.Subject == "" {
		return f.Cause
	}
	return f.Cause + " of " + f.Subject
}

// first is what somebody who reads one line of the report takes along.
func (r *report) first() finding {
	if r.Verdict == "sick" && len(r.Findings) > 0 {
		return r.Findings[0]
	}
	return finding{Cause: r.Verdict}
}

func (p *program) causeIs(f finding) bool { return slices.Contains(p.causes, f.Cause) }

func (p *program) subjectIs(f finding) bool {
	return len(p.subjects) == 0 || slices.ContainsFunc(p.subjects, func(s string) bool {
		return s == f.Subject || s != "" && strings.Contains(f.Subject, s)
	})
}

// errNoDoctor is that the service does not have the page.
var errNoDoctor = errors.New("the service has no /debug/doctor")

// pages gets each on a connection of its own, of which none is left.
var pages = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// page gets one of the admin pages. It comes from a process in trouble, so it
// may take its time.
func page(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := pages.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode == http.StatusNotFound {
		return nil, errNoDoctor
	}
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, resp.Status)
	}
	return body, err
}

func (c *child) report(ctx context.Context) (*report, error) {
	text, err := page(ctx, c.admin+"/debug/doctor?format=json")
	if err != nil {
		return nil, err
	}
	r := &report{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("/debug/doctor: %w", err)
	}
	return r, nil
}
