package timeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/exp/trace"
)

const (
	// maxRecording bounds what is read: a flight recording is some tens of
	// megabytes, and a generation of it is held in memory.
	maxRecording = 256 << 20
	// The requests that are told one by one.
	keptRequests = 5
	// The places of a route that are told.
	keptPlaces = 3
	// The places of one request that are told apart.
	keptWaits = 32
	// Routes are the program's own, a few hundred; what a hostile recording has more is told as one.
	maxRoutes = 1000
)

// A Question says what is asked of a recording.
type Question struct {
	TraceID string  // the request that is told besides the slowest, in hex; empty: none
	Share   float64 // of one processor that may be used, so that the program is not slowed down; 0: all of it
}

// A Report tells where the time of the requests of a recording went.
type Report struct {
	Length   time.Duration // of the recording
	Events   int
	Requests int       // that the recording holds as a whole
	Open     int       // that had not ended with it
	Routes   []Route   // the one with the most wall time first
	Slowest  []Request // a few, the slowest first
	Asked    *Request  // the one with Question.TraceID; nil: it is not in the recording
}

// A Route is all whole requests of a route.
type Route struct {
	Name     string // "GET /orders/{id}"
	Requests int
	Times    Times
	Slowest  time.Duration
	Places   []Place // where they were blocked or waited for a processor longest
}

// A Place is where requests waited.
type Place struct {
	State State
	At    Frame // the innermost call of the program's own
	Count int
	Time  time.Duration
}

// A Request is one request.
type Request struct {
	Route   string
	TraceID string
	Begin   time.Duration // since the recording began
	Times   Times
	Open    bool // it had not ended with the recording
	Longest Wait // zero when it never waited
}

// A Wait is one time that a request did not run.
type Wait struct {
	State State
	Took  time.Duration
	Stack []Frame // where it waited
	By    []Frame // what the goroutine was doing that let it go on; nil: it was none, as after a sleep or network I/O, or is not known
	Of    string  // the request which that goroutine served, with its trace ID; empty: none
}

// Account reads a recording and tells where the time of its requests went. It
// returns what it could read with an error when the recording is torn, cut off
// or none, or when ctx ends.
func Account(ctx context.Context, recording io.Reader, q Question) (report Report, err error) {
	a := &accountant{
		question: q, tasks: map[trace.TaskID]*task{}, goroutines: map[trace.GoID]*goroutine{},
		stacks: map[trace.Stack]*stack{}, routes: map[string]*route{},
	}
	defer func() {
		// The parser of x/exp checks what it reads, but not all of it.
		if p := recover(); p != nil {
			err = fmt.Errorf("timeline: the recording cannot be read: %v", p)
		}
		report = a.report()
	}()
	pace := &pace{share: q.Share, since: time.Now()}
	limited := &io.LimitedReader{R: &pacedReader{recording, ctx, pace}, N: maxRecording}
	r, err := trace.NewReader(limited)
	if ctx.Err() != nil { // the parser drops what the reader returned
		return report, a.givenUp(ctx)
	}
	if err != nil {
		return report, fmt.Errorf("timeline: no recording: %w", err)
	}
	for {
		if a.events&0xff == 0 {
			_ = pace.keep(ctx)
		}
		e, err := r.ReadEvent()
		switch {
		case ctx.Err() != nil:
			return report, a.givenUp(ctx)
		case err == io.EOF:
			if limited.N <= 0 {
				return report, fmt.Errorf("timeline: only the first %d MiB were read", maxRecording>>20)
			}
			if a.events == 0 {
				return report, errors.New("timeline: the recording is empty")
			}
			return report, nil
		case err != nil:
			return report, fmt.Errorf("timeline: the recording is torn after %d events: %w", a.events, err)
		}
		a.event(&e)
	}
}

func (a *accountant) givenUp(ctx context.Context) error {
	return fmt.Errorf("timeline: given up after %d events: %w", a.events, ctx.Err())
}

