// Command goker runs one of the Go tree's leaking programs under
// leakcheck.Verify and prints what Verify reports. The programs are added to
// this directory by an overlay; see goker_test.go.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"sync"
	"time"

	"github.com/loadline-go/loadline/leakcheck"
)

// What the programs take from the file that this one stands for.

const yieldCount = 10

var cmds = map[string]func(){}

func register(name string, f func()) { cmds[name] = f }

func registerInit(name string, f func()) {
	if len(os.Args) >= 2 && os.Args[1] == name {
		f()
	}
}

// A profile stands for the goroutineleak profile that the programs write
// when their leaks are in place.
type profile struct{}

func leakProfile(func(string) *pprof.Profile) profile { return profile{} }

func (profile) WriteTo(w io.Writer, _ int) error {
	if w == os.Stdout && os.Args[1] == "SelectNoCasesMain" {
		t.check() // the program exits after this
	}
	return nil
}

type test struct {
	name     string
	cleanups []func()
	once     sync.Once
}

var t test

func (t *test) Helper()                           {}
func (t *test) Name() string                      { return t.name }
func (t *test) Setenv(string, string)             {} // nothing runs beside it
func (t *test) Cleanup(f func())                  { t.cleanups = append(t.cleanups, f) }
func (t *test) Errorf(format string, args ...any) { fmt.Printf("\n"+format+"\n", args...) }
func (t *test) check() {
	t.once.Do(func() {
		// The runtime's opinion, to compare with. It is asked first: what is
		// proven is there for ever, so Verify must see it afterwards, while what
		// the program does meanwhile could be proven after Verify looked.
		var proof bytes.Buffer
		p := pprof.Lookup("goroutineleak")
		if p != nil {
			p.WriteTo(&proof, 2)
		}
		for _, f := range t.cleanups {
			f()
		}
		if p != nil {
			fmt.Print("\nPROVEN\n\n", proof.String())
		}
	})
}

func main() {
	t.name = "Test" + os.Args[1]
	leakcheck.Config{Patience: 100 * time.Millisecond}.Verify(&t)
	cmds[os.Args[1]]()
	t.check()
	os.Exit(0)
}
