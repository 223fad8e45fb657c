package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/loadline-go/loadline/observe"
)

// web answers customers.
type web struct {
	store     *store
	providers *providers
	products  *cache
	business  *business
}

var methods = []string{"card", "transfer", "voucher"}

func newWeb(tel *observe.Telemetry, store *store, providers *providers) *web {
	return &web{store: store, providers: providers, products: newCache(tel, 10*time.Second, store.product), business: newBusiness(tel)}
}

func (s *web) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /products/{id}", s.product)
	mux.HandleFunc("POST /orders", s.order)
	mux.HandleFunc("GET /orders/{id}", s.state)
	return s.seen(mux)
}

// seen counts who is here: the customer's name comes from where a session would.
func (s *web) seen(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if customer := r.Header.Get("X-Customer"); customer != "" {
			s.business.users.Seen(customer)
		}
		next.ServeHTTP(w, r)
	})
}

// product shows one product.
func (s *web) product(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		http.Error(w, "the product's ID is not a number", http.StatusBadRequest)
		return
	}
	p, err := s.products.get(r.Context(), id)
	if err != nil {
		fail(r.Context(), w, "product", err)
		return
	}
	answer(w, http.StatusOK, p)
}

// order takes an order: it is kept, paid, and kept as paid together with the
// task to confirm it.
func (s *web) order(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	var body struct {
		Product int    `json:"product"`
		Method  string `json:"method"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<10)).Decode(&body); err != nil || !slices.Contains(methods, body.Method) {
		http.Error(w, "want a product and a payment method", http.StatusBadRequest)
		return
	}
	p, err := s.products.get(ctx, body.Product)
	if err != nil {
		fail(ctx, w, "product", err)
		return
	}
	o := order{customer: r.Header.Get("X-Customer"), product: body.Product, method: body.Method, cents: p.Cents}
	if err := s.store.place(ctx, &o); err != nil {
		fail(ctx, w, "order", err)
		return
	}
	// From here on money moves: a customer who goes away does not stop that.
	ctx = context.WithoutCancel(ctx)
	switch err := s.providers.charge(ctx, o); {
	case errors.Is(err, errDeclined):
		s.business.ordered(ctx, o, "declined")
		if err := s.store.declined(ctx, o.id); err != nil {
			fail(ctx, w, "order", err)
			return
		}
		answer(w, http.StatusPaymentRequired, map[string]string{"order": o.id, "state": "declined"})
	case err != nil: // it may have been paid or not: the order stays pending
		s.business.ordered(ctx, o, "failed")
		slog.WarnContext(ctx, "payment failed", "order", o.id, "method", o.method, "err", err)
		http.Error(w, "the payment failed", http.StatusBadGateway)
	default:
		if err := s.store.paid(ctx, o.id); err != nil {
			fail(ctx, w, "order", err)
			return
		}
		s.business.ordered(ctx, o, "paid")
		slog.InfoContext(ctx, "order paid", "order", o.id, "method", o.method, "cents", o.cents)
		answer(w, http.StatusCreated, map[string]string{"order": o.id, "state": "paid"})
	}
}

// state tells what became of an order.
func (s *web) state(w http.ResponseWriter, r *http.Request) {
	state, err := s.store.state(r.Context(), r.PathValue("id"))
	if err != nil {
		fail(r.Context(), w, "state", err)
		return
	}
	answer(w, http.StatusOK, map[string]string{"state": state})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) // fails only when the client is gone
}

// fail answers for an error of the store.
func fail(ctx context.Context, w http.ResponseWriter, what string, err error) {
	if errors.Is(err, sql.ErrNoRows) {
		http.Error(w, "there is none", http.StatusNotFound)
		return
	}
	if ctx.Err() == nil { // else the client is gone
		slog.ErrorContext(ctx, what+" failed", "err", err)
	}
	http.Error(w, "internal error", http.StatusInternalServerError)
}
