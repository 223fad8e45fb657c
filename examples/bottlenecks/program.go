package main

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/loadline-go/loadline/observe"
)

// A program is the service of this folder with one thing wrong, or with one
// thing that only looks wrong.
type program struct {
	name string
	what string // what goes on, in one sentence
	seen string // how a person would see it without the doctor

	// causes are the right answers, the first the best; none where nothing is
	// wrong. More than one only where a person would accept each of them.
	causes []string
	// subjects are words of which the finding's subject must hold one; none
	// where the cause has nobody to point at.
	subjects []string

	intervals int     // how long it lasts, 0 for the usual: what only grows takes longer to tell
	fromStart bool    // it begins with the process, not after a healthy time
	limited   bool    // the service has a cgroup of its own
	rate      float64 // requests a second, 0 for the usual

	// service makes what is needed in the service's process, before it listens.
	service func(s *service, f *fault)
	// config changes how the service is observed: only where the illness is about
	// that, or takes the usual settings too long to be seen.
	config func(s *service, c *observe.Config)
	// world makes what happens outside the service: at its dependencies, its
	// database, its clients.
	world func(w *world) (begin, end func())
	// cannot says why it cannot run on this machine; empty when it can.
	cannot func() string
}

func (p *program) healthy() bool { return len(p.causes) == 0 }

func (p *program) expected() string {
	if p.healthy() {
		return "healthy"
	}
	text := strings.Join(p.causes, " or ")
	if len(p.subjects) > 0 {
		text += " of " + strings.Join(p.subjects, " or ")
	}
	return text
}

// A fault is a program's part in the service's process.
type fault struct {
	ill   atomic.Bool  // between begin and end
	did   atomic.Int64 // how often the illness had an effect
	begin func()       // may be nil
	end   func()       // may be nil; what begin started is over when it returns
	close func()       // may be nil; frees what service made
}

// sick reports whether the fault is to act now, and counts it.
func (f *fault) sick() bool {
	if !f.ill.Load() {
		return false
	}
	f.did.Add(1)
	return true
}

// programs is the table of all.
var programs = slices.Concat(
	cpuPrograms, collectorPrograms, lockPrograms, waitPrograms, databasePrograms, dependencyPrograms,
	queuePrograms, codePrograms, leakPrograms, edgePrograms, healthyPrograms,
)

func lookup(name string) (*program, error) {
	for i := range programs {
		if programs[i].name == name {
			return &programs[i], nil
		}
	}
	return nil, fmt.Errorf("there is no program %q; -list names them", name)
}
