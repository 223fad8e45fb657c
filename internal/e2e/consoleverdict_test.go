package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/loadline-go/loadline/internal/e2e/server"
)

// diagnosis is what /debug/doctor says, and what the page was told.
type diagnosis struct {
	Time, Verdict, Headline string
	Findings                []struct{ Cause, Subject, Summary, Next string }
}

// A person looks at a service that is ill: the first line of the page says what
// the doctor says, and whom it concerns; the route view and the tables lead there.
func TestConsoleNamesTheIllness(t *testing.T) {
	lanes(t, func(t *testing.T, _ server.Lane) {
		ctx := server.StartChromium(t)
		// Together those whose services have nearly nothing to compute.
		for _, ill := range [][]struct{ program, cause, subject string }{
			{{"dependency-slow", "dependency-slow", "stock.internal"}, {"pool-exhausted", "pool-exhausted", "orders"}},
			{{"lock-convoy", "lock-contention", "ledger"}},
		} {
			started := map[string]*patient{}
			for _, i := range ill {
				started[i.program] = startBottleneck(t, i.program)
			}
			for _, i := range ill {
				p := started[i.program]
				b := &browser{t: t, ctx: ctx, base: p.admin(t)}
				b.listen()
				b.open("#/requests", "table.routes tbody a")
				b.diagnosed(p, i.cause, i.subject)
				for _, theme := range []string{"light", "dark"} {
					b.theme(theme)
					b.shot(i.program + "-" + theme)
				}
				b.quiet()
				p.Stop()
			}
		}
	}, server.Quick)
}

// patient is a running program of examples/bottlenecks.
type patient struct {
	*server.Process
	base string
}

func startBottleneck(t *testing.T, program string) *patient {
	t.Helper()
	return &patient{Process: server.Start(t, server.Command{
		Name: program, Path: build(t, "examples/bottlenecks"), Env: []string{"TMPDIR=" + t.TempDir()}, Grace: 30 * time.Second,
		Args:  []string{"-run", program, "-interval", "2s", "-before", "3", "-during", "90", "-after", "0"},
		Ready: func(*server.Process) error { return nil }, // it says where it is after the first interval
	})}
}

var adminSaid = regexp.MustCompile(`(?m)^admin (http://[^/]+)/$`)

// admin is where its pages are.
func (p *patient) admin(t *testing.T) string {
	t.Helper()
	server.Eventually(t, time.Minute, func() error {
		said := adminSaid.FindStringSubmatch(p.Log())
		if said == nil {
			return errors.New("it does not say where it is")
		}
		p.base = said[1]
		return nil
	})
	return p.base
}

// diagnosed waits until the top of the page names the cause and whom it
// concerns, and checks that all it says there is what the doctor says.
func (b *browser) diagnosed(p *patient, cause, subject string) {
	b.t.Helper()
	began := time.Now()
	said := map[string]diagnosis{} // by time: the page is some seconds behind
	server.Eventually(b.t, 2*time.Minute, func() error {
		var d diagnosis
		if err := json.Unmarshal([]byte(fetch(b.t, p.base+"/debug/doctor", "application/json")), &d); err != nil {
			b.t.Fatal(err)
		}
		said[d.Time] = d
		page := eval[struct {
			Time, Heading, Proof, Next, Rest string
		}](b, `import("/debug/console/app.js").then(({data}) => {
			const box = document.getElementById("verdict"), text = s => box.querySelector(s)?.textContent ?? ""
			return {Time: data.report?.time ?? "", Heading: text("h1"), Proof: text("ul"), Next: text(".next code"), Rest: [...box.querySelectorAll(".finding h3")].map(e => e.textContent).join("\n")}
		})`, chromedp.EvalAwaitPromise)
		doctor, ok := said[page.Time]
		if !ok || len(doctor.Findings) == 0 {
			return fmt.Errorf("the page has the diagnosis of %q, %q", page.Time, page.Heading)
		}
		first := doctor.Findings[0]
		if page.Heading != doctor.Verdict+": "+first.Summary {
			return fmt.Errorf("the page says %q, the doctor %q", page.Heading, doctor.Headline)
		}
		if first.Next != "" && page.Next != first.Next {
			b.t.Errorf("next is %q on the page, the doctor says %q", page.Next, first.Next)
		}
		for _, f := range doctor.Findings[1:] {
			if !strings.Contains(page.Rest, f.Summary) {
				b.t.Errorf("the page does not say %q, but %q", f.Summary, page.Rest)
			}
		}
		// Where the machine is busy with other things that may be found, too, and stand first.
		at := slices.IndexFunc(doctor.Findings, func(f struct{ Cause, Subject, Summary, Next string }) bool {
			return f.Cause == cause && strings.Contains(f.Subject, subject)
		})
		if at < 0 || !strings.Contains(page.Heading+page.Rest, subject) || at == 0 && page.Proof == "" {
			return fmt.Errorf("%s of %s is not found, but %q, %q", cause, subject, page.Heading, page.Rest)
		}
		b.t.Logf("after %v finding %d: %s, %s; proof: %s; next: %s", time.Since(began).Round(time.Second), at+1, doctor.Headline, page.Rest, page.Proof, page.Next)
		return nil
	})
}
