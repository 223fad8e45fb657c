package observe

import (
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestQuantilesOfTheTableAreWithinFivePercent(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	h := newHistograms(histogramTest, requestSeconds, secondsScale).with("x")
	var values []float64
	for i := range 10_000 {
		v := math.Exp(random.NormFloat64() - 4)
		values = append(values, v)
		h.observe(v, processor(i))
	}
	slices.Sort(values)
	counts := make([]uint64, 1+(secondsScale.high-secondsScale.low)*perOctave)
	n, _ := h.addTo(counts, nil)
	if n != 10_000 {
		t.Errorf("%d counted", n)
	}
	for _, q := range []float64{.01, .5, .95, .99, 1} {
		want := values[int(math.Ceil(q*float64(len(values))))-1]
		if got := secondsScale.quantile(counts, q).Seconds(); math.Abs(got/want-1) > .05 {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
	if got := secondsScale.quantile(make([]uint64, len(counts)), .5); got != 0 {
		t.Errorf("quantile of nothing: %v", got)
	}
}

func TestIndexShowsRoutesAndTheProgramsMetrics(t *testing.T) {
	tel := start(t, Config{})
	NewCounter[struct{}](tel, Metric{Name: "shop_orders_total", Help: "Orders that were placed."})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) { time.Sleep(5 * time.Millisecond) })
	mux.HandleFunc("GET /bad", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) })
	h := tel.Handler(mux)
	do(h, "GET", "/bad")
	do(h, "GET", "/slow")
	body := fromLocal(tel.Admin(), "/").Body.String()
	slow, bad := strings.Index(body, "GET /slow"), strings.Index(body, "GET /bad")
	if slow < 0 || bad < slow {
		t.Errorf("GET /slow at %d, GET /bad at %d: want the one that takes most time first", slow, bad)
	}
	for _, want := range []string{"100.0 %", "shop_orders_total", "Orders that were placed."} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q on the page", want)
		}
	}
}
