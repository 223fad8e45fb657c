package runtimemetrics

import (
	"bytes"
	"math"
	"os"
	"path"
	"strings"
)

// A cgroup is where the process's control groups are mounted. The controllers
// are looked up one by one: on hybrid hosts some are version 1 and some 2.
// Empty paths are controllers that the process has none of.
type cgroup struct {
	cpu, memory controller
	account     [2]source // v1: cpuacct.usage, cpuacct.stat
	pressure    [3]source // v2: cpu, memory, io
}

type controller struct {
	v2     bool
	dir    string
	levels []level // the cgroup and those above it, which may limit it further
	stat   source  // cpu.stat or memory.stat
	usage  source  // memory
	events source  // memory
}

// A level holds the files of one cgroup on the way to the root.
type level struct{ limit, period source }

func (c *cgroup) close() {
	for _, k := range []*controller{&c.cpu, &c.memory} {
		for _, s := range []*source{&k.stat, &k.usage, &k.events} {
			s.file.close()
		}
		for i := range k.levels {
			k.levels[i].limit.file.close()
			k.levels[i].period.file.close()
		}
	}
	for i := range c.account {
		c.account[i].file.close()
	}
	for i := range c.pressure {
		c.pressure[i].file.close()
	}
}

// findCgroup reads /proc/self/cgroup and mountinfo once. Where a process is
// moved later, its new cgroup is not followed.
func (r *systemReader) findCgroup() cgroup {
	var c cgroup
	// Mount tables can be long; the buffer for figures is not for them. What
	// cannot be read is empty.
	groups, _ := os.ReadFile(r.root + "/proc/self/cgroup")
	table, _ := os.ReadFile(r.root + "/proc/self/mountinfo")
	paths, mounts := parseCgroups(groups), parseMounts(table)
	if len(paths) == 0 || len(mounts) == 0 {
		r.missing(r.root + "/proc/self/cgroup")
		return c
	}
	locate := func(name, probe string) (controller, string, bool) {
		v2 := false
		p, ok := paths[name]
		if !ok {
			p, ok = paths[""]
			v2 = true
		}
		if !ok {
			return controller{}, "", false
		}
		key := name
		if v2 {
			key = ""
		}
		m, ok := mounts[key]
		if !ok {
			return controller{}, "", false
		}
		dir, top := m.dir(r.root, p)
		// A level may lack the controller (rootless containers, delegated
		// slices): the nearest above that has it is the one that accounts.
		for len(dir) > len(top) && !exists(dir+"/"+probe) {
			dir = path.Dir(dir)
		}
		if !exists(dir+"/"+probe) || isRoot(dir, v2) {
			return controller{}, "", false
		}
		return controller{v2: v2, dir: dir}, top, true
	}
	if k, top, ok := locate("cpu", "cpu.stat"); ok {
		k.stat = source{path: k.dir + "/cpu.stat"}
		for _, dir := range upward(k.dir, top) {
			switch {
			case k.v2 && exists(dir+"/cpu.max"):
				k.levels = append(k.levels, level{limit: source{path: dir + "/cpu.max"}})
			case !k.v2 && exists(dir+"/cpu.cfs_quota_us"):
				k.levels = append(k.levels, level{
					limit:  source{path: dir + "/cpu.cfs_quota_us"},
					period: source{path: dir + "/cpu.cfs_period_us"},
				})
			}
		}
		c.cpu = k
		if k.v2 {
			c.pressure = [3]source{
				{path: k.dir + "/cpu.pressure"}, {path: k.dir + "/memory.pressure"}, {path: k.dir + "/io.pressure"},
			}
		}
	}
	if k, _, ok := locate("cpuacct", "cpuacct.usage"); ok && !k.v2 {
		c.account = [2]source{{path: k.dir + "/cpuacct.usage"}, {path: k.dir + "/cpuacct.stat"}}
	}
	probe := "memory.current"
	if _, v1 := paths["memory"]; v1 {
		probe = "memory.usage_in_bytes"
	}
	if k, top, ok := locate("memory", probe); ok {
		k.usage, k.stat = source{path: k.dir + "/" + probe}, source{path: k.dir + "/memory.stat"}
		if k.v2 {
			k.events = source{path: k.dir + "/memory.events"}
			for _, dir := range upward(k.dir, top) {
				if exists(dir + "/memory.max") {
					k.levels = append(k.levels, level{limit: source{path: dir + "/memory.max"}})
				}
			}
		} else {
			// memory.stat has the least limit of all levels.
			k.events = source{path: k.dir + "/memory.oom_control"}
		}
		c.memory = k
	}
	return c
}

