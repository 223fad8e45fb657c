//go:build !race

package observe

import (
	"database/sql"
	"reflect"
)

// peek reads two numbers that database/sql keeps to itself: the goroutines that
// wait for a connection, and the idle connections that a pool may keep. Each
// is a word that is read without the pool's lock, so the value is one that was
// there. Where a later database/sql keeps them elsewhere they are not known;
// until golang/go gives them in DBStats. The race detector cannot know that
// this is harmless, so a program built with it goes without.
type peek struct {
	requests, maxIdle reflect.Value
}

func peekAt(db *sql.DB) (p peek) {
	v := reflect.ValueOf(db).Elem()
	if set := v.FieldByName("connRequests"); set.Kind() == reflect.Struct && set.NumField() > 0 && set.Field(0).Kind() == reflect.Slice {
		p.requests = set.Field(0)
	}
	if n := v.FieldByName("maxIdleCount"); n.Kind() == reflect.Int {
		p.maxIdle = n
	}
	return p
}

// pending returns how many goroutines wait for a connection, and whether that is known.
func (p *peek) pending() (n int64, known bool) {
	if !p.requests.IsValid() {
		return 0, false
	}
	return int64(p.requests.Len()), true
}

// idleMax returns how many idle connections the pool keeps, and whether that is known.
func (p *peek) idleMax() (n int, known bool) {
	if !p.maxIdle.IsValid() {
		return 0, false
	}
	switch n := int(p.maxIdle.Int()); {
	case n > 0:
		return n, true
	case n == 0:
		return 2, true // database/sql's default
	}
	return 0, true
}
