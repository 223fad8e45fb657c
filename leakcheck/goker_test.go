package leakcheck

import (
	"context"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var gokerRuns = flag.Int("goker", 1, "how many times a program whose leak depends on luck is run at most")

// A leakyProgram is one that the runtime's own test of the goroutineleak
// profile runs, with that test's expectations.
type leakyProgram struct {
	name string
	dir  string
	// lucky programs leak in some of their runs only.
	lucky bool
	leaks []*regexp.Regexp // "outermost function( [state]"
}

// leakyPrograms reads the table out of the runtime's test.
func leakyPrograms(t *testing.T, goroot string) (all []leakyProgram) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(goroot, "src/runtime/goroutineleakprofile_test.go"), nil, 0)
	if err != nil {
		t.Skipf("this Go tree has no test of the profile: %v", err)
	}
	dir := ""
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if id, ok := n.Lhs[0].(*ast.Ident); ok {
				switch id.Name {
				case "microTests", "stressTestCases", "patternTestCases":
					dir = "."
				case "gokerTestCases":
					dir = "goker"
				}
			}
		case *ast.CallExpr:
			id, ok := n.Fun.(*ast.Ident)
			if !ok || dir == "" || id.Name != "makeTest" && id.Name != "makeFlakyTest" {
				break
			}
			p := leakyProgram{dir: dir, lucky: id.Name == "makeFlakyTest"}
			for i, arg := range n.Args {
				lit, ok := arg.(*ast.BasicLit)
				if !ok {
					continue
				}
				s, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				if i == 0 {
					p.name = s
				} else {
					p.leaks = append(p.leaks, regexp.MustCompile(s))
				}
			}
			// Without leaks the program is there for what the profile must
			// not prove: its goroutines can still be woken. They are left
			// behind all the same.
			if len(p.leaks) > 0 {
				all = append(all, p)
			}
		}
		return true
	})
	if len(all) < 60 {
		t.Fatalf("found only %d programs in the runtime's test", len(all))
	}
	return all
}

// buildLeaky builds the programs of one directory of GOROOT together with
// testdata/goker. They stay where they are: an overlay shows the compiler
// copies in which the profile is ours.
func buildLeaky(t *testing.T, goroot, dir string) (exe string) {
	t.Helper()
	tmp := t.TempDir()
	paths, err := filepath.Glob(filepath.Join(goroot, "src/runtime/testdata/testgoroutineleakprofile", dir, "*.go"))
	if err != nil || len(paths) == 0 {
		t.Skipf("this Go tree has no leaking programs: %v", err)
	}
	here, err := filepath.Abs("testdata/goker")
	if err != nil {
		t.Fatal(err)
	}
	replace := map[string]string{}
	for _, path := range paths {
		name := filepath.Base(path)
		if name == "main.go" {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.ReplaceAll(string(text), `pprof.Lookup("goroutineleak")`, `leakProfile(pprof.Lookup)`)
		if err := os.WriteFile(filepath.Join(tmp, name), []byte(changed), 0o666); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(here, name)] = filepath.Join(tmp, name)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tmp, "overlay.json"), overlay, 0o666); err != nil {
		t.Fatal(err)
	}
	exe = filepath.Join(tmp, "leaky")
	cmd := exec.Command("go", "build", "-overlay", filepath.Join(tmp, "overlay.json"), "-o", exe, "./testdata/goker")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	return exe
}

// readReports returns "outermost function() [state]" for each group that
// Verify reported.
func readReports(out string) (all []string) {
	for _, report := range strings.Split(out, "leakcheck: ")[1:] {
		_, rest, _ := strings.Cut(report, " behind [")
		state, rest, _ := strings.Cut(rest, "]")
		outermost := ""
		_, stack, _ := strings.Cut(rest, "\n\tstack\n")
		for line := range strings.Lines(stack) {
			if fn, ok := strings.CutPrefix(line, "\t  "); ok && !strings.HasPrefix(fn, "    ") {
				outermost = strings.TrimSpace(fn)
			} else if !ok {
				break
			}
		}
		all = append(all, strings.TrimPrefix(outermost, "main.")+"() ["+state+"]")
	}
	return all
}

