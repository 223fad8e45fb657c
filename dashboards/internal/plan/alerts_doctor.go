package plan

// doctorAlerts tell what the service finds wrong with itself. It pages nobody:
// the symptom does, and has the finding beside it.
func (c Config) doctorAlerts() []Alert {
	finding := perFinding
	found := func(level string) string {
		return most("max_over_time("+findingShare+"[1m])", finding...) +
			"\nand " + on(finding) + " " + most("min_over_time("+findingActive+`{level="`+level+`"}[1m])`, finding...) + " == 1"
	}
	advice := `GET /debug/doctor on the admin address: the finding with its figures, the command to type next, and what helps.
What each cause means, what proves it and what it is taken for stands in observe/doctor/CAUSES.md.`
	return []Alert{
		{
			Name: "DoctorFindsHarm", Severity: Ticket, Category: "diagnosis", Expr: found("page"), For: "2m", Keep: "5m",
			Summary:     `{{ $labels.job }}: {{ $labels.cause }}{{ with $labels.subject }} of {{ . }}{{ end }} takes {{ $value | humanizePercentage }} of the users' time`,
			Description: `An instance has compared where the time of its requests goes with what is usual, and finds that users are harmed by this, for 2 minutes.`,
			Advice:      advice, Dashboard: DiagnosisUID, Vars: []string{"job"},
		},
		{
			Name: "DoctorFindsRisk", Severity: Info, Category: "diagnosis", Expr: found("ticket"), For: "30m",
			Summary:     `{{ $labels.job }}: {{ $labels.cause }}{{ with $labels.subject }} of {{ . }}{{ end }}, {{ $value | humanizePercentage }} of the users' time`,
			Description: `An instance finds that this will harm users, or harms a few, for half an hour.`,
			Advice:      advice, Dashboard: DiagnosisUID, Vars: []string{"job"},
		},
	}
}

func doctorScenarios() []Scenario {
	found := func(cause, subject, level string, share float64) []Input {
		cause, subject = `cause="`+cause+`"`, `subject="`+subject+`"`
		return together(one(findingActive, flat(1), cause, subject, `level="`+level+`"`), one(findingShare, flat(share), cause, subject))
	}
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
		{Name: "calls of a dependency fail, and requests with them", At: "30m",
			Series: together(route("a", "/pay", "500", 60, 0.1), route("a", "/pay", "200", 60, 0.1),
				found("dependency-slow", "mail:25", "ticket", 0.1), found("dependency-failing", "payments:443", "page", 0.4)),
			Fires: []string{"HTTPRouteErrorsHigh"},
			Told: []Notice{
				{"HTTPRouteErrorsHigh", map[string]string{"http_request_method": "GET", "http_route": "/pay"},
					"JOB: 50% of GET /pay fails", "The doctor: calls of payments:443 fail; that takes 40% of the users' time."},
				{"DoctorFindsHarm", map[string]string{"cause": "dependency-failing", "subject": "payments:443"},
					"JOB: dependency-failing of payments:443 takes 40% of the users' time", "The doctor: calls of payments:443 fail; that takes 40% of the users' time."},
			}},
		{Name: "the doctor finds what has quotes, a dollar and no share", At: "30m",
			Series: found("slow-query", `SELECT \"a\" FROM t WHERE b = $1`, "page", 0),
			Told: []Notice{{"DoctorFindsHarm", map[string]string{"cause": "slow-query", "subject": `SELECT "a" FROM t WHERE b = $1`},
				`JOB: slow-query of SELECT "a" FROM t WHERE b = $1 takes 0% of the users' time`,
				`The doctor: the statement «SELECT "a" FROM t WHERE b = $1» takes longer than usual, and the others do not.`}}},
		{Name: "the doctor finds the process itself at fault, and what these rules do not know", At: "30m",
			Series: together(found("cpu-throttled", "", "page", 0.5), found("gremlins", "", "page", 0.2)),
			Told: []Notice{
				{"DoctorFindsHarm", map[string]string{"cause": "cpu-throttled"}, "JOB: cpu-throttled takes 50% of the users' time",
					"The doctor: the container's CPU quota is used up, and the kernel stops the process again and again; that takes 50% of the users' time."},
				{"DoctorFindsHarm", map[string]string{"cause": "gremlins"}, "JOB: gremlins takes 20% of the users' time",
					"The doctor: gremlins; that takes 20% of the users' time."},
			}},
		{Name: "a route fails, and the doctor has found nothing", At: "30m",
			Series: together(route("a", "/pay", "500", 60, 0.1), route("a", "/pay", "200", 60, 0.1)),
			Told: []Notice{{"HTTPRouteErrorsHigh", map[string]string{"http_request_method": "GET", "http_route": "/pay"},
				"JOB: 50% of GET /pay fails", "The doctor has found nothing."}}},
		{Name: "the doctor tells what is good to know", At: "60m", Series: finding("info", flat(1), 0.01), Silent: both},
	}
}
