package leakcheck

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestVerifyWaitsInTheTimeOfItsBubble(t *testing.T) {
	begin := time.Now()
	synctest.Test(t, func(t *testing.T) {
		Verify(t) // the real thing: the goroutine below needs a second of the bubble's time
		go time.Sleep(time.Second)
	})
	if d := time.Since(begin); d > time.Second {
		t.Errorf("took %v", d)
	}
}

func TestVerifyFindsLeaksInABubble(t *testing.T) {
	Verify(t)
	for _, tt := range []struct {
		name string
		leak func() (end func())
		want []string
	}{
		{"durably blocked", func() func() {
			c := make(chan bool)
			go block(c)
			return func() { close(c) }
		}, []string{"left a goroutine behind [chan receive]", "leakcheck.block"}},
		{"asleep for long", func() func() {
			go time.Sleep(time.Hour)
			return func() { time.Sleep(2 * time.Hour) }
		}, []string{"left a goroutine behind [sleep]"}},
		{"blocked on a mutex, which no bubble can wait for", func() func() {
			var mu sync.Mutex
			mu.Lock()
			go mu.Lock()
			return mu.Unlock
		}, []string{"left a goroutine behind [sync.Mutex.Lock]"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var end func()
				got := run(Config{}, t.Name()+"/fake", func(*fakeT) { end = tt.leak() })
				end()
				wantOne(t, got, tt.want...)
			})
		})
	}
}

func TestVerifyOutsideABubbleSeesItEnd(t *testing.T) {
	wantNone(t, run(Config{}, t.Name()+"/fake", func(*fakeT) {
		synctest.Test(t, func(*testing.T) {
			c := make(chan bool)
			go block(c)
			synctest.Wait()
			close(c)
		})
	}))
}

func TestVerifyInABubbleDoesNotBlameItForOthers(t *testing.T) {
	c := make(chan bool)
	defer close(c)
	started := make(chan bool)
	go func() {
		<-started
		for range 3 {
			go block(c)
		}
		started <- true
	}()
	synctest.Test(t, func(t *testing.T) {
		wantNone(t, run(Config{}, t.Name()+"/fake", func(*fakeT) {
			started <- true
			<-started
		}))
	})
}
