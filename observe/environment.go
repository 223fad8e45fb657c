package observe

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/loadline-go/loadline/internal/otlp"
)

// push is what the environment says about sending a signal by OTLP.
type push struct {
	wanted bool
	grpc   bool // else http/protobuf
}

// pushOf reads the standard variables of a signal, METRICS or LOGS. An unset
// OTEL_*_EXPORTER means none, other than the specification says: who sets an
// endpoint for traces, is scraped and has logs collected would get all of it
// twice. Instead lists the exporters that stand for what is there anyway;
// numbers the variables that must hold a number above 0: the SDK would ignore
// a bad one.
func pushOf(signal string, instead, numbers []string) (p push, err error) {
	which := "OTEL_" + signal + "_EXPORTER"
	var errs []error
	for name := range strings.SplitSeq(os.Getenv(which), ",") {
		switch name = strings.TrimSpace(name); {
		case name == "" || name == "none" || slices.Contains(instead, name):
		case name == "otlp":
			p.wanted = true
		default:
			errs = append(errs, fmt.Errorf("%s: %q is none of %s", which, clip(name, 80), strings.Join(append([]string{"otlp", "none"}, instead...), ", ")))
		}
	}
	if !p.wanted || strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return push{}, errors.Join(errs...)
	}
	for _, name := range numbers {
		if v := os.Getenv(name); v != "" {
			if n, err := strconv.Atoi(v); err != nil || n <= 0 {
				errs = append(errs, fmt.Errorf("%s: %q is not a number above 0", name, clip(v, 80)))
			}
		}
	}
	grpc, wrong := otlp.Check(signal)
	p.grpc = grpc
	return p, errors.Join(append(errs, wrong...)...)
}

// propagators checks OTEL_PROPAGATORS: with a format that is not spoken here
// every trace would end at the neighbours.
func propagators() error {
	const name = "OTEL_PROPAGATORS"
	for p := range strings.SplitSeq(os.Getenv(name), ",") {
		switch p = strings.TrimSpace(p); p {
		case "", "tracecontext", "baggage":
		default:
			return fmt.Errorf("%s: %q is neither tracecontext nor baggage; there are no others", name, clip(p, 80))
		}
	}
	return nil
}

// distinct drops the lines that another signal has said: traces, metrics and
// logs share variables.
func distinct(err error) error {
	var lines []string
	said := map[string]bool{}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if bare := strings.TrimPrefix(line, "tracing: "); !said[bare] {
			said[bare] = true
			lines = append(lines, line)
		}
	}
	return errors.New(strings.Join(lines, "\n"))
}