// pace lets a share of the time be used for work, in pieces that are no longer
// than the requests of a fast service.
type pace struct {
	share float64
	since time.Time
}

const workPiece = 200 * time.Microsecond

// pacedReader keeps the pace also while the parser reads a whole generation
// before its first event.
type pacedReader struct {
	r    io.Reader
	ctx  context.Context
	pace *pace
}

func (p *pacedReader) Read(b []byte) (int, error) {
	if err := p.pace.keep(p.ctx); err != nil {
		return 0, err
	}
	return p.r.Read(b)
}

func (p *pace) keep(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	worked := time.Since(p.since)
	if p.share <= 0 || p.share >= 1 || worked < workPiece {
		return nil
	}
	rest := time.NewTimer(time.Duration(float64(worked) * (1 - p.share) / p.share))
	defer rest.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-rest.C:
	}
	p.since = time.Now()
	return nil
}

// accountant follows the goroutines of a recording.
type accountant struct {
	question   Question
	tasks      map[trace.TaskID]*task
	goroutines map[trace.GoID]*goroutine
	stacks     map[trace.Stack]*stack // of waits
	routes     map[string]*route
	slowest    []*open // ended or not, at most keptRequests
	asked      *open

	first, last   trace.Time
	events, whole int
}

type task struct {
	name, traceID, route string
	root, used           bool
}

type goroutine struct {
	state  State
	since  trace.Time
	stack  trace.Stack // where it began to wait
	assist bool        // it is made to help the collector
	serves *open
}

// open is a request that a goroutine serves.
type open struct {
	task   trace.TaskID
	of     *task
	region string
	nested int // regions of the same name and task inside
	begin  trace.Time
	times  Times
	waits  []wait // by place
	ended  bool

	longest wait
	by      trace.Stack
	byOf    string
}

type wait struct {
	stack *stack
	state State
	count int
	took  time.Duration
}

// stack is what is known of the stack of a wait.
type stack struct {
	frames []Frame
	at     Frame
}

type route struct {
	requests int
	times    Times
	slowest  time.Duration
	places   map[placeKey]*Place
}

type placeKey struct {
	state State
	at    Frame
}

func (a *accountant) event(e *trace.Event) {
	if e.Kind() == trace.EventSync { // of the parser's: no work of the program
		return
	}
	now := e.Time()
	if a.events == 0 {
		a.first = now
	}
	a.events++
	a.last = max(a.last, now)
	switch e.Kind() {
	case trace.EventTaskBegin:
		t := e.Task()
		a.tasks[t.ID] = &task{name: t.Type, root: t.Parent == trace.NoTask || t.Parent == trace.BackgroundTask}
	case trace.EventTaskEnd:
		delete(a.tasks, e.Task().ID)
	case trace.EventLog:
		l := e.Log()
		if t := a.tasks[l.Task]; t != nil {
			switch l.Category {
			case "trace_id":
				t.traceID = l.Message
			case "http_route":
				t.route = l.Message
			}
		}
	case trace.EventRegionBegin:
		a.begin(e, now)
	case trace.EventRegionEnd:
		a.end(e, now)
	case trace.EventRangeBegin, trace.EventRangeActive, trace.EventRangeEnd:
		if r := e.Range(); r.Name == "GC mark assist" && r.Scope.Kind == trace.ResourceGoroutine {
			a.assist(e, a.goroutine(r.Scope.Goroutine(), now), now)
		}
	case trace.EventStateTransition:
		if c := e.StateTransition(); c.Resource.Kind == trace.ResourceGoroutine {
			a.change(e, &c, now)
		}
	}
}

func (a *accountant) goroutine(id trace.GoID, now trace.Time) *goroutine {
	g := a.goroutines[id]
	if g == nil {
		g = &goroutine{state: Other, since: now}
		a.goroutines[id] = g
	}
	return g
}

