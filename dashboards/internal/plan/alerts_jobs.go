package plan

func (c Config) jobAlerts() []Alert {
	perQueue := []string{"cluster", "namespace", "job", "queue"}
	perName := []string{"cluster", "namespace", "job", "job_name"}
	vars := []string{"job"}
	failed, runs := inRule.where(jobFailed).over("15m").count(jobRuns, perName...), inRule.over("15m").count(jobRuns, perName...)
	length := most(queueLength, perQueue...)
	interval := most(jobInterval, perName...)
	return []Alert{
		{
			Name: "QueueBacklogGrowing", Severity: Ticket, Category: "saturation",
			// A tenth of what is there has come in the last half hour, and it goes on.
			Expr: length + " > " + number(c.QueueBacklog) +
				"\nand 1800 * " + most("deriv("+queueLength+"[30m])", perQueue...) + " > 0.1 * " + length +
				"\nand " + most("deriv("+queueLength+"[10m])", perQueue...) + " > 0",
			For:         "10m",
			Summary:     `{{ $labels.job }}: queue {{ $labels.queue }} holds {{ $value | humanize }} items and grows`,
			Description: `More than ` + number(c.QueueBacklog) + ` wait, a tenth of them since half an hour ago, and it does not stop, for 10 minutes.`,
			Advice: `Compare arrival with service on the Dependencies page. More arrives: who sends, and is it wanted? Less is served: consumers gone, the job slower (Service page, row Jobs), or retried without end.
Add consumers only if what they call can take it.`,
			Dashboard: DependenciesUID, Vars: vars,
		},
		{
			Name: "QueueStalled", Severity: Ticket, Category: "saturation",
			// Whatever is served makes the length fall now and then.
			Expr: most("min_over_time("+queueLength+"[15m])", perQueue...) + " > 0" +
				"\nunless " + most("resets("+queueLength+"[15m])", perQueue...) + " > 0" +
				"\nunless " + most("increase("+queueTaken+"[15m])", perQueue...) + " > 0",
			For:         "5m",
			Summary:     `{{ $labels.job }}: nothing is taken from queue {{ $labels.queue }}; at least {{ $value | humanize }} items waited`,
			Description: `It was never empty and never became shorter for 15 minutes, and its own count says of nothing that it was taken.`,
			Advice:      `Are there consumers (Dependencies page)? None: they crashed, lost their connection or were not started. Some: they hang; take a goroutine dump of one, and look for a job without a timeout.`,
			Dashboard:   DependenciesUID, Vars: vars,
		},
		{
			Name: "QueueNearFull", Severity: Ticket, Category: "saturation",
			Expr:        inRule.queueFill("cluster", "namespace", "job", "instance", "queue") + " > " + number(c.QueueFill),
			For:         "5m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }}: queue {{ $labels.queue }} is {{ $value | humanizePercentage }} full`,
			Description: `Above ` + percent(c.QueueFill) + ` for 5 minutes. At the limit senders wait or are refused, and what waits on them waits too.`,
			Advice:      `Which side waits (Dependencies page)? A longer queue only hides it for a while: make the receivers faster, or refuse work earlier.`,
			Dashboard:   DependenciesUID, Vars: []string{"job", "instance"},
		},
		{
			Name: "JobOverdue", Severity: Ticket, Category: "availability",
			// The first half knows of a job that never ran; the second outlives a restart, which begins the first anew.
			Expr: least(jobOverdue, perName...) + " > 0.5 * " + interval +
				"\nor (time() - " + most("max_over_time("+jobSuccess+"[2d])", perName...) + ") - " + interval + " > 0.5 * " + interval,
			For:         "2m",
			Summary:     `{{ $labels.job }}: job {{ $labels.job_name }} is overdue by {{ $value | humanizeDuration }}`,
			Description: `It has not succeeded for one and a half of its intervals on any instance.`,
			Advice:      `Did it run and fail (Service page, row Jobs: errors by type), does it hang (under way), or was it not started: schedule, leader election, the last deploy?`,
			Dashboard:   ServiceUID, Vars: vars,
		},
		{
			Name: "JobFailing", Severity: Ticket, Category: "errors",
			Expr: failed + " / (" + runs + " > 0) > " + number(c.JobErrors) +
				"\nand " + failed + " * 900 >= 3",
			For:         "5m",
			Summary:     `{{ $labels.job }}: {{ $value | humanizePercentage }} of the runs of job {{ $labels.job_name }} fail`,
			Description: `More than ` + percent(c.JobErrors) + ` of the runs of 15 minutes, and three at least, ended with an error or a panic.`,
			Advice:      `The error types are on the Service page, row Jobs; every failed run has its trace. A share of retries that rises with it: a poisoned job goes round, move it aside.`,
			Dashboard:   ServiceUID, Vars: vars,
		},
	}
}
