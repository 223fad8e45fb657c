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
	if len(all) == 0 {
		return fmt.Errorf("no benchmark is called %s", only)
	}

	for round := range rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, rounds)
		for _, m := range all {
			for _, cpus := range m.cpus() {
				err := bench(binary, m.pattern(), benchTime.String(), cpus, func(_ string, values map[string]float64) {
					for unit, v := range values {
						if cpus != 1 && unit == "ns/op" {
							unit = "ns/op, 2 CPUs"
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
// the difference: what happens once falls out.
func (m *measured) countInstructions(binary string) error {
	few, many := 500, 2500
	if m.group == "Scrape" {
		few, many = 2, 6
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
	cmd := exec.Command("valgrind", "--tool=none", "--version")
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("-instructions needs valgrind: %w", err)
	}
	cmd = exec.Command("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null",
		binary, "-test.run", "^$", "-test.bench", pattern, "-test.benchtime", fmt.Sprintf("%dx", n), "-test.cpu", "1")
	out, err := cmd.CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if _, count, ok := strings.Cut(line, "I refs:"); ok {
			return strconv.ParseFloat(strings.ReplaceAll(strings.TrimSpace(count), ",", ""), 64)
		}
	}
	return 0, fmt.Errorf("valgrind: %s: %v\n%s", pattern, err, out)
}

// reference is the peer whose overhead the others' is compared with.
var reference = map[string]string{
	"Server": "otelhttp", "ServerParallel": "otelhttp", "Loopback": "otelhttp", "Transport": "otelhttp",
	"SQL": "uptrace",
}

func printTables(w io.Writer, all []*measured) {
	fmt.Fprintf(w, "%s, %s/%s, %d CPUs. CPU time and allocations per operation, medians; overhead is what comes on top of the first row.\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	for len(all) > 0 {
		n := slices.IndexFunc(all, func(m *measured) bool { return m.group != all[0].group })
		if n < 0 {
			n = len(all)
		}
		printTable(w, all[:n])
		all = all[n:]
	}
}

func printTable(w io.Writer, group []*measured) {
	first := group[0]
	ref, hasRef := reference[first.group]
	_, counted := first.median("instructions/op")
	_, parallel := first.median("ns/op, 2 CPUs")
	_, page := first.median("page-B")

	header := []string{first.group, "CPU ns", "overhead"}
	if hasRef {
		header = append(header, "of "+ref+"'s")
	} else {
		header = append(header, "of the first")
	}
	if counted {
		header = append(header, "instructions")
	}
	if parallel {
		header = append(header, "ns, 1 CPU", "ns, 2 CPUs")
	}
	if page {
		header = append(header, "page")
	}
	header = append(header, "bytes", "allocations")
	fmt.Fprintf(w, "\n| %s |\n|---%s|\n", strings.Join(header, " | "), strings.Repeat("|--:", len(header)-1))

	base, _ := first.median("cpu-ns/op")
	for _, m := range group {
		cpu, _ := m.median("cpu-ns/op")
		row := []string{m.peer, number(cpu), number(cpu - base)}
		switch {
		case !hasRef:
			row = append(row, fmt.Sprintf("%.2f", cpu/base))
		case m == first:
			row[2] = ""
			row = append(row, "")
		default:
			row = append(row, m.ofReference(group, ref, cpu-base, base))
		}
		if counted {
			row = append(row, m.cell("instructions/op"))
		}
		if parallel {
			row = append(row, m.cell("ns/op"), m.cell("ns/op, 2 CPUs"))
		}
		if page {
			row = append(row, m.cell("page-B"))
		}
		row = append(row, m.cell("B/op"), m.cell("allocs/op"))
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

func (m *measured) cell(unit string) string {
	v, ok := m.median(unit)
	if !ok {
		return ""
	}
	return number(v)
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
