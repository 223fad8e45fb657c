package runtimemetrics

import "bytes"

// The parsers of this file read what the kernel wrote, or what a damaged or
// foreign /proc holds: they never panic, do not allocate, and answer unknown
// for what they do not understand.

// number reads the decimal digits at the beginning of b; false if there are
// none, if there are more than 18 (no true figure has), or if something other
// than white space follows.
func number(b []byte) (float64, bool) {
	n, i := uint64(0), 0
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		if i == 18 {
			return unknown, false
		}
		n = n*10 + uint64(b[i]-'0')
		i++
	}
	if i == 0 || i < len(b) && b[i] != ' ' && b[i] != '\n' && b[i] != '\t' {
		return unknown, false
	}
	return float64(n), true
}

// line cuts the first line off b.
func line(b []byte) (first, rest []byte) {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return b[:i], b[i+1:]
	}
	return b, nil
}

// field cuts the first word off b.
func field(b []byte) (word, rest []byte) {
	i := 0
	for i < len(b) && (b[i] == ' ' || b[i] == '\t') {
		i++
	}
	j := i
	for j < len(b) && b[j] != ' ' && b[j] != '\t' && b[j] != '\n' {
		j++
	}
	return b[i:j], b[j:]
}

// keyed finds the line whose first word is key and returns its second word as a
// number.
func keyed(b []byte, key string) float64 {
	for len(b) > 0 {
		var l []byte
		l, b = line(b)
		word, rest := field(l)
		if string(word) != key {
			continue
		}
		value, _ := field(rest)
		v, _ := number(value)
		return v
	}
	return unknown
}

// whole reads a file that holds one number.
func whole(b []byte) float64 {
	word, _ := field(b)
	v, _ := number(word)
	return v
}

// A processStat is the part of /proc/self/stat that is used.
type processStat struct {
	threads, started, virtual, resident float64
}

// parseStat reads /proc/self/stat. The second field is the name of the program
// in parentheses and may hold anything, parentheses and spaces too, so fields
// are counted from the last one that closes.
func parseStat(b []byte) (st processStat, ok bool) {
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return st, false
	}
	rest := b[i+1:]
	for n := 3; n <= 24; n++ { // proc(5) counts from 1; the state is field 3
		var word []byte
		if word, rest = field(rest); len(word) == 0 {
			return st, false
		}
		var v *float64
		switch n {
		case 20:
			v = &st.threads
		case 22:
			v = &st.started
		case 23:
			v = &st.virtual
		case 24:
			v = &st.resident
		default:
			continue
		}
		if *v, ok = number(word); !ok {
			return processStat{}, false
		}
	}
	st.resident *= pageSize
	return st, true
}

// parseUptime reads the first number of /proc/uptime, "910.44 1736.04".
func parseUptime(b []byte) (float64, bool) {
	word, _ := field(b)
	return decimal(word)
}

// decimal reads "12.34".
func decimal(b []byte) (float64, bool) {
	dot := bytes.IndexByte(b, '.')
	if dot < 0 {
		return number(b)
	}
	v, ok := number(b[:dot])
	if !ok {
		return unknown, false
	}
	fraction, ok := number(b[dot+1:])
	if !ok {
		return unknown, false
	}
	for range b[dot+1:] {
		fraction /= 10
	}
	return v + fraction, true
}

// parseNetstat reads InOctets and OutOctets of the IpExt pair of lines, the
// first of which holds the names and the second the values.
func parseNetstat(b []byte) (received, transmitted float64) {
	received, transmitted = unknown, unknown
	for len(b) > 0 {
		var names []byte
		names, b = line(b)
		if !bytes.HasPrefix(names, []byte("IpExt: ")) {
			continue
		}
		values, _ := line(b)
		if !bytes.HasPrefix(values, []byte("IpExt: ")) {
			return unknown, unknown
		}
		for {
			var name, value []byte
			name, names = field(names)
			value, values = field(values)
			if len(name) == 0 || len(value) == 0 {
				return received, transmitted
			}
			switch string(name) {
			case "InOctets":
				received, _ = number(value)
			case "OutOctets":
				transmitted, _ = number(value)
			}
		}
	}
	return received, transmitted
}

type sockets struct{ inUse, orphaned, timeWait float64 }

// parseSockstat reads the line "TCP: inuse 5 orphan 0 tw 2 alloc 7 mem 1", or
// "TCP6: inuse 3".
func parseSockstat(b []byte) (s sockets, ok bool) {
	s = sockets{unknown, unknown, unknown}
	for len(b) > 0 {
		var l []byte
		l, b = line(b)
		word, rest := field(l)
		if string(word) != "TCP:" && string(word) != "TCP6:" {
			continue
		}
		for {
			var key, value []byte
			key, rest = field(rest)
			value, rest = field(rest)
			v, isNumber := number(value)
			if !isNumber {
				return s, Known(s.inUse)
			}
			switch string(key) {
			case "inuse":
				s.inUse = v
			case "orphan":
				s.orphaned = v
			case "tw":
				s.timeWait = v
			}
		}
	}
	return s, false
}

// A hostCPU is the first line of /proc/stat in seconds.
type hostCPU struct{ user, system, idle, iowait, steal float64 }

// parseHostCPU reads "cpu user nice system idle iowait irq softirq steal ...",
// in hundredths of a second. Guest time is in user already.
func parseHostCPU(b []byte) (cpu hostCPU, ok bool) {
	l, _ := line(b)
	word, rest := field(l)
	if string(word) != "cpu" {
		return cpu, false
	}
	var v [8]float64
	for i := range v {
		word, rest = field(rest)
		n, ok := number(word)
		if !ok {
			return cpu, false
		}
		v[i] = n / 100
	}
	return hostCPU{user: v[0] + v[1], system: v[2] + v[5] + v[6], idle: v[3], iowait: v[4], steal: v[7]}, true
}

// parsePressure returns the totals in seconds of
//
//	some avg10=1.75 avg60=0.75 avg300=0.30 total=3669672
//	full avg10=0.00 avg60=0.00 avg300=0.00 total=0
//
// Before Linux 5.13 cpu had no second line.
func parsePressure(b []byte) (some, full float64) {
	some, full = unknown, unknown
	for len(b) > 0 {
		var l []byte
		l, b = line(b)
		kind, _ := field(l)
		i := bytes.Index(l, []byte(" total="))
		if i < 0 {
			continue
		}
		v, _ := number(l[i+len(" total="):])
		switch string(kind) {
		case "some":
			some = v / 1e6
		case "full":
			full = v / 1e6
		}
	}
	return some, full
}

// parseCPUMax reads cgroup v2's cpu.max, "50000 100000" or "max 100000", as
// cores.
func parseCPUMax(b []byte) float64 {
	quota, rest := field(b)
	period, _ := field(rest)
	q, ok := number(quota)
	p, ok2 := number(period)
	if !ok || !ok2 || p == 0 || q == 0 {
		return unknown
	}
	return q / p
}
