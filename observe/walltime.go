package observe

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/loadline-go/loadline/internal/timeline"
	"github.com/loadline-go/loadline/observe/capture"
)

const (
	// Of one processor: where half of the machine is idle, a recording of ten busy
	// seconds, a million events of a third of a microsecond each, is read in three
	// seconds; elsewhere in a quarter of a minute that requests do not feel.
	accountShare = 0.1
	accountBusy  = 0.02
	// A generation of the recording, which may be all of it, is in memory at once
	// beside its tables: about twice its bytes were measured.
	accountMemory = 4
)

// writeDoctor tells in a bundle what was the matter: where the wall time of the
// requests in its flight recording went.
func (t *Telemetry) writeDoctor(ctx context.Context, b capture.Bundle, w io.Writer) error {
	i := slices.IndexFunc(b.Files, func(f capture.File) bool { return f.Name == "trace.out" })
	switch {
	case i < 0:
		return fmt.Errorf("no trace.out")
	case b.Files[i].Missing != "":
		return fmt.Errorf("no trace.out: %s", b.Files[i].Missing)
	case !t.hasRoom(accountMemory * float64(b.Files[i].Bytes)):
		return fmt.Errorf("too little memory is left to read trace.out; go tool trace can elsewhere")
	}
	f, err := os.Open(filepath.Join(b.Dir, "trace.out"))
	if err != nil {
		return err
	}
	defer f.Close()
	report, err := timeline.Account(ctx, f, timeline.Question{TraceID: b.TraceID, Share: t.spareShare()})
	if err != nil && report.Events == 0 {
		return err
	}
	if err := report.Print(w); err != nil {
		return err
	}
	if err != nil { // what was read is better than nothing
		fmt.Fprintf(w, "\nThis is not all: %s\n", oneLine(err.Error()))
	}
	return nil
}

// spareShare is how much of one processor work may take that nobody waits for.
// What is not known does not count.
func (t *Telemetry) spareShare() float64 {
	if d, ok := t.sampler.Latest(); ok && (d.CPUShare >= 0.5 || d.QuotaShare >= 0.5 || d.HostBusyShare >= 0.5) {
		return accountBusy
	}
	return accountShare
}

// hasRoom tells whether bytes more can be taken of the memory limit; where only
// the host is one, or none is known, they can.
func (t *Telemetry) hasRoom(bytes float64) bool {
	d, ok := t.sampler.Latest()
	return !ok || d.Headroom.By == "host" || !(d.Headroom.Ratio*d.Headroom.Limit < bytes)
}

// finalRoute is the pattern of a request that is over, as told or as the mux set it.
func (q *request) finalRoute() string {
	if rare := q.rare.Load(); rare != nil {
		if told := rare.route.Load(); told != nil {
			return *told
		}
	}
	return q.r.Pattern
}
