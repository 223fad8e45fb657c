package observe

import (
	"fmt"
	"strings"
)

// units are the base units of Prometheus, https://prometheus.io/docs/practices/naming/#base-units,
// in UCUM, as a Description has them.
var units = map[string]string{
	"seconds": "s", "bytes": "By", "ratio": "1", "celsius": "Cel", "meters": "m",
	"grams": "g", "joules": "J", "volts": "V", "amperes": "A",
}

// baseUnits says what to use for the units that people try instead.
var baseUnits = map[string]string{
	"s": "seconds", "sec": "seconds", "secs": "seconds", "second": "seconds",
	"ms": "seconds", "millis": "seconds", "milliseconds": "seconds", "us": "seconds", "microseconds": "seconds",
	"ns": "seconds", "nanoseconds": "seconds", "minutes": "seconds", "hours": "seconds", "days": "seconds",
	"b": "bytes", "byte": "bytes", "by": "bytes", "kb": "bytes", "kib": "bytes", "kilobytes": "bytes",
	"mb": "bytes", "mib": "bytes", "megabytes": "bytes", "gb": "bytes", "gib": "bytes", "gigabytes": "bytes",
	"percent": "ratio", "percentage": "ratio", "pct": "ratio", "1": "ratio",
	"kilometers": "meters", "millimeters": "meters", "kilograms": "grams", "kg": "grams",
}

// withUnit puts a metric's unit into its description: as it was asked for, or,
// when the name ends in a base unit, that.
func withUnit(d Description, unit string) (Description, error) {
	base := strings.TrimSuffix(d.Name, "_total")
	if unit == "" {
		unit = base[strings.LastIndexByte(base, '_')+1:]
		if len(unit) < len(base) { // a name is more than its unit
			d.Unit = units[unit]
		}
		return d, nil
	}
	switch better := baseUnits[strings.ToLower(unit)]; {
	case better != "":
		return d, fmt.Errorf("metric %s: Unit %q: Prometheus counts in base units: want %q", d.Name, clip(unit, 40), better)
	case !validName(unit):
		return d, fmt.Errorf("metric %s: Unit %q: want lower-case words joined by underscores, like euros or seconds", d.Name, clip(unit, 40))
	case !strings.HasSuffix(base, "_"+unit):
		suffix := strings.TrimPrefix(d.Name, base)
		return d, fmt.Errorf("metric %s: its unit is %s, so its name ends in _%s%s: %s_%[2]s%[4]s", d.Name, unit, unit, suffix, base)
	}
	if d.Unit = units[unit]; d.Unit == "" {
		d.Unit = "{" + unit + "}"
	}
	return d, nil
}

// unitSuffix is the unit as OpenMetrics has it in a metric's metadata: a word,
// with which the name must end; empty where it does not.
// https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md#unit
func unitSuffix(d Description) string {
	word := strings.Trim(d.Unit, "{}")
	for name, ucum := range units {
		if ucum == d.Unit {
			word = name
		}
	}
	if word == "" || !strings.HasSuffix(strings.TrimSuffix(d.Name, "_total"), "_"+word) {
		return ""
	}
	return word
}
