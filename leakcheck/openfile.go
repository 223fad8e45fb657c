package leakcheck

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// errNoDescriptors says that nothing tells which descriptors are open.
var errNoDescriptors = fmt.Errorf("%s has no /proc to tell the open descriptors", runtime.GOOS)

// readOpenFiles calls each with every open descriptor and what the kernel says
// it is: "/tmp/a", "pipe:[1234]", "socket:[1234]", "anon_inode:[eventpoll]".
// Target is valid during the call. Reading a link touches no file system, so
// it cannot hang where the file is on a dead server, as fstat would.
func readOpenFiles(each func(number int, target []byte)) error {
	if runtime.GOOS != "linux" {
		return errNoDescriptors
	}
	const path = "/proc/self/fd"
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	own := int(dir.Fd())
	buf := make([]byte, 4<<10) // PATH_MAX
	for {
		names, err := dir.Readdirnames(1024)
		for _, name := range names {
			n, err := strconv.Atoi(name)
			if err != nil || n == own {
				continue
			}
			size, err := readlink(path+"/"+name, buf)
			switch {
			case err == nil:
				each(n, buf[:size])
			case !errors.Is(err, syscall.ENOENT): // closed meanwhile
				return fmt.Errorf("%s/%s: %w", path, name, err)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func readlink(path string, buf []byte) (int, error) {
	for {
		n, err := syscall.Readlink(path, buf)
		if err != syscall.EINTR {
			return n, err
		}
	}
}

// deletedSuffix is what the kernel appends to the path of a file that has no
// name any more.
const deletedSuffix = " (deleted)"

// fileKind tells what kind of thing a descriptor's target is: file, socket,
// pipe, eventpoll, eventfd, inotify, pidfd, memfd and whatever else the kernel has. Inode
// is 0 where the target has none; then the target is the identity.
func fileKind(target string) (kind string, inode uint64) {
	if strings.HasPrefix(target, "/memfd:") {
		return "memfd", 0
	}
	if strings.HasPrefix(target, "/") {
		return "file", 0
	}
	kind, rest, ok := strings.Cut(target, ":")
	if !ok {
		return "other", 0
	}
	rest = strings.TrimSuffix(strings.TrimPrefix(rest, "["), "]")
	if kind == "anon_inode" {
		kind, rest = rest, ""
	}
	if kind == "" || strings.ContainsFunc(kind, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '-'
	}) || len(kind) > 32 {
		return "other", 0
	}
	inode, _ = strconv.ParseUint(rest, 10, 64) // MaxUint64 when out of range, which no inode is
	return kind, inode
}

// pathGroup returns the directory of a path with a star for what differs from
// one temporary directory, date or shard to the next: hexadecimal numbers of
// eight digits or more, UUIDs, runs of decimal digits.
func pathGroup(path string) string {
	dir := path[:max(strings.LastIndexByte(path, '/'), 0)]
	if dir == "" {
		return "/"
	}
	parts := strings.Split(dir, "/")
	for i, part := range parts {
		parts[i] = starred(part)
	}
	return strings.Join(parts, "/")
}

func starred(part string) string {
	if len(part) >= 8 && strings.Trim(part, "0123456789abcdefABCDEF-") == "" {
		return "*"
	}
	var b strings.Builder
	for i := 0; i < len(part); i++ {
		if part[i] < '0' || part[i] > '9' {
			b.WriteByte(part[i])
		} else if i == 0 || part[i-1] < '0' || part[i-1] > '9' {
			b.WriteByte('*')
		}
	}
	return b.String()
}
