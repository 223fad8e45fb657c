package plan

// Scenarios returns what the alerts are tested with.
func Scenarios() []Scenario { return nil }
