package runtimemetrics

import "time"

// A systemReader reads what the operating system knows.
type systemReader struct {
	root    string // before /proc and /sys; for tests
	hold    bool   // keep the descriptors of figures, until close
	proc    procSources
	cgroup  cgroup
	started time.Time
	threads threadDelays
	buf     [8 << 10]byte // the longest file read is netstat, 4 KiB
	bad     []string      // sources that could not be read or understood, each once
}

// procSources are the files that every process has.
type procSources struct {
	stat, io, netstat, sockstat, sockstat6 source
	cpu, meminfo                           source
	pressure                               [3]source // cpu, memory, io
	fd, task                               string
}

// A source is a file of figures. Opening one costs more than reading it (3 µs
// and 1 to 3 µs), so a reader that reads often holds it open.
type source struct {
	path string
	file heldFile
}

func (r *systemReader) open(root string) {
	r.root = root
	r.proc = procSources{
		stat:      source{path: root + "/proc/self/stat"},
		io:        source{path: root + "/proc/self/io"},
		netstat:   source{path: root + "/proc/self/net/netstat"},
		sockstat:  source{path: root + "/proc/self/net/sockstat"},
		sockstat6: source{path: root + "/proc/self/net/sockstat6"},
		cpu:       source{path: root + "/proc/stat"},
		meminfo:   source{path: root + "/proc/meminfo"},
		pressure: [3]source{
			{path: root + "/proc/pressure/cpu"}, {path: root + "/proc/pressure/memory"}, {path: root + "/proc/pressure/io"},
		},
		fd:   root + "/proc/self/fd",
		task: root + "/proc/self/task",
	}
	if !haveProc {
		return
	}
	r.started = r.findStart()
	r.cgroup = r.findCgroup()
}

// close frees what a reader that holds its files has open. From then on it opens
// them for each reading.
func (r *systemReader) close() {
	r.hold = false
	p := &r.proc
	for _, s := range []*source{&p.stat, &p.io, &p.netstat, &p.sockstat, &p.sockstat6, &p.cpu, &p.meminfo} {
		s.file.close()
	}
	for i := range p.pressure {
		p.pressure[i].file.close()
	}
	r.threads.close()
	r.cgroup.close()
}

// read fills what the operating system knows; the network's figures only when
// asked, since they cost as much as all others.
func (r *systemReader) read(s *Snapshot, network bool) {
	s.Process.Started = r.started
	r.usage(&s.Process)
	if !haveProc {
		return
	}
	r.process(&s.Process)
	if network {
		r.network(&s.Process)
	}
	r.container(&s.Container)
	r.host(&s.Host)
}

// file returns the beginning of a file, up to the size of the buffer; it is
// valid until the next call. Nothing means that there was nothing to read.
func (r *systemReader) file(s *source) []byte {
	if r.hold {
		return s.file.read(s.path, r.buf[:])
	}
	return readFile(s.path, r.buf[:])
}

// missing notes a source that gave no sense, for the one debug line.
func (r *systemReader) missing(path string) {
	path = path[len(r.root):]
	for _, p := range r.bad {
		if p == path {
			return
		}
	}
	r.bad = append(r.bad, path)
}

func (r *systemReader) process(p *Process) {
	if st, ok := parseStat(r.file(&r.proc.stat)); ok {
		p.Threads, p.Virtual, p.Resident = st.threads, st.virtual, st.resident
	} else {
		r.missing(r.proc.stat.path)
	}
	b := r.file(&r.proc.io)
	p.DiskRead, p.DiskWritten = keyed(b, "read_bytes:"), keyed(b, "write_bytes:")
	if !Known(p.DiskRead) {
		r.missing(r.proc.io.path)
	}
	if p.Descriptors = descriptors(r.proc.fd); !Known(p.Descriptors) {
		r.missing(r.proc.fd)
	}
	if p.RunDelay = r.threadDelay(p.Threads); !Known(p.RunDelay) {
		r.missing(r.proc.task)
	}
}

func (r *systemReader) network(p *Process) {
	if p.NetworkReceived, p.NetworkTransmitted = parseNetstat(r.file(&r.proc.netstat)); !Known(p.NetworkReceived) {
		r.missing(r.proc.netstat.path)
	}
	if sockets, ok := parseSockstat(r.file(&r.proc.sockstat)); ok {
		p.SocketsInUse, p.SocketsOrphaned, p.SocketsTimeWait = sockets.inUse, sockets.orphaned, sockets.timeWait
		if six, ok := parseSockstat(r.file(&r.proc.sockstat6)); ok {
			p.SocketsInUse += six.inUse
		}
	} else {
		r.missing(r.proc.sockstat.path)
	}
}

func (r *systemReader) host(h *Host) {
	if cpu, ok := parseHostCPU(r.file(&r.proc.cpu)); ok {
		h.CPUUser, h.CPUSystem, h.CPUIdle, h.CPUIOWait, h.CPUSteal = cpu.user, cpu.system, cpu.idle, cpu.iowait, cpu.steal
	} else {
		r.missing(r.proc.cpu.path)
	}
	b := r.file(&r.proc.meminfo)
	h.MemoryTotal, h.MemoryAvailable = keyed(b, "MemTotal:")*1024, keyed(b, "MemAvailable:")*1024
	if !Known(h.MemoryTotal) {
		r.missing(r.proc.meminfo.path)
	}
	r.pressure(&h.Pressure, &r.proc.pressure)
	h.Pressure.CPUFull = unknown // the kernel writes a constant 0 for the host
}

func (r *systemReader) pressure(p *Pressure, from *[3]source) {
	p.CPUSome, p.CPUFull = parsePressure(r.file(&from[0]))
	p.MemorySome, p.MemoryFull = parsePressure(r.file(&from[1]))
	p.IOSome, p.IOFull = parsePressure(r.file(&from[2]))
	if !Known(p.CPUSome) {
		r.missing(from[0].path)
	}
}

// findStart computes when the process started: the kernel counts it in
// hundredths of a second since the boot, on every architecture Go supports.
func (r *systemReader) findStart() time.Time {
	st, ok := parseStat(r.file(&r.proc.stat))
	if !ok {
		return time.Time{}
	}
	uptime, ok := parseUptime(readFile(r.root+"/proc/uptime", r.buf[:]))
	if !ok {
		return time.Time{}
	}
	age := uptime - st.started/100
	if age < 0 || age > 1e9 {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(age * 1e9))
}
