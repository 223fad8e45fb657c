package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/loadline-go/loadline/observe"
)

// providers are the payment and the mail provider, as the shop calls them.
type providers struct {
	base   string
	client *http.Client
	close  func()
}

// openProviders calls those at base, or else pretends to be somebody else's on
// a loopback port, and not observed: there is no looking into them.
func openProviders(tel *observe.Telemetry, base string) (*providers, error) {
	p := &providers{base: strings.TrimSuffix(base, "/"), client: &http.Client{Transport: tel.Transport(nil), Timeout: 5 * time.Second}, close: func() {}}
	if base != "" {
		return p, nil
	}
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		return nil, fmt.Errorf("providers: %w", err)
	}
	srv := &http.Server{Handler: (&pretended{}).routes(), ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan struct{})
	go func() { srv.Serve(l); close(ended) }()
	p.base = "http://" + l.Addr().String()
	p.close = func() {
		p.client.CloseIdleConnections()
		srv.Close()
		<-ended
	}
	return p, nil
}

var errDeclined = errors.New("the payment was declined")

// charge returns errDeclined when the customer's bank says no.
func (p *providers) charge(ctx context.Context, o order) error {
	ctx = observe.WithTemplate(ctx, "/charges")
	status, err := p.send(ctx, http.MethodPost, "/charges", map[string]any{"order": o.id, "method": o.method, "cents": o.cents})
	switch {
	case err != nil:
		return fmt.Errorf("payment: %w", err)
	case status == http.StatusPaymentRequired:
		return errDeclined
	case status != http.StatusCreated:
		return fmt.Errorf("payment: %d %s", status, http.StatusText(status))
	}
	return nil
}

// mail sends the confirmation of an order. The order's ID makes it safe to try
// again, and has no place in a metric: the template stands there.
func (p *providers) mail(ctx context.Context, order string) error {
	ctx = observe.WithTemplate(ctx, "/mails/{order}")
	status, err := p.send(ctx, http.MethodPut, "/mails/"+order, map[string]any{"text": "Thank you!"})
	switch {
	case err != nil:
		return fmt.Errorf("mail: %w", err)
	case status != http.StatusAccepted:
		return fmt.Errorf("mail: %d %s", status, http.StatusText(status))
	}
	return nil
}

func (p *providers) send(ctx context.Context, method, path string, v any) (status int, err error) {
	body, err := json.Marshal(v)
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, method, p.base+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body) // or the connection is not used again
	return resp.StatusCode, nil
}

// pretended takes payments in 20 to 60 ms and mails in 5 to 15, as providers
// do: every 25th payment is declined, every 100th and every 20th mail fails.
type pretended struct{ charges, mails atomic.Int64 }

func (p *pretended) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /charges", func(w http.ResponseWriter, r *http.Request) {
		pause(r.Context(), 20*time.Millisecond, 60*time.Millisecond)
		switch n := p.charges.Add(1); {
		case n%100 == 0:
			http.Error(w, "the bank does not answer", http.StatusBadGateway)
		case n%25 == 0:
			http.Error(w, "insufficient funds", http.StatusPaymentRequired)
		default:
			w.WriteHeader(http.StatusCreated)
		}
	})
	mux.HandleFunc("PUT /mails/{order}", func(w http.ResponseWriter, r *http.Request) {
		pause(r.Context(), 5*time.Millisecond, 15*time.Millisecond)
		if p.mails.Add(1)%20 == 0 {
			http.Error(w, "try again later", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	})
	return mux
}

// pause stands for work, and ends early with ctx.
func pause(ctx context.Context, least, most time.Duration) {
	timer := time.NewTimer(least + rand.N(most-least))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
