package observe

import "time"

// lookAtJobs is how often the end looks whether the jobs have ended: a tenth of
// what a person notices.
const lookAtJobs = 10 * time.Millisecond

// endJobs waits until none of the jobs that Run runs is running, or until the
// deadline: a worker beside the server has its last task at hand, and what it
// tells of it is to be sent too. Those that go on are left to themselves.
func (t *Telemetry) endJobs(deadline time.Time) {
	if t == nil || t.jobs.running() == 0 {
		return
	}
	began := time.Now()
	t.config.Logger.Info("observe: waiting for jobs to end", "jobs", t.jobs.running())
	tick := time.NewTicker(lookAtJobs)
	defer tick.Stop()
	for t.jobs.running() > 0 {
		if !time.Now().Before(deadline) {
			t.config.Logger.Warn("observe: jobs are still running at the end", "jobs", t.jobs.running())
			return
		}
		<-tick.C
	}
	t.config.Logger.Info("observe: all jobs have ended", "took", time.Since(began).Round(time.Millisecond))
}

// running is how many jobs run.
func (j *jobs) running() (n int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.all {
		n += s.active.value()
	}
	return n
}
