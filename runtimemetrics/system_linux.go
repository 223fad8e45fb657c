package runtimemetrics

import (
	"encoding/binary"
	"os"
	"slices"
	"strconv"
	"syscall"
)

const haveProc = true

var pageSize = float64(os.Getpagesize())

// readFile reads the beginning of a file into buf by plain system calls: an
// os.File would cost a finalizer and an attempt to poll it.
func readFile(path string, buf []byte) []byte {
	fd, err := openFile(path)
	if err != nil {
		return nil
	}
	defer syscall.Close(fd)
	n := 0
	for n < len(buf) {
		m, err := syscall.Read(fd, buf[n:])
		if err == syscall.EINTR {
			continue
		}
		if err != nil || m <= 0 {
			break
		}
		n += m
	}
	return buf[:n]
}

func openFile(path string) (fd int, err error) {
	for {
		fd, err = syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		if err != syscall.EINTR {
			return fd, err
		}
	}
}

// A heldFile is read again and again from its beginning, which makes the kernel
// write its figures anew. Its zero value is closed.
type heldFile struct {
	fd   int
	open bool
}

// read opens the file if need be. A descriptor that has gone bad, as that of a
// removed cgroup does, is replaced once. One read is enough: the kernel gives
// files of figures whole when the buffer holds them.
func (f *heldFile) read(path string, buf []byte) []byte {
	for range 2 {
		if !f.open {
			fd, err := openFile(path)
			if err != nil {
				return nil
			}
			f.fd, f.open = fd, true
		}
		n, err := syscall.Pread(f.fd, buf, 0)
		for err == syscall.EINTR {
			n, err = syscall.Pread(f.fd, buf, 0)
		}
		if err == nil && n >= 0 {
			return buf[:n]
		}
		f.close()
	}
	return nil
}

func (f *heldFile) close() {
	if f.open {
		syscall.Close(f.fd)
		*f = heldFile{}
	}
}

func exists(path string) bool {
	var st syscall.Stat_t
	return syscall.Stat(path, &st) == nil
}

// descriptors counts the entries of /proc/self/fd. Since Linux 6.2 the size of
// the directory is their number; before, it is 0 and they must be listed.
func descriptors(path string) float64 {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return unknown
	}
	if st.Size > 0 && onProc(path) {
		return float64(st.Size)
	}
	n := 0
	ok := listNumbers(path, make([]byte, 4<<10), func(int) bool { n++; return n < 1<<20 })
	if !ok {
		return unknown
	}
	return float64(n - 1) // the one that lists
}

// onProc tells the real /proc from a directory of a test, whose size is that of
// its block.
func onProc(path string) bool {
	var fs syscall.Statfs_t
	return syscall.Statfs(path, &fs) == nil && fs.Type == 0x9fa0 // PROC_SUPER_MAGIC
}

// listNumbers calls f with each entry of a directory that is a number, until f
// returns false, and reports whether the directory could be read.
func listNumbers(path string, buf []byte, f func(int) bool) bool {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer syscall.Close(fd)
	for {
		n, err := syscall.ReadDirent(fd, buf)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return false
		}
		if n <= 0 {
			return true
		}
		for b := buf[:n]; len(b) > direntName; {
			// struct linux_dirent64: ino 8, off 8, reclen 2, type 1, name
			size := int(binary.NativeEndian.Uint16(b[16:]))
			if size <= direntName || size > len(b) {
				return false
			}
			if v, ok := direntNumber(b[direntName:size]); ok && !f(v) {
				return true
			}
			b = b[size:]
		}
	}
}

const direntName = 19

func direntNumber(name []byte) (int, bool) {
	n := 0
	for i, c := range name {
		if c == 0 {
			return n, i > 0
		}
		if c < '0' || c > '9' || i > 9 {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, len(name) > 0
}

// maxThreads bounds the cost of threadDelays: a descriptor and a read of 1 µs
// for each thread. A Go process with more threads has other troubles, and the
// pressure files to show this one.
const maxThreads = 64

// threadDelays adds up what /proc/self/task/*/schedstat say, which
// /proc/self/schedstat does not: it is the first thread's alone. Threads that
// end take their figure with them, so growth is added to a total thread by
// thread.
type threadDelays struct {
	total float64
	last  []threadDelay
	now   []threadDelay // the other buffer
	stale bool
}

type threadDelay struct {
	tid   int
	stat  source
	delay float64
}

// threadDelay returns the total. The directory is listed only when the number
// of threads, which the caller knows, is not that of the last listing, or one
// of those listed has ended.
func (r *systemReader) threadDelay(threads float64) float64 {
	t := &r.threads
	if t.stale || float64(len(t.last)) != threads {
		if !t.list(r.proc.task, r.buf[:]) {
			return unknown
		}
	}
	known := false
	for i := range t.last {
		n := &t.last[i]
		_, rest := field(r.file(&n.stat)) // time on the CPU, then in the queue
		word, _ := field(rest)
		v, ok := number(word)
		if !ok {
			t.stale = true // ended meanwhile, or a kernel without schedstat
			continue
		}
		known = true
		if v /= 1e9; v > n.delay {
			t.total += v - n.delay
			n.delay = v
		}
	}
	if !known {
		return unknown
	}
	return t.total
}

// list replaces the threads by those that are there now, false if that cannot
// be known or they are too many.
func (t *threadDelays) list(dir string, buf []byte) bool {
	t.now = t.now[:0]
	ok := listNumbers(dir, buf, func(tid int) bool {
		t.now = append(t.now, t.before(dir, tid))
		return len(t.now) <= maxThreads
	})
	if !ok || len(t.now) > maxThreads {
		return false
	}
	for i := range t.last {
		l := &t.last[i]
		if !slices.ContainsFunc(t.now, func(n threadDelay) bool { return n.tid == l.tid }) {
			l.stat.file.close()
		}
	}
	t.last, t.now = t.now, t.last
	t.stale = false
	return true
}

// before returns what the last reading knew of a thread.
func (t *threadDelays) before(dir string, tid int) threadDelay {
	for _, l := range t.last {
		if l.tid == tid {
			return l
		}
	}
	return threadDelay{tid: tid, stat: source{path: dir + "/" + strconv.Itoa(tid) + "/schedstat"}}
}

func (t *threadDelays) close() {
	for i := range t.last {
		t.last[i].stat.file.close()
	}
}
