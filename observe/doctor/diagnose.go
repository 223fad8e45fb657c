package doctor

import (
	"cmp"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
)

// settled is how many intervals tell what is usual: what wastes time from the start on is.
const settled = 5

// Diagnose says what is wrong. It is a pure function and safe for concurrent use;
// it does not keep the evidence.
func Diagnose(e Evidence) Report {
	r := Report{Time: e.Now.Time, Interval: e.Now.Interval}
	switch {
	case e.Now.Interval < minInterval:
		r.Verdict, r.Reason = Unknown, fmt.Sprintf("the interval of %v is too short: figures need %v at least", e.Now.Interval, minInterval)
		return r
	case e.Now.Interval > maxInterval:
		r.Verdict, r.Reason = Unknown, fmt.Sprintf("the interval of %v is too long: what happened in an hour of it is lost in the mean", e.Now.Interval)
		return r
	}
	d := &diagnosis{figures: newFigures(&e)}
	if r.Harmed = d.slow() && d.past > 0; d.slow() {
		d.blame(true)
	}
	if len(d.findings) == 0 {
		d.blameAnyway()
	}
	timely := len(d.findings)
	for _, f := range d.findings { // even if it is no harm by what is usual, that must not become what it is
		r.Harmed = r.Harmed || f.Share > 0 && f.Level != Info && !f.chronic && d.past >= settled*d.seconds
	}
	d.failures()
	for _, f := range d.findings[timely:] {
		r.Harmed = r.Harmed || f.Share > 0 && !f.chronic
	}
	d.queues()
	d.growth()
	d.losses()
	d.finish(&r)
	return r
}

// blame finds who is guilty of the harm. Without calls, those who only might be are
// left out: dependencies and routes that take the time they need.
func (d *diagnosis) blame(calls bool) {
	d.left, d.own = d.harm, d.self+d.stuck
	d.machine()
	d.collector()
	d.processors()
	d.locks()
	if calls {
		d.caches()
	}
	d.pools()
	d.channels()
	if calls {
		d.calls()
		d.themselves()
	}
	d.weather()
}

// blameAnyway tells what wastes much of the users' time, or takes it where they wait
// long, even if it always has: a fault that is as old as the process is usual, too.
func (d *diagnosis) blameAnyway() {
	relative, left := d.figures, d.left
	chronic := d.anyway()
	if chronic.rate < 2 {
		return
	}
	d.figures = chronic
	d.alwaysWasteful(false)
	d.figures = relative
	slow := chronic.slowRequests >= slowMany*chronic.rate*chronic.seconds
	waste := chronic.waste()
	lost := waste >= wasted*chronic.load && waste >= wastedMin*chronic.rate
	if (slow || lost) && len(d.findings) == 0 {
		d.figures = chronic
		d.blame(slow)
		d.figures, d.left = relative, left
	}
	if len(d.findings) == 0 {
		d.figures = chronic
		d.alwaysWasteful(true)
		d.figures = relative
	}
}

// diagnosis is one on its way.
type diagnosis struct {
	*figures
	left     float64 // of the harm, unexplained
	own      float64 // of the routes' own harm, unexplained
	findings []Finding
	// The dependency that gets what a collapsed cache does not catch any more.
	collapsed string
	symptoms  []symptom
	wants     []SiteKind
}

// symptom is a signal that another cause explains.
type symptom struct {
	cause   Cause
	subject string
	part    float64
}

// explain gives a part of the harm, in goroutine-seconds per second, to a cause,
// as far as some is left. Less than what is worth telling is kept as a symptom of
// what took the rest. Own is how much of the part the routes did not spend waiting
// for a dependency.
func (d *diagnosis) explain(part, own float64, f Finding) bool {
	part = max0(part)
	if !d.worthy(part) {
		return false
	}
	if !d.worthy(min(part, d.left)) {
		d.symptoms = append(d.symptoms, symptom{f.Cause, f.Subject, part})
		return false
	}
	part = min(part, d.left)
	f.Share = share(part, d.load)
	f.Level = d.level(part)
	if f.Level == Page && f.slower > 0 && f.slower < d.rt.WakeupP99 && over(d.rt.RunDelay, d.was.RunDelay) >= 0.5 {
		f.Level = Ticket // the kernel stalls this process for longer: nobody can tell the two apart
	}
	f.Proof = append([]Proof{d.slower(part)}, f.Proof...)
	if d.unseen >= worth*d.harm && d.ready >= worth*d.harm {
		f.Proof = append(f.Proof, Proof{"observe_wakeup_delay_seconds", d.rt.WakeupP50, d.was.WakeupP50,
			fmt.Sprintf("a request waits %s more than usual before its handler begins, which is in no duration of a request", dur(d.late))})
	}
	d.left -= part
	d.own = max(d.own-min(own, part), 0)
	for i := range d.findings { // found on another way
		if had := &d.findings[i]; had.Cause == f.Cause && had.Subject == f.Subject {
			had.Share = min(had.Share+f.Share, 1)
			if f.Level == Page && had.Level == Ticket {
				had.Level = Page
			}
			return true
		}
	}
	d.add(f)
	return true
}