// Verify finds what the runtime's own test expects of its profile, and all
// that the profile proves in the same run.
func TestVerifyFindsTheLeaksOfTheGoTree(t *testing.T) {
	Verify(t)
	if testing.Short() {
		t.Skip("builds and runs some 70 programs")
	}
	goroot := strings.TrimSpace(output(t, "go", "env", "GOROOT"))
	programs := leakyPrograms(t, goroot)
	exes := map[string]string{}
	for _, dir := range []string{".", "goker"} {
		exes[dir] = buildLeaky(t, goroot, dir)
	}
	var found, certain, lucky, luckyFound atomic.Int64
	t.Run("programs", func(t *testing.T) {
		// They sleep most of the time, so more run at once than there are CPUs.
		slots := make(chan bool, 8*runtime.GOMAXPROCS(0))
		var all sync.WaitGroup
		defer all.Wait()
		for _, p := range programs {
			slots <- true
			all.Go(func() {
				defer func() { <-slots }()
				runs := 1
				if p.lucky {
					runs = *gokerRuns
					lucky.Add(1)
				} else {
					certain.Add(1)
					runs = max(3, runs) // as the runtime's test
				}
				seen := map[*regexp.Regexp]bool{}
				for range runs {
					out := p.run(t, exes[p.dir])
					reported, proven, _ := strings.Cut(out, "\nPROVEN\n")
					reports := readReports(reported)
					for _, re := range p.leaks {
						if slices.ContainsFunc(reports, re.MatchString) {
							seen[re] = true
						}
					}
					if missed := unreported(t, proven, reports); len(missed) > 0 {
						t.Errorf("%s: the runtime proved %q, Verify reported %q:\n%s", p.name, missed, reports, out)
					}
					if p.lucky && len(seen) > 0 || len(seen) == len(p.leaks) {
						break
					}
				}
				switch {
				case p.lucky && len(seen) > 0:
					luckyFound.Add(1)
				case p.lucky:
				case len(seen) == len(p.leaks):
					found.Add(1)
				case pprof.Lookup("goroutineleak") != nil:
					t.Errorf("%s: found %d of %d leaks", p.name, len(seen), len(p.leaks))
				}
			})
		}
	})
	t.Logf("all leaks found in %d of %d programs; leaks in %d of %d that leak by luck",
		found.Load(), certain.Load(), luckyFound.Load(), lucky.Load())
	if f, n := found.Load(), certain.Load(); n == 0 || float64(f) < 0.95*float64(n) {
		t.Errorf("all leaks found in only %d of %d programs", f, n)
	}
	if f, n := luckyFound.Load(), lucky.Load(); float64(f) < 0.5*float64(n) {
		t.Errorf("leaks found in only %d of %d programs that leak by luck", f, n)
	}
}

func (p leakyProgram) run(t *testing.T, exe string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe, p.name)
	cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1")
	if !p.lucky {
		cmd.Env = append(cmd.Env, "GOMAXPROCS=1")
	}
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%s: %v\n%s", p.name, err, out)
	}
	return string(out)
}

// unreported returns what the profile has proven and Verify did not report.
// A program goes on while Verify looks, so a function counts as reported in
// any state.
func unreported(t *testing.T, profile string, reports []string) (missed []string) {
	t.Helper()
	if !strings.Contains(profile, "goroutine ") {
		return nil
	}
	gs, err := parseTraceback(profile)
	if err != nil {
		t.Errorf("%v:\n%s", err, profile)
	}
	for i := range gs {
		if gs[i].leaked {
			fn := strings.TrimPrefix(gs[i].outermost(), "main.")
			if !slices.ContainsFunc(reports, func(r string) bool { return strings.HasPrefix(r, fn+"() ") }) && !slices.Contains(missed, fn) {
				missed = append(missed, fn)
			}
		}
	}
	return missed
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		t.Fatalf("%s %v: %v", name, args, err)
	}
	return string(out)
}