// isRoot reports whether dir is the root of the host's hierarchy, whose account
// is the host's and has no limit. Some files exist only in the root, or only
// elsewhere. (In a container "/" is the container's cgroup, so the path does not
// tell.)
func isRoot(dir string, v2 bool) bool {
	if v2 {
		return !exists(dir + "/cgroup.events")
	}
	return exists(dir + "/release_agent")
}

// upward lists dir and the directories above it down to top, at most 16: deeper
// trees are not built by anyone, and each level is a file to read.
func upward(dir, top string) []string {
	out := []string{dir}
	for len(dir) > len(top) && len(out) < 16 {
		dir = path.Dir(dir)
		out = append(out, dir)
	}
	return out
}

// A mount is one mounted hierarchy: what part of it, and where.
type mount struct{ root, point string }

// dir returns the directory of the cgroup that /proc/self/cgroup calls p, and
// the top of what is visible of its hierarchy. In a container with its own
// cgroup namespace p is "/"; without one, the mount shows only the container's
// part of the tree, and p is to be read from there.
func (m mount) dir(root, p string) (dir, top string) {
	top = path.Clean(root + m.point)
	rel := p
	switch {
	case m.root == "/":
	case p == m.root:
		rel = "/"
	case strings.HasPrefix(p, m.root+"/"):
		rel = p[len(m.root):]
	default:
		rel = "/"
	}
	dir = path.Join(top, path.Join("/", rel)) // the inner Join keeps ".." from leaving the mount
	if !exists(dir) {
		dir = top
	}
	return dir, top
}

// parseCgroups reads /proc/self/cgroup, "4:memory:/a/b" or "0::/a/b", as
// controller -> path. The controller of version 2 is "".
func parseCgroups(b []byte) map[string]string {
	out := map[string]string{}
	for len(b) > 0 {
		var l []byte
		l, b = line(b)
		id, rest, ok := bytes.Cut(l, []byte(":"))
		names, p, ok2 := bytes.Cut(rest, []byte(":"))
		if !ok || !ok2 || len(p) == 0 || p[0] != '/' {
			continue
		}
		if len(names) == 0 && string(id) == "0" {
			out[""] = string(p)
			continue
		}
		for name := range bytes.SplitSeq(names, []byte(",")) {
			if len(name) > 0 {
				out[string(name)] = string(p)
			}
		}
	}
	return out
}

// parseMounts reads the cgroup mounts of /proc/self/mountinfo as controller ->
// mount, version 2 as "". Of several mounts of one hierarchy the first counts:
// the later ones are bind mounts into containers that this host runs.
//
//	35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
func parseMounts(b []byte) map[string]mount {
	out := map[string]mount{}
	for len(b) > 0 {
		var l []byte
		l, b = line(b)
		before, after, ok := bytes.Cut(l, []byte(" - "))
		if !ok {
			continue
		}
		fields := bytes.Fields(before)
		kind := bytes.Fields(after)
		if len(fields) < 5 || len(kind) < 3 {
			continue
		}
		m := mount{unescape(fields[3]), unescape(fields[4])}
		if !path.IsAbs(m.point) {
			continue
		}
		switch string(kind[0]) {
		case "cgroup2":
			if _, ok := out[""]; !ok {
				out[""] = m
			}
		case "cgroup":
			for name := range bytes.SplitSeq(kind[2], []byte(",")) {
				if _, ok := out[string(name)]; !ok && len(name) > 0 {
					out[string(name)] = m
				}
			}
		}
	}
	return out
}