func (a *accountant) begin(e *trace.Event, now trace.Time) {
	r := e.Region()
	g := a.goroutine(e.Goroutine(), now)
	if q := g.serves; q != nil {
		if q.task == r.Task && q.region == r.Type {
			q.nested++
		}
		return
	}
	t := a.tasks[r.Task]
	if t == nil || !t.root || t.used {
		return
	}
	t.used = true
	a.settle(g, now, nil)
	g.serves = &open{task: r.Task, of: t, region: r.Type, begin: now}
}

func (a *accountant) end(e *trace.Event, now trace.Time) {
	r := e.Region()
	g := a.goroutines[e.Goroutine()]
	if g == nil || g.serves == nil || g.serves.task != r.Task || g.serves.region != r.Type {
		return
	}
	if q := g.serves; q.nested > 0 {
		q.nested--
		return
	}
	a.settle(g, now, nil)
	a.finish(g, true)
}

// assist follows what the collector makes a goroutine do, which is running to the scheduler.
func (a *accountant) assist(e *trace.Event, g *goroutine, now trace.Time) {
	g.assist = e.Kind() != trace.EventRangeEnd
	switch {
	case g.assist && g.state == Running:
		a.settle(g, now, nil)
		g.state, g.stack = GC, e.Stack()
	case !g.assist && g.state == GC:
		a.settle(g, now, nil)
		g.state, g.stack = Running, trace.NoStack
	}
}

// change follows one change of a goroutine's state.
func (a *accountant) change(e *trace.Event, c *trace.StateTransition, now trace.Time) {
	from, to := c.Goroutine()
	g := a.goroutine(c.Resource.Goroutine(), now)
	if from == to { // a new generation of the recording tells what was known
		return
	}
	waited := g.stack
	if to != trace.GoRunnable {
		a.settle(g, now, nil)
	} else {
		a.settle(g, now, e)
	}
	g.stack = c.Stack
	switch to {
	case trace.GoRunning:
		if g.state, g.stack = Running, trace.NoStack; g.assist {
			g.state, g.stack = GC, waited
		}
	case trace.GoRunnable:
		if g.state = Ready; c.Stack == trace.NoStack { // it became ready where it was blocked
			g.stack = waited
		}
	case trace.GoSyscall:
		g.state = Syscall
	case trace.GoWaiting:
		g.state = waiting(c.Reason, a.stackOf(c.Stack).frames)
	case trace.GoNotExist:
		if g.serves != nil {
			a.finish(g, true) // runtime.Goexit in a region
		}
		delete(a.goroutines, c.Resource.Goroutine())
	default:
		g.state = Other
	}
}

// settle books the time of g up to now, when the goroutine of woke let it go on; woke may be nil.
func (a *accountant) settle(g *goroutine, now trace.Time, woke *trace.Event) {
	took := now.Sub(g.since)
	g.since = now
	q := g.serves
	if q == nil || took <= 0 {
		return
	}
	q.times[g.state] += took
	if g.state == Running {
		return
	}
	w := wait{stack: a.stackOf(g.stack), state: g.state, count: 1, took: took}
	if i := slices.IndexFunc(q.waits, func(o wait) bool { return o.stack == w.stack && o.state == w.state }); i >= 0 {
		q.waits[i].count++
		q.waits[i].took += w.took
	} else if len(q.waits) < keptWaits {
		q.waits = append(q.waits, w)
	}
	if took <= q.longest.took {
		return
	}
	q.longest, q.by, q.byOf = w, trace.NoStack, ""
	if woke == nil || !g.state.Blocked() || woke.Goroutine() == trace.NoGoroutine {
		return
	}
	q.by = woke.Stack()
	if by := a.goroutines[woke.Goroutine()]; by != nil && by != g && by.serves != nil {
		q.byOf = by.serves.name() + traceSuffix(by.serves.of.traceID)
	}
}

