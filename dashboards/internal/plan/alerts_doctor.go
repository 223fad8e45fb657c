package plan

import (
	"slices"
	"strings"
)

// topFinding is the recorded finding that costs the users of a job most. It is
// recorded because every alert that fires asks for it.
const topFinding = "job:observe_finding_share:top"

func (s scope) topFinding() string {
	by := append([]string{"cause", "subject"}, perJob...)
	return "topk by (" + strings.Join(perJob, ", ") + ") (1, " + most(s.now(findingShare), by...) + " and " + on(by) + " " + most(s.now(findingActive), by...) + " == 1)"
}

// DoctorAnnotation is what the service says of itself while the alert fires:
// the finding that costs most, asked when the alert is evaluated.
func (a Alert) DoctorAnnotation() string {
	if slices.Contains([]string{"diagnosis", "telemetry", "change"}, a.Category) {
		return "" // says it itself, or is nothing that the doctor looks at
	}
	return "{{ with printf `" + topFinding + "{job=%q}` $labels.job | query }}{{ with first . }}" +
		"The doctor says: {{ .Labels.cause }}{{ with .Labels.subject }} of {{ . }}{{ end }}, {{ .Value | humanizePercentage }} of the users' time." +
		"{{ end }}{{ else }}The doctor has found nothing.{{ end }}"
}

// doctorAlerts tell what the service finds wrong with itself. It pages nobody:
// the symptom does, and has the finding beside it.
func (c Config) doctorAlerts() []Alert {
	finding := []string{"cluster", "namespace", "job", "cause", "subject"}
	found := func(level string) string {
		return most("max_over_time("+findingShare+"[1m])", finding...) +
			"\nand " + on(finding) + " " + most("min_over_time("+findingActive+`{level="`+level+`"}[1m])`, finding...) + " == 1"
	}
	advice := `GET /debug/doctor on the admin address: the finding with its figures, the command to type next, and what helps.
What each cause means, what proves it and what it is taken for stands in observe/doctor/CAUSES.md.`
	return []Alert{
		{
			Name: "DoctorFindsHarm", Severity: Ticket, Category: "diagnosis", Expr: found("page"), For: "2m", Keep: "5m",
			Summary:     `{{ $labels.job }}: {{ $labels.cause }} of {{ $labels.subject }} takes {{ $value | humanizePercentage }} of the users' time`,
			Description: `An instance has compared where the time of its requests goes with what is usual, and finds that users are harmed by this, for 2 minutes.`,
			Advice:      advice, Dashboard: DiagnosisUID, Vars: []string{"job"},
		},
		{
			Name: "DoctorFindsRisk", Severity: Info, Category: "diagnosis", Expr: found("ticket"), For: "30m",
			Summary:     `{{ $labels.job }}: {{ $labels.cause }} of {{ $labels.subject }}, {{ $value | humanizePercentage }} of the users' time`,
			Description: `An instance finds that this will harm users, or harms a few, for half an hour.`,
			Advice:      advice, Dashboard: DiagnosisUID, Vars: []string{"job"},
		},
	}
}

func doctorScenarios() []Scenario {
	finding := func(level, active string, share float64) []Input {
		cause, subject := `cause="dependency-slow"`, `subject="payments:443"`
		return together(one(findingActive, active, cause, subject, `level="`+level+`"`), one(findingShare, flat(share), cause, subject))
	}
	both := []string{"DoctorFindsHarm", "DoctorFindsRisk"}
	return []Scenario{
		{Name: "the doctor finds what harms users", At: "30m", Series: finding("page", "0x20 1x380", 0.4),
			Fires: both[:1], Silent: both[1:]},
		{Name: "the doctor found something for a minute", At: "30m", Series: finding("page", "0x20 1 0x380", 0.4), Silent: both},
		{Name: "the doctor finds what will harm users", At: "60m", Series: finding("ticket", flat(1), 0.02),
			Fires: both[1:], Silent: both[:1]},
		{Name: "the doctor has found something for ten minutes that will harm users", At: "30m", Series: finding("ticket", "0x20 1x380", 0.02), Silent: both},
		{Name: "the doctor tells what is good to know", At: "60m", Series: finding("info", flat(1), 0.01), Silent: both},
	}
}
