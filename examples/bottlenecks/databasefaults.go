package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/loadline-go/loadline/observe"
)

// What goes wrong between the service and its database.
var databasePrograms = []program{
	{
		name:     "pool-exhausted",
		what:     "An export sits on seven of the pool's eight connections, and all queries go through the last one.",
		seen:     "database/sql counts waits; the database itself is idle and each query quick",
		causes:   []string{"pool-exhausted"},
		subjects: []string{"orders"},
		service: func(s *service, f *fault) {
			var held []*sql.Conn
			stop := make(chan struct{})
			var running sync.WaitGroup
			f.begin = func() {
				stop = make(chan struct{})
				for range 7 {
					if c, err := s.db.Conn(context.Background()); err == nil {
						held = append(held, c)
						f.did.Add(1)
					}
				}
				running.Go(func() {
					s.tel.Run(context.Background(), observe.Job{Name: "export"}, func(context.Context) error {
						<-stop
						return nil
					})
				})
			}
			f.end = func() {
				close(stop)
				running.Wait()
				for _, c := range held {
					c.Close()
				}
				held = nil
			}
		},
		world: func(w *world) (begin, end func()) {
			// At any time queries take nine tenths of a connection.
			for name, ms := range map[string]int{"customers": 5, "orders": 5, "goods": 32, "invoices": 36} {
				w.db.tables[name] = table{time.Duration(ms) * time.Millisecond, w.db.tables[name].rows}
			}
			return nil, nil
		},
	},
	{
		name:     "connection-leak",
		what:     "A route does not always close its rows, and each time the pool has a connection less.",
		seen:     "the pool is full, but nothing runs in the database; connections in use only grow until all requests wait",
		causes:   []string{"connection-leak", "pool-exhausted"},
		subjects: []string{"orders", "/search"},
		service: func(s *service, f *fault) {
			var mu sync.Mutex
			var left []*sql.Rows
			s.on("/search", func(_ http.ResponseWriter, r *http.Request) error {
				if !f.ill.Load() {
					return nil
				}
				// Not of the request, whose end would close the rows.
				rows, err := s.db.QueryContext(context.WithoutCancel(r.Context()), "SELECT id, name FROM goods WHERE id = 7")
				if err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				if f.ill.Load() {
					f.did.Add(1)
					left = append(left, rows)
					return nil
				}
				return rows.Close()
			})
			f.end = func() {
				mu.Lock()
				defer mu.Unlock()
				for _, rows := range left {
					rows.Close()
				}
				left = nil
			}
		},
	},
	{
		name:     "database-slow",
		what:     "The database takes 25 times longer for everything.",
		seen:     "every query of every route is slow, nobody waits for a connection",
		causes:   []string{"database-slow"},
		subjects: []string{"orders"},
		world: func(w *world) (begin, end func()) {
			return func() { w.db.slower.Store(25) }, func() { w.db.slower.Store(1) }
		},
	},
	{
		name:     "slow-query",
		what:     "One query lost its index; the others are as quick as ever.",
		seen:     "SELECT invoices takes 400 ms, only /report is slow",
		causes:   []string{"slow-query"},
		subjects: []string{"/report", "invoices"},
		world: func(w *world) (begin, end func()) {
			return func() { w.db.slowest.Store(&slowTable{"invoices", 400 * time.Millisecond}) },
				func() { w.db.slowest.Store(nil) }
		},
	},
	{
		name:     "n-plus-one",
		what:     "A route asks for its items one by one, sixty quick queries for each order.",
		seen:     "queries a request went from 2 to 62, each as quick as before",
		causes:   []string{"n-plus-one"},
		subjects: []string{"/orders", "items"},
		service: func(s *service, f *fault) {
			s.on("/orders", func(_ http.ResponseWriter, r *http.Request) error {
				if !f.sick() {
					return nil
				}
				for i := range 60 {
					if err := s.query(r.Context(), fmt.Sprint("SELECT id, name FROM items WHERE id = ", i)); err != nil {
						return err
					}
				}
				return nil
			})
		},
	},
}