func (a *accountant) stackOf(s trace.Stack) *stack {
	if known := a.stacks[s]; known != nil {
		return known
	}
	frames := framesOf(s)
	known := &stack{frames: frames, at: place(frames)}
	a.stacks[s] = known
	return known
}

// name is the route with its method, which names the task.
func (q *open) name() string {
	name := cmp.Or(q.of.route, q.region)
	if q.of.name != "" && q.of.name != name {
		name = q.of.name + " " + name
	}
	return name
}

func traceSuffix(id string) string {
	if id == "" {
		return ""
	}
	return ", trace " + id
}

// finish books a request, ended or not.
func (a *accountant) finish(g *goroutine, ended bool) {
	q := g.serves
	g.serves = nil
	q.ended = ended
	wall := q.times.Wall()
	if id := a.question.TraceID; id != "" && q.of.traceID == id && (a.asked == nil || wall > a.asked.times.Wall()) {
		a.asked = q
	}
	if len(a.slowest) < keptRequests || wall > a.slowest[len(a.slowest)-1].times.Wall() {
		i, _ := slices.BinarySearchFunc(a.slowest, wall, func(o *open, wall time.Duration) int { return cmp.Compare(wall, o.times.Wall()) })
		a.slowest = slices.Insert(a.slowest, i, q)
		a.slowest = a.slowest[:min(len(a.slowest), keptRequests)]
	}
	if !ended {
		return
	}
	a.whole++
	name := q.name()
	r := a.routes[name]
	if r == nil {
		if len(a.routes) >= maxRoutes {
			name = "other"
		}
		if r = a.routes[name]; r == nil {
			r = &route{places: map[placeKey]*Place{}}
			a.routes[name] = r
		}
	}
	r.requests++
	r.times.add(&q.times)
	r.slowest = max(r.slowest, wall)
	for _, w := range q.waits {
		key := placeKey{w.state, w.stack.at}
		p := r.places[key]
		if p == nil {
			p = &Place{State: w.state, At: w.stack.at}
			r.places[key] = p
		}
		p.Count += w.count
		p.Time += w.took
	}
}

// report ends the account.
func (a *accountant) report() Report {
	r := Report{Length: a.last.Sub(a.first), Events: a.events, Requests: a.whole}
	for _, g := range a.goroutines {
		if g.serves != nil {
			r.Open++
			a.settle(g, a.last, nil)
			a.finish(g, false)
		}
	}
	for name, known := range a.routes {
		route := Route{Name: name, Requests: known.requests, Times: known.times, Slowest: known.slowest}
		for _, p := range known.places {
			route.Places = append(route.Places, *p)
		}
		slices.SortFunc(route.Places, func(a, b Place) int {
			return cmp.Or(cmp.Compare(b.Time, a.Time), cmp.Compare(a.At.Func, b.At.Func), cmp.Compare(a.At.Line, b.At.Line), cmp.Compare(a.State, b.State))
		})
		route.Places = route.Places[:min(len(route.Places), keptPlaces)]
		r.Routes = append(r.Routes, route)
	}
	slices.SortFunc(r.Routes, func(a, b Route) int {
		return cmp.Or(cmp.Compare(b.Times.Wall(), a.Times.Wall()), cmp.Compare(a.Name, b.Name))
	})
	for _, q := range a.slowest {
		r.Slowest = append(r.Slowest, q.request(a.first))
	}
	if a.asked != nil {
		asked := a.asked.request(a.first)
		r.Asked = &asked
	}
	return r
}

func (q *open) request(first trace.Time) Request {
	r := Request{Route: q.name(), TraceID: q.of.traceID, Begin: q.begin.Sub(first), Times: q.times, Open: !q.ended}
	if q.longest.took > 0 {
		r.Longest = Wait{State: q.longest.state, Took: q.longest.took, Stack: q.longest.stack.frames, By: framesOf(q.by), Of: q.byOf}
	}
	return r
}
