// Table runs the benchmarks in interleaved rounds, each peer in a process of
// its own, and prints the medians as the tables of the README.
//
//	GOWORK=off go run ./table [-rounds 12] [-time 200ms] [-bench Server,SQL] [-instructions]
package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	rounds := flag.Int("rounds", 12, "how often each is measured; the median is printed")
	benchTime := flag.Duration("time", 200*time.Millisecond, "time for one measurement")
	only := flag.String("bench", "", "benchmarks to run, separated by commas (default all)")
	instructions := flag.Bool("instructions", false, "count instructions too, with valgrind")
	flag.Parse()
	if err := run(*rounds, *benchTime, *only, *instructions); err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

func run(rounds int, benchTime time.Duration, only string, instructions bool) error {
	dir, err := os.MkdirTemp("", "table-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "benchmarks.test")
	build := exec.Command("go", "test", "-c", "-o", binary, "github.com/loadline-go/loadline/internal/benchmarks")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build: %w", err)
	}

	wanted := strings.Split(only, ",")
	var all []*measured
	err = bench(binary, ".", "1x", 1, func(name string, _ map[string]float64) {
		if group, peer, _ := strings.Cut(name, "/"); only == "" || slices.Contains(wanted, group) {
			all = append(all, &measured{group: group, peer: peer, values: map[string][]float64{}})
		}
	})
	if err != nil {
		return err
	}
	for _, m := range all {
		if !slices.ContainsFunc(edges, func(e edge) bool { return e.group == m.group }) {
			return fmt.Errorf("Benchmark%s has no table", m.group)
		}
	}
	if len(all) == 0 {
		return fmt.Errorf("no benchmark is called %s", only)
	}

	for round := range rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, rounds)
		for _, i := range rand.Perm(len(all)) { // so that nobody always follows the same
			m := all[i]
			for _, cpus := range m.cpus() {
				err := bench(binary, m.pattern(), benchTime.String(), cpus, func(_ string, values map[string]float64) {
					for unit, v := range values {
						if cpus != 1 {
							unit += twoCPUs
						}
						m.values[unit] = append(m.values[unit], v)
					}
				})
				if err != nil {
					return err
				}
			}
		}
	}
	if instructions {
		for _, m := range all {
			if err := m.countInstructions(binary); err != nil {
				return err
			}
		}
	}
	printTables(os.Stdout, all)
	return nil
}

const twoCPUs = ", 2 CPUs" // ends the units of what was measured with -cpu 2

// measured is one peer at one edge.
type measured struct {
	group, peer string
	values      map[string][]float64 // by unit, one of each round
}

func (m *measured) pattern() string { return "^Benchmark" + m.group + "$/^" + m.peer + "$" }

// cpus are the values of -cpu: one, but for what is about more.
func (m *measured) cpus() []int {
	if strings.HasSuffix(m.group, "Parallel") && runtime.NumCPU() > 1 {
		return []int{1, 2}
	}
	return []int{1}
}

func (m *measured) median(unit string) (float64, bool) {
	v := slices.Sorted(slices.Values(m.values[unit]))
	if len(v) == 0 {
		return 0, false
	}
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2, true
}

// bench runs the benchmarks that match in one process and calls got for each.
func bench(binary, pattern, benchTime string, cpus int, got func(name string, values map[string]float64)) error {
	cmd := exec.Command(binary, "-test.run", "^$", "-test.bench", pattern, "-test.benchtime", benchTime, "-test.cpu", fmt.Sprint(cpus))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", pattern, err, out)
	}
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		values := map[string]float64{}
		for i := 2; i+1 < len(fields); i += 2 {
			if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
				values[fields[i+1]] = v
			}
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		if cpus != 1 {
			name = strings.TrimSuffix(name, fmt.Sprintf("-%d", cpus))
		}
		got(name, values)
	}
	return lines.Err()
}

// countInstructions counts those of many operations and of few, and divides
// the difference: what happens once falls out. The garbage collector is off, as
// it comes when it likes; its share is in the CPU time.
func (m *measured) countInstructions(binary string) error {
	few, many := 200, 1200
	switch m.group {
	case "Scrape":
		few, many = 2, 6
	case "Idle":
		return nil
	}
	var counts [2]float64
	for i, n := range []int{few, many} {
		v, err := valgrind(binary, m.pattern(), n)
		if err != nil {
			return err
		}
		counts[i] = v
	}
	m.values["instructions/op"] = []float64{(counts[1] - counts[0]) / float64(many-few)}
	return nil
}

