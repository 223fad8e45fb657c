package plan

import (
	"fmt"
	"strings"
)

// A sentence says in words what the doctor means by a cause. It goes on after
// "The doctor: " and before its share of the users' time.
type sentence struct {
	cause string
	about string // $1 is the subject: a route, a dependency, a pool, a queue, a function
	plain string // where the finding blames the process and nothing in it; empty where there always is a subject
}

// doctorSentences are the words for every cause that the doctor knows, which a test
// compares with doctor.Causes(). What a cause is, and how it is proved, stands
// in observe/doctor/CAUSES.md.
var doctorSentences = []sentence{
	{"cpu-throttled", "", "the container's CPU quota is used up, and the kernel stops the process again and again"},
	{"gomaxprocs-wrong", "$1 does not fit the processors that the process may use", "GOMAXPROCS does not fit the processors that the process may use"},
	{"noisy-neighbour", "", "something else on the host takes the processors, and the service waits for its own"},
	{"cpu-saturated", "", "requests compute more than usual or wait for the processors, and no route or job has most of it"},
	{"cpu-burner", "$1 computes so much that the processors are full", "one route or job computes so much that the processors are full"},
	{"traffic-surge", "", "more requests arrive than the processors can serve"},
	{"timer-storm", "", "timers fire so often that the runtime's own work takes the processors"},
	{"gc-allocation", "$1 allocates so much that collecting it takes the processors", "so much is allocated that collecting it takes the processors"},
	{"gc-memory-limit", "", "the live heap is at the memory limit, and the collector runs all the time and frees little"},
	{"gc-forced", "", "something forces garbage collections again and again"},
	{"stop-the-world", "", "all goroutines are stopped again and again, and not by the collector"},
	{"lock-contention", "requests queue for a lock in $1, whose holders compute", "requests queue for a lock whose holders compute"},
	{"lock-held-io", "a lock is held in $1 while its holder waits for something else, and requests queue for it", "a lock is held while its holder waits for something else, and requests queue for it"},
	{"logging-lock", "requests queue for the logger's lock in $1", "requests queue for the logger's lock"},
	{"pool-exhausted", "all connections of $1 are in use, and requests wait for one", ""},
	{"database-slow", "operations of database $1 take longer than usual", ""},
	{"slow-query", "the statement «$1» takes longer than usual, and the others do not", ""},
	{"n-plus-one", "a request of $1 makes the same query or call again and again", ""},
	{"dependency-slow", "$1 takes longer to answer than usual", ""},
	{"dependency-failing", "calls of $1 fail", ""},
	{"retry-storm", "calls of $1 fail and are repeated at once, which multiplies them", ""},
	{"connection-churn", "calls of $1 open a connection each instead of using one again", ""},
	{"cache-collapse", "cache $1 no longer hits, and what it spared comes all at once", ""},
	{"queue-growing", "more comes into queue $1 than is worked off", ""},
	{"queue-stalled", "nothing is taken from queue $1, in which items wait", ""},
	{"backpressure", "requests wait for room in $1", "requests wait for room in a channel or a pool of workers"},
	{"blocking-syscalls", "requests stand in system calls or C in $1", "goroutines stand in system calls or C"},
	{"disk-stall", "requests wait for a disk in $1", "requests wait for a disk"},
	{"slow-route", "$1 takes longer than usual, and no processor, lock, pool or known dependency explains it", ""},
	{"route-failing", "requests of $1 fail, and no dependency's errors explain it", ""},
	{"panic-loop", "requests of $1 panic", ""},
	{"goroutine-leak", "goroutines of $1 are started and never end", "goroutines are started and never end"},
	{"heap-leak", "memory that $1 allocates is never let go", "memory is allocated and never let go"},
	{"descriptor-leak", "$1 is opened again and again and not closed", "files or sockets are opened and not closed"},
	{"connection-leak", "connections of $1 are held by what was left open", "connections are held by what was left open"},
	{"memory-near-limit", "", "the process is near the limit at which the kernel kills it"},
	{"slow-clients", "requests of $1 wait for their clients", "requests wait for their clients to send or to take bytes"},
	{"telemetry-loss", "some $1 are lost, so that what you see is not all", "telemetry is lost, so that what you see is not all"},
}

// Recorded findings of the doctor. The alerts that fire ask for them, so what
// is long is done once: templates of alerts cannot share a table.
const (
	activeFinding = "job_finding:observe_finding_share:active"
	saidFinding   = "job_finding:observe_finding_share:said" // has the label sentence
	topFinding    = "job:observe_finding_share:top"          // the one that costs the users of a job most
)

var perFinding = append([]string{"cause", "subject"}, perJob...)

// findings records the active findings, each with its sentence, and which of a
// job's is the worst. A subject is put into its sentence by label_replace,
// for the templates of alerts would read a "$1" in a statement as theirs.
func findings() Group {
	g := Group{Name: "loadline-doctor-recording", Records: []Record{{Name: activeFinding,
		Expr: "round(" + most(findingShare, perFinding...) + ", 0.01) and " + on(perFinding) + " " + most(findingActive, perFinding...) + " == 1"}}}
	say := func(expr, text, from, match string) string {
		return fmt.Sprintf("label_replace(%s, %q, %q, %q, %q)", expr, "sentence", text, from, match)
	}
	var known []string
	for _, s := range doctorSentences {
		known = append(known, s.cause)
		expr := fmt.Sprintf("%s{cause=%q}", activeFinding, s.cause)
		switch {
		case s.plain == "":
			expr = say(expr, s.about, "subject", "(.*)")
		case s.about == "":
			expr = say(expr, s.plain, "cause", ".*")
		default: // the second finds no subject where there is none
			expr = say(say(expr, s.plain, "cause", ".*"), s.about, "subject", "(.+)")
		}
		// The label is there already; it tells the rules apart to promtool.
		g.Records = append(g.Records, Record{Name: saidFinding, Expr: expr, Labels: map[string]string{"cause": s.cause}})
	}
	// A service may be newer than its rules.
	newer := fmt.Sprintf("%s{cause!~%q}", activeFinding, strings.Join(known, "|"))
	g.Records = append(g.Records,
		Record{Name: saidFinding, Expr: say(newer, "$1", "cause", "(.*)")},
		Record{Name: topFinding, Expr: "topk by (" + strings.Join(perJob, ", ") + ") (1, " + saidFinding + ")"})
	return g
}

// DoctorAnnotation is what the service says of itself while the alert fires,
// asked when the alert is evaluated: of an alert on a finding that one, of
// others the one that costs most.
func (a Alert) DoctorAnnotation() string {
	asked, of := topFinding+"{cluster=%q,namespace=%q,job=%q}", "$labels.cluster $labels.namespace $labels.job"
	switch a.Category {
	case "telemetry", "change":
		return "" // nothing that the doctor looks at
	case "diagnosis":
		asked, of = saidFinding+"{cluster=%q,namespace=%q,job=%q,cause=%q,subject=%q}", of+" $labels.cause $labels.subject"
	}
	return "{{ with printf `" + asked + "` " + of + " | query }}{{ with first . }}" +
		"The doctor: {{ .Labels.sentence }}{{ if gt .Value 0.005 }}; that takes {{ .Value | humanizePercentage }} of the users' time{{ end }}." +
		"{{ end }}{{ else }}The doctor has found nothing.{{ end }}"
}
