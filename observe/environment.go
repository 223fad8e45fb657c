package observe

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
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
	for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_" + signal + "_ENDPOINT"} {
		if v := os.Getenv(name); v != "" {
			if u, err := url.Parse(v); err != nil || u.Scheme == "" || u.Host == "" && u.Scheme != "unix" {
				errs = append(errs, fmt.Errorf("%s: %q is not a URL with a host", name, clip(v, 80)))
			}
		}
	}
	which = "OTEL_EXPORTER_OTLP_" + signal + "_PROTOCOL"
	switch protocol := cmp.Or(os.Getenv(which), os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL"), "http/protobuf"); protocol {
	case "http/protobuf":
	case "grpc":
		p.grpc = true
	default:
		errs = append(errs, fmt.Errorf("%s: %q is neither http/protobuf nor grpc", which, clip(protocol, 80)))
	}
	return p, errors.Join(errs...)
}
