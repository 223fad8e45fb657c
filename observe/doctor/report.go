package doctor

import "time"

// Verdict is the short answer.
type Verdict string

const (
	Healthy Verdict = "healthy" // nothing harms users, as far as can be seen
	Sick    Verdict = "sick"    // at least one finding that is more than information
	Unknown Verdict = "unknown" // Report.Reason says why
)

// Level says what a person does about a finding.
type Level string

const (
	Page   Level = "page"   // users are harmed now
	Ticket Level = "ticket" // they will be, or a few are
	Info   Level = "info"   // good to know
)

// Cause is the identifier of an illness; see Causes.
type Cause string

// Report is a diagnosis. It prints as a page of text and marshals as JSON.
type Report struct {
	Time     time.Time
	Interval time.Duration
	Verdict  Verdict
	Reason   string    // why the verdict is Unknown, else empty
	Findings []Finding // the worst first
	// Harmed says that requests took longer or failed more often than usual, whether
	// or not that could be explained: such a window is not what is usual. Of the time
	// before anything was usual it says nothing.
	Harmed bool
	Split  []Split // where the time of the routes goes, those with most time first
	// Wants are the profiles that would make the diagnosis surer: OnCPU, Allocates,
	// Stays, or Lock for samples of what goroutines wait for. A caller that can, takes them,
	// and diagnoses again with Window.Sites.
	Wants []SiteKind
}

// Finding is one illness.
type Finding struct {
	Cause      Cause
	Subject    string // which route, dependency, pool, queue, function; empty: the process
	Level      Level
	Share      float64 // of the users' time, 0 to 1
	Confidence float64 // 0 to 1
	Summary    string  // one sentence
	Proof      []Proof
	Next       string // the command to type; ADMIN stands for the admin address
	Remedy     string
	Symptoms   []string      // what it explains
	After      time.Duration // until something fails; 0: not known, or it has

	chronic bool    // it is as it has always been
	slower  float64 // seconds a call takes longer than usual, where that is the proof; else 0
}

// Proof is one figure that a finding rests on.
type Proof struct {
	Metric    string
	Value     float64
	Threshold float64 // that it crossed; NaN: none
	Text      string
}

// Split is where the time of one route goes, in goroutine-seconds per second:
// the mean number of its requests that were at it. The parts add up to Total.
type Split struct {
	Route     string
	Total     float64
	Running   float64 // on a processor
	Ready     float64 // waiting for a processor
	GCAssist  float64
	Lock      float64
	Pool      float64 // waiting for a database connection
	Parts     []Part  // each dependency; Seconds are per second, too
	Other     float64 // none of these: channels, sleeps, system calls
	Estimated bool    // some parts are known for the process alone and divided among its routes
}
