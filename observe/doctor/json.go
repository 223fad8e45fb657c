package doctor

import (
	"encoding/json"
	"math"
	"time"
)

// MarshalJSON writes the report with the names of its fields in snake case, seconds
// as numbers, and null for a number that is not known.
func (r Report) MarshalJSON() ([]byte, error) {
	page := reportJSON{
		Time: r.Time, Seconds: r.Interval.Seconds(), Verdict: r.Verdict, Headline: r.Headline(), Reason: r.Reason,
		Findings: []findingJSON{}, Split: []splitJSON{},
	}
	for _, f := range r.Findings {
		page.Findings = append(page.Findings, f.page())
	}
	for _, s := range r.Split {
		j := splitJSON{s.Route, s.Total, s.Running, s.Ready, s.GCAssist, s.Lock, s.Pool, map[string]float64{}, s.Other, s.Estimated}
		for _, p := range s.Parts {
			j.Parts[p.Name] += p.Seconds
		}
		page.Split = append(page.Split, j)
	}
	return json.Marshal(page)
}

// MarshalJSON writes the finding as Report.MarshalJSON does.
func (f Finding) MarshalJSON() ([]byte, error) { return json.Marshal(f.page()) }

func (f Finding) page() findingJSON {
	j := findingJSON{f.Cause, f.Subject, f.Level, f.Share, f.Confidence, f.Summary, []proofJSON{}, f.Next, f.Remedy, f.Symptoms, f.After.Seconds()}
	if j.Symptoms == nil {
		j.Symptoms = []string{}
	}
	for _, p := range f.Proof {
		j.Proof = append(j.Proof, proofJSON{p.Metric, finite(p.Value), finite(p.Threshold), p.Text})
	}
	return j
}

// finite is nil for what JSON has no number for.
func finite(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

type reportJSON struct {
	Time     time.Time     `json:"time"`
	Seconds  float64       `json:"interval_seconds"`
	Verdict  Verdict       `json:"verdict"`
	Headline string        `json:"headline"`
	Reason   string        `json:"reason,omitempty"`
	Findings []findingJSON `json:"findings"`
	Split    []splitJSON   `json:"split"`
}

type findingJSON struct {
	Cause      Cause       `json:"cause"`
	Subject    string      `json:"subject"`
	Level      Level       `json:"level"`
	Share      float64     `json:"share"`
	Confidence float64     `json:"confidence"`
	Summary    string      `json:"summary"`
	Proof      []proofJSON `json:"proof"`
	Next       string      `json:"next"`
	Remedy     string      `json:"remedy"`
	Symptoms   []string    `json:"symptoms"`
	After      float64     `json:"after_seconds,omitempty"`
}

type proofJSON struct {
	Metric    string   `json:"metric"`
	Value     *float64 `json:"value"`
	Threshold *float64 `json:"threshold"`
	Text      string   `json:"text"`
}

type splitJSON struct {
	Route     string             `json:"route"`
	Total     float64            `json:"total"`
	Running   float64            `json:"running"`
	Ready     float64            `json:"ready"`
	GCAssist  float64            `json:"gc_assist"`
	Lock      float64            `json:"lock"`
	Pool      float64            `json:"pool"`
	Parts     map[string]float64 `json:"parts"`
	Other     float64            `json:"other"`
	Estimated bool               `json:"estimated"`
}
