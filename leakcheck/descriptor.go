package leakcheck

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A descriptor is an open file of the process, by its number.
type descriptor struct {
	number int
	target string // what /proc/self/fd says: "/tmp/a", "pipe:[1234]", "socket:[1234]"
}

// readDescriptors returns the process's open descriptors. Systems other than
// Linux have no /proc to tell, and get none.
func readDescriptors() (map[descriptor]bool, error) {
	if runtime.GOOS != "linux" {
		return nil, nil
	}
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	all := map[descriptor]bool{}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		target, err := os.Readlink(dir + "/" + e.Name())
		if err != nil {
			continue // closed meanwhile: the one that read the directory was
		}
		all[descriptor{n, target}] = true
	}
	return all, nil
}

// describe says what d is if it is of a kind that a test must close, and ""
// if not. Connected sockets are not: pools keep them, and nothing tells a kept
// one from a lost one.
func (d descriptor) describe(listeners map[string]string) string {
	switch {
	case strings.HasPrefix(d.target, "/dev/"), strings.HasPrefix(d.target, "/proc/"), strings.HasPrefix(d.target, "/sys/"),
		strings.HasPrefix(d.target, "/memfd:"):
		return ""
	case strings.HasPrefix(d.target, "/"):
		return "file " + d.target
	case strings.HasPrefix(d.target, "pipe:"):
		return "pipe"
	case strings.HasPrefix(d.target, "socket:["):
		if addr, ok := listeners[strings.TrimSuffix(strings.TrimPrefix(d.target, "socket:["), "]")]; ok {
			return "listener " + addr
		}
	}
	return ""
}

// readListeners returns the addresses of the listening sockets of this
// network namespace, by inode.
func readListeners() map[string]string {
	all := map[string]string{}
	for _, network := range []string{"tcp", "tcp6", "unix"} {
		f, err := os.Open("/proc/self/net/" + network)
		if err != nil {
			continue
		}
		for s := bufio.NewScanner(f); s.Scan(); {
			if inode, addr, ok := parseListener(network, s.Text()); ok {
				all[inode] = addr
			}
		}
		f.Close()
	}
	return all
}

// parseListener reads a line of /proc/net/tcp, tcp6 or unix.
func parseListener(network, line string) (inode, addr string, ok bool) {
	f := strings.Fields(line)
	if network == "unix" {
		// Num RefCount Protocol Flags Type St Inode Path; __SO_ACCEPTCON is 0x10000.
		if len(f) < 7 || f[3] != "00010000" {
			return "", "", false
		}
		return f[6], strings.Join(append([]string{"unix"}, f[7:]...), " "), true
	}
	// sl local_address rem_address st ... inode is the tenth; TCP_LISTEN is 0A.
	if len(f) < 10 || f[3] != "0A" {
		return "", "", false
	}
	host, port, _ := strings.Cut(f[1], ":")
	ip, err := hex.DecodeString(host)
	p, perr := strconv.ParseUint(port, 16, 16)
	if err != nil || perr != nil || len(ip)%4 != 0 {
		return "", "", false
	}
	for word := range slices.Chunk(ip, 4) {
		slices.Reverse(word) // the kernel prints words in the machine's order
	}
	a, ok := netip.AddrFromSlice(ip)
	return f[9], network + " " + netip.AddrPortFrom(a, uint16(p)).String(), ok
}

// descriptorsLeft waits until every descriptor that was not open at the start
// is closed, or nothing changes any more, and describes those that are left.
//
// Package net keeps the pipes through which it copies from one connection to
// another, two descriptors for each that was copied, in a sync.Pool, and closes
// them when that has dropped them. Those are nobody's to close.
func (c Config) descriptorsLeft(start map[descriptor]bool, splices func(fd int) bool, splicesShow func() bool) ([]string, error) {
	collected := 0
	return c.untilClosed(func() (left []string, err error) {
		now, err := readDescriptors()
		if err != nil {
			return nil, err
		}
		var listeners map[string]string
		pipes := 0
		for d := range now {
			if start[d] || c.ignoresPath(d.target) {
				continue
			}
			if strings.HasPrefix(d.target, "pipe:") {
				if splices(d.number) {
					continue
				}
				pipes++
			}
			if listeners == nil && strings.HasPrefix(d.target, "socket:") {
				listeners = readListeners()
			}
			if what := d.describe(listeners); what != "" {
				left = append(left, fmt.Sprintf("%s (descriptor %d)", what, d.number))
			}
		}
		// Where they cannot be told from others, the second collection drops them
		// from the pool, and then they are closed on a goroutine of the runtime.
		// Not elsewhere, because it closes the pipes that a test forgot, too.
		if pipes > 0 && collected < 3 && !splicesShow() {
			runtime.GC()
			collected++
		}
		return left, nil
	})
}

// untilClosed asks what is open until nothing is, or nothing changes any more.
func (c Config) untilClosed(open func() ([]string, error)) ([]string, error) {
	c = c.withDefaults()
	begin := time.Now()
	still, before := begin, ""
	for pause := time.Millisecond; ; pause = min(pause*3/2, 100*time.Millisecond) {
		left, err := open()
		if err != nil {
			return nil, err
		}
		slices.Sort(left)
		s := strings.Join(left, "\n")
		if s != before {
			before, still = s, time.Now()
		}
		if len(left) == 0 || time.Since(still) >= c.Patience || time.Since(begin) >= 5*c.Patience {
			return left, nil
		}
		time.Sleep(pause)
	}
}

// ignoresPath reports whether an entry of Ignore is path or a directory above.
func (c Config) ignoresPath(path string) bool {
	return slices.ContainsFunc(c.Ignore, func(name string) bool {
		name = strings.TrimSuffix(name, "/")
		rest, ok := strings.CutPrefix(path, name)
		return ok && strings.HasPrefix(path, "/") && (rest == "" || rest[0] == '/' || rest == " (deleted)")
	})
}
