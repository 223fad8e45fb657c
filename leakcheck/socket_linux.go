package leakcheck

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"syscall"
)

// readSocket asks the kernel about the socket behind a descriptor: five system
// calls at most. The tables in /proc/net tell less, not of multipath TCP for one,
// and cost as much as the host has sockets, whoever's they are. The descriptor may be
// closed or another's meanwhile; asking changes nothing.
func readSocket(fd int) (s socket, ok bool) {
	const soDomain, soProtocol = 0x27, 0x26 // SO_DOMAIN, SO_PROTOCOL
	const multipathTCP = 262                // what net.Listen asks for where the kernel has it
	family, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, soDomain)
	if err != nil {
		return s, false
	}
	switch family {
	case syscall.AF_INET, syscall.AF_INET6:
		protocol, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, soProtocol)
		switch {
		case err != nil:
			return s, false
		case protocol == syscall.IPPROTO_TCP || protocol == multipathTCP:
			s.network = "tcp"
			if s.state, ok = tcpState(fd); !ok {
				return s, false
			}
		case protocol == syscall.IPPROTO_UDP:
			s.network = "udp"
		default:
			s.network = "raw"
		}
		local, _ := syscall.Getsockname(fd)
		remote, _ := syscall.Getpeername(fd)
		s.local, s.remote = addrPort(local), addrPort(remote)
	case syscall.AF_UNIX:
		s.network = "unix"
		remote, _ := syscall.Getpeername(fd)
		if s.path = unixPath(remote); s.path == "" {
			local, _ := syscall.Getsockname(fd)
			s.path = unixPath(local)
		}
	default:
		s.network = "family " + strconv.Itoa(family)
	}
	return s, true
}

// tcpState returns the first byte of TCP_INFO, which has been the state since
// the structure exists.
func tcpState(fd int) (byte, bool) {
	first, err := syscall.GetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_INFO)
	if err != nil {
		return 0, false
	}
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], uint32(first))
	return b[0], true
}

// splices reports whether a pipe is one of those through which package net has
// the kernel copy from one connection to another, two descriptors for each that
// is being copied (internal/poll.maxSpliceSize).
func splices(fd int) bool {
	const getPipeSize = 1032 // F_GETPIPE_SZ
	size, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), getPipeSize, 0)
	return errno == 0 && size == spliceSize
}

const spliceSize = 1 << 20

// splicesShow reports whether the kernel grants pipes the size by which splices
// knows them. Without privileges a user's pipes may have 64 MiB in all
// (pipe-user-pages-soft), and package net goes on without that size.
func splicesShow() bool {
	const setPipeSize = 1031 // F_SETPIPE_SZ
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC); err != nil {
		return false
	}
	defer syscall.Close(fds[0])
	defer syscall.Close(fds[1])
	_, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fds[0]), setPipeSize, spliceSize)
	return errno == 0 && splices(fds[0])
}

func addrPort(a syscall.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *syscall.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}

func unixPath(a syscall.Sockaddr) string {
	if a, ok := a.(*syscall.SockaddrUnix); ok {
		return a.Name
	}
	return ""
}
