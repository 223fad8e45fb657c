package leakcheck

import (
	"fmt"
	"runtime/pprof"
	"strconv"
	"strings"
)

// A record is one line of the goroutine profile: how many goroutines have
// this stack and these labels.
type record struct {
	count  int
	labels map[string]string
	frames []frame // innermost first
}

// readProfile returns the goroutine profile. An error says that goroutines
// may be missing. It stops the world only for an instant.
func readProfile() ([]record, error) {
	var b strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
		return nil, err
	}
	return parseProfile(b.String())
}

// parseProfile reads a goroutine profile printed with debug=1:
//
//	goroutine profile: total 3
//	2 @ 0x47 0x48
//	# labels: {"k":"v"}
//	#	0x47	example.com/shop.(*Queue).next+0x1d	/src/shop/queue.go:41
//
// It returns every record that it could read, and an error if their counts
// do not add up to the total.
func parseProfile(text string) ([]record, error) {
	var (
		all   []record
		total = -1
		sum   int
		err   error
	)
	fail := func(n int, what string) {
		if err == nil {
			err = fmt.Errorf("line %d: %s", n, what)
		}
	}
	for n := 1; text != ""; n++ {
		line, rest, ended := strings.Cut(text, "\n")
		text = rest
		if !ended {
			fail(n, "the profile ends within a line")
		}
		switch {
		case line == "":
		case total < 0:
			_, count, ok := strings.Cut(line, " profile: total ")
			c, cerr := strconv.Atoi(strings.TrimSpace(count))
			if !ok || cerr != nil || c < 0 {
				return nil, fmt.Errorf("line %d: not a goroutine profile: %.80q", n, line)
			}
			total = c
		case strings.HasPrefix(line, "# labels: {"):
			if len(all) == 0 {
				fail(n, "labels of no record")
				break
			}
			if rest, ok := parseLabels(&all[len(all)-1].labels, line[len("# labels: {"):]); !ok || rest != "" {
				fail(n, "unreadable labels")
			}
		case strings.HasPrefix(line, "#"):
			if len(all) == 0 {
				fail(n, "a frame of no record")
				break
			}
			if f, ok := parseProfileFrame(line[1:]); ok {
				r := &all[len(all)-1]
				r.frames = append(r.frames, f)
			}
		default:
			count, _, ok := strings.Cut(line, " @")
			c, cerr := strconv.Atoi(count)
			if !ok || cerr != nil || c <= 0 || c > total {
				fail(n, fmt.Sprintf("not a record: %.80q", line))
				break
			}
			all = append(all, record{count: c})
			sum += c
		}
	}
	if total < 0 {
		fail(0, "the profile is empty")
	} else if sum != total {
		fail(0, fmt.Sprintf("the profile counts %d goroutines and describes %d", total, sum))
	}
	return all, err
}

// parseProfileFrame reads "\t0x47\texample.com/shop.New+0x1d\t/src/a b.go:41".
// A frame without a name is not worth keeping.
func parseProfileFrame(s string) (f frame, ok bool) {
	var parts []string
	for part := range strings.SplitSeq(s, "\t") {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if len(parts) < 2 {
		return f, false
	}
	f.fn = parts[1]
	if i := strings.LastIndex(f.fn, "+0x"); i > 0 {
		f.fn = f.fn[:i]
	}
	if len(parts) > 2 {
		if i := strings.LastIndexByte(parts[2], ':'); i > 0 {
			if n, err := strconv.Atoi(parts[2][i+1:]); err == nil && n >= 0 {
				f.file, f.line = parts[2][:i], n
			}
		}
	}
	return f, true
}