// worthy reports whether a part of the harm is worth telling.
func (d *diagnosis) worthy(part float64) bool {
	if !(part > 0) || part >= worth*d.harm || d.chronic || d.past == 0 {
		return part > 0 && part >= worth*d.harm
	}
	if d.ready >= worth*d.harm {
		return part >= worthShort*d.harm && part >= d.usualLoad/2
	}
	return part >= worthAlone*d.harm && part >= d.usualLoad
}

// slower is the proof that there is harm.
func (d *diagnosis) slower(part float64) Proof {
	text := fmt.Sprintf("requests spend %s goroutine-seconds per second, %s beyond their usual; this explains %s", num(d.load), num(d.harm), num(part))
	switch {
	case d.chronic:
		text = fmt.Sprintf("requests spend %s goroutine-seconds per second, as far as is known as ever; this takes %s of them", num(d.load), num(part))
	case d.past == 0:
		text = fmt.Sprintf("slow requests spend %s of %s goroutine-seconds per second; this explains %s (nothing is known of the time before)", num(d.harm), num(d.load), num(part))
	}
	return Proof{"http_server_request_duration_seconds", d.harm, worth * d.usualLoad, text}
}

func (d *diagnosis) add(f Finding) {
	i := illness(f.Cause)
	if f.Remedy == "" {
		f.Remedy = i.Remedy
	}
	if f.Next == "" {
		f.Next = strings.ReplaceAll(i.Next, "%%", "%")
		// A command is copied into a shell: what stands in its URL is escaped for curl,
		// which takes no space and expands {id}, and holds no quote that ends its own.
		f.Next = strings.ReplaceAll(f.Next, "=%s", "="+strings.ReplaceAll(url.QueryEscape(f.Subject), "%2F", "/"))
		f.Next = strings.ReplaceAll(f.Next, "%s", f.Subject)
	}
	f.Share = min(max0(f.Share), 1)
	if d.past == 0 && f.Confidence > 0.7 {
		f.Confidence = 0.7
	}
	d.findings = append(d.findings, f)
}

// want asks for a profile, once.
func (d *diagnosis) want(k SiteKind) {
	if !slices.Contains(d.wants, k) {
		d.wants = append(d.wants, k)
	}
}

// finish ranks the findings, gives them the symptoms they explain, and decides.
func (d *diagnosis) finish(r *Report) {
	rank := func(l Level) int {
		switch l {
		case Page:
			return 0
		case Ticket:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(d.findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(rank(a.Level), rank(b.Level)), cmp.Compare(b.Share, a.Share), cmp.Compare(b.Confidence, a.Confidence),
			strings.Compare(string(a.Cause), string(b.Cause)), strings.Compare(a.Subject, b.Subject))
	})
	if len(d.findings) > 0 {
		for _, s := range d.symptoms {
			text := illness(s.cause).Title
			if word, _, _ := strings.Cut(text, " "); word != strings.ToUpper(word) { // GC, CPU, N+1
				text = strings.ToLower(text[:1]) + text[1:]
			}
			if s.subject != "" {
				text += " (" + s.subject + ")"
			}
			d.findings[0].Symptoms = append(d.findings[0].Symptoms, text)
		}
	}
	r.Findings, r.Wants, r.Split = d.findings, d.wants, d.split()
	r.Verdict = Healthy
	for _, f := range r.Findings {
		if f.Level != Info {
			r.Verdict = Sick
		}
	}
	if r.Verdict == Sick {
		return
	}
	switch {
	case d.slow() && d.left >= (1-worth)*d.harm && !d.young:
		r.Verdict, r.Reason = Unknown, fmt.Sprintf("requests spend %s goroutine-seconds per second, %s beyond their usual, and no signal explains it", num(d.load), num(d.harm))
	case d.requests() < 4*minRequests && d.jobs() == 0:
		r.Verdict, r.Reason = Unknown, fmt.Sprintf("too little traffic: %.0f requests in %v", d.requests(), r.Interval)
	}
}

func (d *diagnosis) requests() float64 { return d.rate * d.seconds }

func (d *diagnosis) jobs() (runs float64) {
	for _, j := range d.now.Jobs {
		runs += max0(j.Runs)
	}
	return runs
}

// share is part of whole, 0 where there is no whole.
func share(part, whole float64) float64 {
	if !(whole > 0) {
		return 0
	}
	return min(max(part/whole, 0), 1)
}

// num prints a figure for a person: two significant digits are what it is worth.
func num(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "unknown"
	case a >= 9.95:
		return fmt.Sprintf("%.0f", v)
	case a >= 0.995:
		return fmt.Sprintf("%.1f", v)
	case a < 0.0005:
		return "0"
	case a >= 0.0995:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// dur prints seconds.
func dur(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "unknown"
	case a >= 0.9995:
		return fmt.Sprintf("%.3g s", v)
	case a >= 0.9995e-3:
		return fmt.Sprintf("%.3g ms", v*1e3)
	}
	return fmt.Sprintf("%.3g µs", v*1e6)
}

// pct prints a share.
func pct(v float64) string {
	if v > 0 && v < 0.0095 {
		return fmt.Sprintf("%.2g %%", 100*v)
	}
	return fmt.Sprintf("%.0f %%", 100*v)
}
