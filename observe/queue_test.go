package observe

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestQueueTimeOfEveryProxy(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 500_000_000, time.UTC) // 1795262400.5
	for _, test := range []struct {
		text string
		want time.Duration
		why  string
	}{
		{"t=1795262400.250", 250 * time.Millisecond, ""},    // nginx: "t=${msec}"
		{"1795262400250", 250 * time.Millisecond, ""},       // Heroku
		{"t=1795262400250", 250 * time.Millisecond, ""},     // HAProxy: t=%[date(0,ms)]
		{"t=1795262400250000", 250 * time.Millisecond, ""},  // HAProxy: t=%[date(0,us)]
		{"1795262400250000000", 250 * time.Millisecond, ""}, // nanoseconds
		{"t=1795262400", 500 * time.Millisecond, ""},        // whole seconds
		{" t=1795262400.25 ", 250 * time.Millisecond, ""},   //
		{"t=1795262400.25, t=1795262400.4", 250e6, ""},      // two proxies: the first one's
		{"t=1795262400.5", 0, ""},                           //
		{"t=1795262400.505", 0, ""},                         // within what clocks differ by
		{"t=1795262400.6", 0, "future"},                     //
		{"t=1795262341", 59500 * time.Millisecond, ""},      //
		{"t=1795262340", 0, "old"},                          //
		{"0", 0, "old"},                                     //
		{"t=99999999999999999999999999999999", 0, "future"},
		{"99999999999999999999", 0, "future"},
		{"", 0, "garbage"},
		{"t=", 0, "garbage"},
		{"t=t=1795262400", 0, "garbage"},
		{".", 0, "garbage"},
		{"1.2.3", 0, "garbage"},
		{"-1795262400", 0, "garbage"},
		{"0x1p3", 0, "garbage"},
		{"1e9", 0, "garbage"},
		{"NaN", 0, "garbage"},
		{"Inf", 0, "garbage"},
		{"Sat, 21 Nov 2026 12:00:00 GMT", 0, "garbage"},
		{strings.Repeat("1", 1e6), 0, "garbage"},
	} {
		got, why := queueTime(test.text, now)
		if why != test.why || got < test.want-time.Microsecond || got > test.want+time.Microsecond {
			t.Errorf("%.60q: %v %q, want %v %q", test.text, got, why, test.want, test.why)
		}
	}
}

func FuzzQueueTime(f *testing.F) {
	for _, s := range []string{"t=1795262400.250", "1795262400250", ",", "t=.", "9e9"} {
		f.Add(s)
	}
	now := time.Now()
	f.Fuzz(func(t *testing.T, s string) {
		waited, why := queueTime(s, now)
		if waited < 0 || waited > longestQueue || why != "" && waited != 0 {
			t.Errorf("%q: %v %q", s, waited, why)
		}
	})
}

func TestHandlerMeasuresTheQueueInFront(t *testing.T) {
	tel := start(t, Config{QueueHeader: "x-request-start"})
	h := tel.Handler(itemsMux())
	ask := func(stamp string) {
		r := httptest.NewRequest("GET", "/items/1", nil)
		if stamp != "" {
			r.Header.Set("X-Request-Start", stamp)
		}
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	ms := func(ago time.Duration) string { return "t=" + strconv.FormatInt(time.Now().Add(-ago).UnixMilli(), 10) }
	ask("")
	ask(ms(2 * time.Second))
	ask(ms(3 * time.Second))
	ask(ms(-time.Hour))
	ask(ms(time.Hour))
	ask("soon")
	ask("later")
	got := family(t, tel, "observe_http_server_queue_duration_seconds")[""].GetHistogram()
	if got.GetSampleCount() != 2 || got.GetSampleSum() < 5 || got.GetSampleSum() > 60 {
		t.Errorf("%d requests waited for %v s", got.GetSampleCount(), got.GetSampleSum())
	}
	ignored := family(t, tel, "observe_http_server_queue_ignored_total")
	for reason, want := range map[string]float64{"future": 1, "old": 1, "garbage": 2} {
		if n := ignored["reason="+reason].GetCounter().GetValue(); n != want {
			t.Errorf("%v ignored as %s, want %v", n, reason, want)
		}
	}
	tel.Shutdown(t.Context())

	off := start(t, Config{})
	h = off.Handler(http.NotFoundHandler())
	ask(ms(time.Second))
	if n := len(family(t, off, "observe_http_server_queue_duration_seconds")); n != 0 {
		t.Error("a header is read that was not named")
	}
}
