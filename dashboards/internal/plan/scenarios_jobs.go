package plan

func jobScenarios() []Scenario {
	queue := func(length string, more ...Input) []Input {
		return together(one(queueLength, length, `queue="orders"`), more)
	}
	taken := func(values string) Input { return one(queueTaken, values, `queue="orders"`)[0] }
	runs := func(errorType string, n float64) []Input {
		return classic(jobRuns, instanceOf("a")+`, job_name="mail", error_type="`+errorType+`"`, n, 1, 0.5, 1, 5)
	}
	nightly := func(instance, overdue string) []Input {
		id := instanceOf(instance) + `, job_name="report"`
		return []Input{{jobInterval + "{" + id + "}", flat(3600)}, {jobOverdue + "{" + id + "}", overdue}}
	}
	success := func(values string) []Input { return one(jobSuccess, values, `job_name="report"`) }
	return []Scenario{
		{Name: "a queue grows and is served too slowly", At: "60m",
			Series: queue("0+40x200", taken(steady(100))),
			Fires:  []string{"QueueBacklogGrowing"}, Silent: []string{"QueueStalled", "QueueNearFull"}},
		{Name: "a short queue grows", At: "60m",
			Series: queue("0+1x200", taken(steady(100))),
			Silent: []string{"QueueBacklogGrowing", "QueueStalled"}},
		{Name: "a long queue grows by a little", At: "60m",
			Series: queue("100000+100x200", taken(steady(100))),
			Silent: []string{"QueueBacklogGrowing"}},
		{Name: "a long queue becomes shorter", At: "60m",
			Series: queue("100000-100x200"),
			Silent: []string{"QueueBacklogGrowing", "QueueStalled"}},
		{Name: "nobody takes from a queue, and nothing more comes", At: "60m",
			Series: queue("5x200"),
			Fires:  []string{"QueueStalled"}, Silent: []string{"QueueBacklogGrowing"}},
		{Name: "nobody takes from a queue that grows", At: "60m",
			Series: queue("0+40x200", taken("7x200")),
			Fires:  []string{"QueueStalled", "QueueBacklogGrowing"}},
		{Name: "a queue of the same length is served", At: "60m",
			Series: queue("5x200", taken(steady(10))),
			Silent: []string{"QueueStalled"}},
		{Name: "a queue is empty now and then", At: "60m",
			Series: queue("5 0 5 5 5 5 5 0 5 5 5 5 5 5 0 5 5 5 5 5 5 5 5 5 5 5 0 5 5 5 5 5 5 5 5 0 5 5 5 5 5 5 0 5 5 5 5 5 0 5 5 5 5 5 0 5 5 5 5 5 5 5 5"),
			Silent: []string{"QueueStalled", "QueueBacklogGrowing"}},
		{Name: "a queue is nearly full", At: "30m",
			Series: queue("95x200", one(queueCapacity, flat(100), `queue="orders"`)...),
			Fires:  []string{"QueueNearFull"}},
		{Name: "a queue is half full", At: "30m",
			Series: queue("50x200", one(queueCapacity, flat(100), `queue="orders"`)...),
			Silent: []string{"QueueNearFull"}},
		{Name: "a tenth of a job's runs fail, and more", At: "30m",
			Series: together(runs("", 8), runs("timeout", 1), runs("panic", 1)),
			Fires:  []string{"JobFailing"}},
		{Name: "runs are cancelled by a shutdown", At: "30m",
			Series: together(runs("", 8), runs("canceled", 8)),
			Silent: []string{"JobFailing"}},
		{Name: "two runs failed", At: "30m",
			Series: one(jobRuns+"_count", "0x20 2x100", `job_name="mail"`, `error_type="_OTHER"`),
			Silent: []string{"JobFailing"}},
		{Name: "an hourly job never ran, on neither instance", At: "120m",
			Series: together(nightly("a", "0x60 60+60x200"), nightly("b", "0x70 60+60x200")),
			Fires:  []string{"JobOverdue"}},
		{Name: "an hourly job runs on the other instance", At: "120m",
			Series: together(nightly("a", "0x60 60+60x200"), nightly("b", "0x400")),
			Silent: []string{"JobOverdue"}},
		{Name: "an hourly job is late by a little", At: "80m",
			Series: together(nightly("a", "0x60 60+60x200"), success("1x400")),
			Silent: []string{"JobOverdue"}},
		// Time began at 0, and so did its last success; the instances are replaced every hour.
		{Name: "an hourly job stopped, and restarts hide it", At: "150m",
			Series: together(success("1x20 _x400"), nightly("b", "0x400")),
			Fires:  []string{"JobOverdue"}},
	}
}