func valgrind(binary, pattern string, n int) (float64, error) {
	cmd := exec.Command("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null",
		binary, "-test.run", "^$", "-test.bench", pattern, "-test.benchtime", fmt.Sprintf("%dx", n), "-test.cpu", "1")
	cmd.Env = append(os.Environ(), "GOGC=off")
	out, err := cmd.CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 4 && f[1] == "I" && f[2] == "refs:" {
			return strconv.ParseFloat(strings.ReplaceAll(f[3], ",", ""), 64)
		}
	}
	return 0, fmt.Errorf("valgrind: %s: %v\n%s", pattern, err, out)
}

// edges are the benchmarks in the order of the tables. The overheads at an edge
// are compared with those of the reference, or whole figures with the first row's.
var edges = []edge{
	{group: "Server", title: "A request through the server's middleware", reference: "otelhttp"},
	{group: "ServerParallel", title: "The same on all processors at once", reference: "otelhttp"},
	{group: "Loopback", title: "A request over a loopback connection, with the client's share", reference: "otelhttp"},
	{group: "Transport", title: "A request out", reference: "otelhttp"},
	{group: "SQL", title: "A query of one row", reference: "uptrace"},
	{group: "Log", title: "A log record in a sampled trace"},
	{group: "Business", title: "An update of a business metric"},
	{group: "Scrape", title: "A scrape of 100 routes with 5 statuses"},
	{group: "Idle", title: "A second without a request"},
}

type edge struct{ group, title, reference string }

// columns are what a table has beside the CPU time, where it was measured.
var columns = []struct{ unit, title string }{
	{"cpu-ns/op" + twoCPUs, "CPU ns on two"},
	{"instructions/op", "instructions"},
	{"page-B", "page bytes"},
	{"goroutines", "goroutines"},
	{"resident-B", "resident bytes"},
	{"B/op", "bytes"},
	{"allocs/op", "allocations"},
}

func printTables(w io.Writer, all []*measured) {
	fmt.Fprintf(w, "%s, %s/%s, %d CPUs. CPU time of the whole process for one operation, medians.\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	for _, e := range edges {
		var group []*measured
		for _, m := range all {
			if m.group == e.group {
				group = append(group, m)
			}
		}
		if len(group) > 0 {
			e.print(w, group)
		}
	}
}

func (e edge) print(w io.Writer, group []*measured) {
	first := group[0]
	header := []string{e.title, "CPU ns"}
	if e.reference != "" {
		header = append(header, "above "+first.peer, "of "+e.reference+"'s")
	} else {
		header = append(header, "of the first")
	}
	var units []string
	for _, c := range columns {
		if _, ok := first.median(c.unit); ok {
			units, header = append(units, c.unit), append(header, c.title)
		}
	}
	fmt.Fprintf(w, "\n| %s |\n|---%s|\n", strings.Join(header, " | "), strings.Repeat("|--:", len(header)-1))

	base, _ := first.median("cpu-ns/op")
	for _, m := range group {
		cpu, _ := m.median("cpu-ns/op")
		row := []string{m.peer, number(cpu)}
		switch {
		case e.reference == "":
			row = append(row, fmt.Sprintf("%.2f", cpu/base))
		case m == first:
			row = append(row, "", "")
		default:
			row = append(row, number(cpu-base), m.ofReference(group, e.reference, cpu-base, base))
		}
		for _, unit := range units {
			v, _ := m.median(unit)
			row = append(row, number(v))
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
	}
}

// ofReference is an overhead as a share of the reference's with the same
// sampling; a peer without sampling is compared with the unsampled one.
func (m *measured) ofReference(group []*measured, ref string, overhead, base float64) string {
	kind := "-never"
	if strings.HasSuffix(m.peer, "-always") {
		kind = "-always"
	}
	for _, r := range group {
		if r.peer == ref+kind {
			cpu, _ := r.median("cpu-ns/op")
			return fmt.Sprintf("%.2f", overhead/(cpu-base))
		}
	}
	return ""
}

// number prints three significant digits, or all of the whole part.
func number(v float64) string {
	if v < 100 && v > -100 && v != float64(int(v)) {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	s := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
