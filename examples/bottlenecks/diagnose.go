package main

import (
	"time"

	"github.com/loadline-go/loadline/observe"
)

// diagnoseEvery sets the doctor's interval.
func diagnoseEvery(c *observe.Config, d time.Duration) {
	c.DiagnoseEvery = d
}
