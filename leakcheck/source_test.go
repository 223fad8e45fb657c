package leakcheck

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatchAsksItsSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var (
			open   []Member
			next   uint64
			broken atomic.Bool
			looks  []Look
			got    []Suspect
		)
		config := Config{
			MaxPause: time.Second,
			Looked:   func(l Look) { looks = append(looks, l) },
			Sources: []Source{{Kind: "rows", Open: func() ([]Member, error) {
				if broken.Load() {
					return nil, errors.New("out of order")
				}
				for _, group := range []string{"of orders", "of users"} {
					next++
					open = append(open, Member{
						ID: next, Group: group, Stuck: true, State: "open",
						Site: Frame{Function: "example.com/shop.list", File: "/src/shop.go", Line: 7},
					})
				}
				// Those of the users are closed after two windows.
				open = slices.DeleteFunc(open, func(m Member) bool { return m.Group == "of users" && m.ID < next-4 })
				return open, nil
			}}},
		}
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Minute+time.Second)
		defer cancel()
		go func() {
			time.Sleep(30*time.Minute + time.Second)
			broken.Store(true)
		}()
		if err := Watch(ctx, config, func(s Suspect) { got = append(got, s) }); err != nil {
			t.Fatal(err)
		}
		if len(got) == 0 {
			t.Fatal("no report")
		}
		s := got[0]
		if s.Kind != "rows" || s.Group != "of orders" || s.State != "open" || s.Site.Line != 7 || s.Count < 5 {
			t.Errorf("got %+v", s)
		}
		for _, s := range got {
			if s.Group != "of orders" {
				t.Errorf("reported %+v", s)
			}
		}
		if len(looks) != 40 || looks[39].Windows != 40 {
			t.Fatalf("looked %d times", len(looks))
		}
		if l := looks[20]; len(l.Unknown) != 0 || len(l.Suspects) != 1 || l.Suspects[0].Count < s.Count {
			t.Errorf("in window 20 there were %+v", l)
		}
		if l := looks[39]; len(l.Unknown) != 1 || !strings.Contains(l.Unknown[0].Error(), "kind rows: out of order") {
			t.Errorf("with a source out of order: %+v", l)
		}
	})
}

func TestWatchRefusesSourcesThatCannotWork(t *testing.T) {
	err := Watch(t.Context(), Config{Sources: []Source{{Kind: "rows"}}}, nil)
	if err == nil || !strings.Contains(err.Error(), "Config.Sources[0]: needs Kind and Open") {
		t.Errorf("got %v", err)
	}
}
