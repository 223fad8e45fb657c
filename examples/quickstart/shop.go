package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/loadline-go/loadline/observe"
	"github.com/loadline-go/loadline/tracing"
)

// A shop sells products, charges them at a payment provider and adds up the day.
type shop struct {
	db      *sql.DB
	pay     string // base URL of the payment provider
	client  *http.Client
	orders  *observe.Counter[byMethod]
	revenue *observe.Histogram[byMethod]
	leak    bool
}

// byMethod is the label of the business metrics.
type byMethod struct{ PaymentMethod string }

var methods = []string{"card", "transfer", "voucher"}

func newShop(tel *observe.Telemetry, db *sql.DB, pay string) *shop {
	return &shop{
		db:      db,
		pay:     strings.TrimSuffix(pay, "/"),
		client:  &http.Client{Transport: tel.Transport(nil), Timeout: 5 * time.Second},
		orders:  observe.NewCounter[byMethod](tel, observe.Metric{Name: "shop_orders_total", Help: "Orders paid."}),
		revenue: observe.NewHistogram[byMethod](tel, observe.Metric{Name: "shop_order_euros", Help: "Value of an order.", Unit: "euros", Buckets: []float64{10, 20, 50, 100, 200}}),
	}
}

func (s *shop) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /products/{id}", s.product)
	mux.HandleFunc("POST /orders", s.order)
	mux.HandleFunc("GET /reports/daily", s.report)
	mux.Handle("POST /charges", &provider{}) // so that another quickstart can pay here
	return mux
}

// product shows one product, in 20 to 60 ms.
func (s *shop) product(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		http.Error(w, "the product's id is not a number", http.StatusBadRequest)
		return
	}
	pause(ctx, 20*time.Millisecond, 60*time.Millisecond)
	var p struct {
		Name  string `json:"name"`
		Cents int    `json:"cents"`
	}
	err = s.db.QueryRowContext(ctx, "SELECT name, cents FROM products WHERE id = ?", id).Scan(&p.Name, &p.Cents)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		http.Error(w, "no such product", http.StatusNotFound)
	case err != nil:
		fail(ctx, w, "product", err)
	default:
		answer(w, p)
	}
}

// order charges the customer and keeps the order; the provider makes the time
// it takes and the errors it has.
func (s *shop) order(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	var o struct {
		Product int    `json:"product"`
		Method  string `json:"method"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<10)).Decode(&o); err != nil || !slices.Contains(methods, o.Method) {
		http.Error(w, "want a product and a payment method", http.StatusBadRequest)
		return
	}
	var cents int
	err := s.db.QueryRowContext(ctx, "SELECT cents FROM products WHERE id = ?", o.Product).Scan(&cents)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		http.Error(w, "no such product", http.StatusNotFound)
		return
	case err != nil:
		fail(ctx, w, "order", err)
		return
	}
	if err := s.charge(ctx, o.Method, cents); err != nil {
		slog.WarnContext(ctx, "payment failed", "method", o.Method, "err", err)
		http.Error(w, "the payment failed", http.StatusBadGateway)
		return
	}
	if _, err := s.db.ExecContext(ctx, "INSERT INTO orders (product, method, cents) VALUES (?, ?, ?)", o.Product, o.Method, cents); err != nil {
		fail(ctx, w, "order", err)
		return
	}
	labels := byMethod{o.Method}
	s.orders.Add(ctx, labels, 1)
	s.revenue.Observe(ctx, labels, float64(cents)/100)
	slog.InfoContext(ctx, "order paid", "product", o.Product, "method", o.Method, "cents", cents)
	if s.leak {
		s.confirm(ctx)
	}
	w.WriteHeader(http.StatusCreated)
}

// confirm sends the customer a mail and waits for it, but not for long. The
// mistake is in the channel: with room for one result, mail could send it and
// end when nobody waits any more.
func (s *shop) confirm(ctx context.Context) {
	sent := make(chan error)
	go mail(sent)
	select {
	case err := <-sent:
		slog.InfoContext(ctx, "mail sent", "err", err)
	case <-time.After(time.Millisecond):
		slog.InfoContext(ctx, "the mail takes long")
	}
}

func mail(sent chan<- error) {
	time.Sleep(20 * time.Millisecond) // the mail server
	sent <- nil
}

func (s *shop) charge(ctx context.Context, method string, cents int) error {
	body, err := json.Marshal(map[string]any{"method": method, "cents": cents})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.pay+"/charges", bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("payment provider: %s", resp.Status)
	}
	return nil
}

// report is the slow route: 250 to 450 ms, nearly all of it in one step.
func (s *shop) report(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	totals := map[string]int{}
	err := tracing.Do(ctx, "add up", func(ctx context.Context) error { return s.totals(ctx, totals) })
	if err == nil {
		err = tracing.Do(ctx, "draw", func(ctx context.Context) error {
			return pause(ctx, 250*time.Millisecond, 450*time.Millisecond)
		})
	}
	if err != nil {
		fail(ctx, w, "report", err)
		return
	}
	answer(w, totals)
}

func (s *shop) totals(ctx context.Context, totals map[string]int) error {
	rows, err := s.db.QueryContext(ctx, `SELECT method, sum(cents) FROM (SELECT * FROM orders ORDER BY id DESC LIMIT 1000) GROUP BY method`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var method string
		var cents int
		if err := rows.Scan(&method, &cents); err != nil {
			return err
		}
		totals[method] = cents
	}
	return rows.Err()
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) // fails only when the client is gone
}

func fail(ctx context.Context, w http.ResponseWriter, what string, err error) {
	if ctx.Err() == nil { // else the client is gone
		slog.ErrorContext(ctx, what+" failed", "err", err)
	}
	http.Error(w, "internal error", http.StatusInternalServerError)
}

// pause stands for work: evenly between least and most, so that quantiles are
// stable from a few hundred requests on.
func pause(ctx context.Context, least, most time.Duration) error {
	timer := time.NewTimer(least + rand.N(most-least))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
