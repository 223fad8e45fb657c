//go:build !386 && !s390x

package leakcheck

import (
	"encoding/binary"
	"syscall"
	"unsafe"
)

// tcpUse returns the state of a TCP connection and how many bytes of data went
// over it, both ways: -1 where the kernel does not tell, which is older than
// Linux 4.1. Probes that keep the connection alive are no data.
func tcpUse(fd int) (state byte, bytes int64, ok bool) {
	// The kernel's struct tcp_info has grown at its end alone.
	const bytesAcked, bytesReceived = 120, 128
	var info [136]byte
	size := uint32(len(info))
	_, _, errno := syscall.Syscall6(syscall.SYS_GETSOCKOPT, uintptr(fd), syscall.IPPROTO_TCP, syscall.TCP_INFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0, -1, false
	}
	bytes = -1
	if int(size) >= len(info) {
		bytes = int64(binary.NativeEndian.Uint64(info[bytesAcked:]) + binary.NativeEndian.Uint64(info[bytesReceived:]))
	}
	return info[0], bytes, true
}
