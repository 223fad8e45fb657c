package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// A cgroup is one that was made for a service, to be limited. The nil cgroup is none.
type cgroup struct {
	dirs []string // one, or one for each controller in version 1
	v2   bool
}

var cgroups atomic.Int64

// newCgroup makes a cgroup in which CPU and memory can be limited; it takes
// root, as a rule, and a file system of cgroups that may be written to.
func newCgroup() (*cgroup, error) {
	name := fmt.Sprintf("bottlenecks-%d-%d", os.Getpid(), cgroups.Add(1))
	const top = "/sys/fs/cgroup"
	c := &cgroup{}
	parents := []string{top + "/cpu", top + "/cpuacct", top + "/memory"}
	if has, err := os.ReadFile(top + "/cgroup.subtree_control"); err == nil {
		if words := " " + strings.TrimSpace(string(has)) + " "; !strings.Contains(words, " cpu ") || !strings.Contains(words, " memory ") {
			return nil, fmt.Errorf("cgroups below %s cannot limit cpu and memory", top)
		}
		c.v2, parents = true, []string{top}
	}
	for _, p := range parents {
		dir := filepath.Join(p, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !(os.IsExist(err) && len(c.dirs) > 0) { // cpu and cpuacct may be one
			c.remove()
			return nil, err
		}
		c.dirs = append(c.dirs, dir)
	}
	return c, nil
}

// cannotLimit says why no cgroup can be had here, or nothing.
func cannotLimit() string {
	c, err := newCgroup()
	if err == nil {
		defer c.remove()
		err = c.limitCPU(-1)
	}
	if err != nil {
		return "it needs a cgroup of its own: " + err.Error()
	}
	return ""
}

// joins lists the files that a process writes its number to in order to move there.
func (c *cgroup) joins() string {
	if c == nil {
		return ""
	}
	var files []string
	for _, d := range c.dirs {
		files = append(files, filepath.Join(d, "cgroup.procs"))
	}
	return strings.Join(files, string(os.PathListSeparator))
}

// limitCPU allows so many cores; below 0 all.
func (c *cgroup) limitCPU(cores float64) error {
	const period = 100_000 // microseconds, the kernel's default
	quota := int(cores * period)
	if c.v2 {
		text := fmt.Sprint(quota, period)
		if cores < 0 {
			text = fmt.Sprint("max ", period)
		}
		return os.WriteFile(filepath.Join(c.dirs[0], "cpu.max"), []byte(text), 0o644)
	}
	if cores < 0 {
		quota = -1
	}
	return os.WriteFile(filepath.Join(c.dirs[0], "cpu.cfs_quota_us"), fmt.Append(nil, quota), 0o644)
}

// limitMemory allows so many bytes.
func (c *cgroup) limitMemory(bytes int64) error {
	file := "memory.max"
	if !c.v2 {
		file = "memory.limit_in_bytes"
	}
	return os.WriteFile(filepath.Join(c.dirs[len(c.dirs)-1], file), fmt.Append(nil, bytes), 0o644)
}

// cpu is how much CPU time it has used.
func (c *cgroup) cpu() (time.Duration, error) {
	if !c.v2 {
		text, err := os.ReadFile(filepath.Join(c.dirs[1], "cpuacct.usage"))
		if err != nil {
			return 0, err
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		return time.Duration(n), err
	}
	text, err := os.ReadFile(filepath.Join(c.dirs[0], "cpu.stat"))
	if err != nil {
		return 0, err
	}
	var n int64
	_, err = fmt.Sscanf(string(text), "usage_usec %d", &n)
	return time.Duration(n) * time.Microsecond, err
}

// memory is how many bytes it uses.
func (c *cgroup) memory() (int64, error) {
	file := "memory.current"
	if !c.v2 {
		file = "memory.usage_in_bytes"
	}
	text, err := os.ReadFile(filepath.Join(c.dirs[len(c.dirs)-1], file))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
}

// remove removes it; no process may be in it any more.
func (c *cgroup) remove() {
	if c == nil {
		return
	}
	for _, d := range c.dirs {
		os.Remove(d)
	}
}