// unescape undoes mountinfo's \040 for a space and its like.
func unescape(b []byte) string {
	if bytes.IndexByte(b, '\\') < 0 {
		return string(b)
	}
	var out []byte
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' && i+3 < len(b) && octal(b[i+1]) && octal(b[i+2]) && octal(b[i+3]) {
			out = append(out, (b[i+1]-'0')<<6|(b[i+2]-'0')<<3|(b[i+3]-'0'))
			i += 3
			continue
		}
		out = append(out, b[i])
	}
	return string(out)
}

func octal(c byte) bool { return c >= '0' && c <= '7' }

func (r *systemReader) container(c *Container) {
	if k := &r.cgroup.cpu; k.stat.path != "" {
		r.containerCPU(c, k)
	}
	if r.cgroup.account[0].path != "" {
		c.CPU = whole(r.file(&r.cgroup.account[0])) / 1e9
		b := r.file(&r.cgroup.account[1])
		c.CPUUser, c.CPUSystem = keyed(b, "user")/100, keyed(b, "system")/100
	}
	if k := &r.cgroup.memory; k.stat.path != "" {
		r.containerMemory(c, k)
	}
	if r.cgroup.pressure[0].path != "" {
		r.pressure(&c.Pressure, &r.cgroup.pressure)
	}
}

func (r *systemReader) containerCPU(c *Container, k *controller) {
	b := r.file(&k.stat)
	c.Periods, c.ThrottledPeriods = keyed(b, "nr_periods"), keyed(b, "nr_throttled")
	if k.v2 {
		c.CPU, c.CPUUser, c.CPUSystem = keyed(b, "usage_usec")/1e6, keyed(b, "user_usec")/1e6, keyed(b, "system_usec")/1e6
		c.Throttled = keyed(b, "throttled_usec") / 1e6
	} else {
		c.Throttled = keyed(b, "throttled_time") / 1e9
	}
	if len(b) == 0 {
		r.missing(k.stat.path)
	}
	for i := range k.levels {
		l := &k.levels[i]
		var cores float64
		if k.v2 {
			cores = parseCPUMax(r.file(&l.limit))
		} else {
			quota := whole(r.file(&l.limit)) // -1 is none, and no number here
			cores = quota / whole(r.file(&l.period))
		}
		c.CPULimit = least(c.CPULimit, cores)
	}
}

func (r *systemReader) containerMemory(c *Container, k *controller) {
	c.MemoryUsage = whole(r.file(&k.usage))
	if !Known(c.MemoryUsage) {
		r.missing(k.usage.path)
	}
	b := r.file(&k.stat)
	var inactive float64
	if k.v2 {
		inactive, c.MemoryRSS = keyed(b, "inactive_file"), keyed(b, "anon")
		for i := range k.levels {
			c.MemoryLimit = least(c.MemoryLimit, whole(r.file(&k.levels[i].limit))) // "max" is none, and no number here
		}
	} else {
		inactive, c.MemoryRSS = keyed(b, "total_inactive_file"), keyed(b, "total_rss")
		c.MemoryLimit = least(unknown, keyed(b, "hierarchical_memory_limit"))
	}
	c.MemoryWorkingSet = max(c.MemoryUsage-inactive, 0)
	c.OOMKills = keyed(r.file(&k.events), "oom_kill")
}

// least returns the smaller of two limits, where unknown, nothing and absurd
// (version 1 writes 2^63 rounded to a page) mean that there is none.
func least(a, b float64) float64 {
	if !(b > 0) || b >= 1<<60 || math.IsInf(b, 1) {
		return a
	}
	if Known(a) && a < b {
		return a
	}
	return b
}
