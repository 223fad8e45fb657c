package plan

// An Inhibition keeps alerts quiet while another one says it all.
type Inhibition struct {
	Why    string
	Source string // matcher of the alert that speaks
	Target []string
	Equal  []string // labels that both have alike
}

// Inhibitions returns who keeps whom quiet. No cause keeps a page about users
// quiet: a cause that is known is no reason to let them wait.
func Inhibitions() []Inhibition {
	return []Inhibition{
		{"What pages also tells of the ticket for the same thing.",
			`severity="critical"`, []string{`severity=~"warning|info"`}, []string{"cluster", "namespace", "job", "instance", "category", "slo", "http_request_method", "http_route"}},
		{"Of a service that is gone, nothing else is news.",
			`alertname=~"ServiceDown|ServiceVanished"`, []string{`alertname!~"ServiceDown|ServiceVanished|Watchdog"`}, perJob},
		{"Of an instance that is gone, nothing else is news.",
			`alertname="TargetDown"`, []string{`alertname!~"TargetDown|ServiceDown|ServiceVanished|Watchdog"`, `instance=~".+"`}, perInstance},
		{"A budget that burns fast tells of the slower alerts for it.",
			`alertname="SLOBudgetBurnFast"`, []string{`alertname=~"SLOBudgetBurnSlow|SLOBudgetBurnVerySlow|SLOBudgetExhausted"`}, perSLO},
		{"Throttling that hurts is why goroutines wait.",
			`alertname="CPUThrottledHurting"`, []string{`alertname=~"GoSchedulerLatencyHigh|GoCPUSaturated|CPUThrottled"`}, perInstance},
		{"Memory that runs out now is more than memory that runs out later.",
			`alertname=~"ContainerOOMImminent|GoGCDeathSpiral"`, []string{`alertname=~"ContainerMemoryNearLimit|GoMemoryNearLimit|GoGCCPUHigh|MemoryExhaustionPredicted|GoHeapLeakSuspected"`}, perInstance},
		{"The leak watch knows the place; a floor that rises is the same leak from afar.",
			`alertname="GoGoroutineLeak"`, []string{`alertname="GoGoroutineLeakSuspected"`}, perInstance},
		{"The same, for memory.",
			`alertname="GoHeapLeak"`, []string{`alertname="GoHeapLeakSuspected"`}, perInstance},
	}
}
