package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/loadline-go/loadline/internal/e2e/server"
)

// The table says in what a slow route spends its time; from a failed trace it is a
// look to what was logged in it, and from a capture a click to the flame graph of
// its CPU profile: what somebody does who asks why.
func TestConsoleLeadsToTheCause(t *testing.T) {
	lanes(t, func(t *testing.T, _ server.Lane) {
		ctx := server.StartChromium(t)
		q := startQuickstart(t, nil, "-rate", "60") // one order in fifty fails, and is logged
		b := &browser{t: t, ctx: ctx, base: q.admin}
		b.listen()

		b.open("#/requests/POST%20%2Forders", ".trace .logs code")
		record := eval[string](b, `document.querySelector(".trace .logs").textContent`)
		if !strings.Contains(record, "WARN") || !strings.Contains(record, "payment failed") || !strings.Contains(record, "502 Bad Gateway") {
			t.Errorf("below the failed trace stands %q", record)
		}
		if text := fetch(t, q.admin+"/debug/traces?route=POST%20/orders", ""); !strings.Contains(text, "payment failed") {
			t.Errorf("as text: %s", text)
		}

		b.open("#/requests", "table.routes tbody tr:nth-child(3) a")
		server.Eventually(t, time.Minute, func() error { // the first diagnosis
			rows := eval[[]string](b, `[...document.querySelectorAll("table.routes tbody tr")].map(tr => tr.textContent)`)
			for _, row := range rows {
				if strings.HasPrefix(row, "GET /reports/daily") && strings.Contains(row, "(in draw)") {
					return nil
				}
			}
			return fmt.Errorf("the slow route is not told why: %q", rows)
		})

		server.Eventually(t, time.Minute, func() error { // a slow request may have another one made
			r, err := http.Post(q.admin+"/debug/captures", "application/x-www-form-urlencoded", strings.NewReader("reason=%3Cb%3Ewhy%3C/b%3E"))
			if err != nil {
				return err
			}
			r.Body.Close()
			if r.StatusCode != http.StatusCreated {
				return errors.New(r.Status)
			}
			return nil
		})
		b.open("#/captures", `#view a[href*="cpu.pprof"]`)
		if why := eval[string](b, `[...document.querySelectorAll("td.reason")].map(td => td.textContent).join("\n")`); !strings.Contains(why, "<b>why</b>") {
			t.Errorf("the reason is not among %q", why)
		}
		link := eval[string](b, `document.querySelector('#view a[href*="cpu.pprof"]').href`)
		b.do("the capture's CPU profile", chromedp.Navigate(link), chromedp.WaitReady(chromedp.CSS("#flame .f")))
		if state := eval[string](b, `document.getElementById("state").textContent`); !strings.Contains(state, "of cpu in") {
			t.Errorf("the flame graph says %q", state)
		}
		// One that is gone is not another in its place.
		b.do("a capture that is gone", chromedp.Navigate("about:blank"),
			chromedp.Navigate(q.admin+"/debug/pprof/ui?profile=capture%3A..%2F..%2Fnone%2Fcpu.pprof"), chromedp.WaitVisible(chromedp.CSS("#state.wrong")))
		if n := eval[int](b, `document.querySelectorAll("#flame .f").length`); n != 0 {
			t.Errorf("%d frames of another profile", n)
		}
		b.quiet()
	}, server.Quick)
}
