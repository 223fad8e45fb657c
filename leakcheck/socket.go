package leakcheck

import "net/netip"

// A socket is what the kernel tells of a descriptor that is one.
type socket struct {
	network string // "tcp", "udp", "unix"; of others the number of their family
	// local and remote are the ends of tcp and udp; not valid where there is none.
	local, remote netip.AddrPort
	path          string // of a unix socket: the peer's, or else its own
	state         byte   // of tcp
}

// States of the kernel's net/tcp_states.h.
const (
	tcpEstablished = 1
	tcpClose       = 7 // the peer has reset it, if it was connected
	tcpCloseWait   = 8 // the peer has closed, we have not
	tcpListen      = 10
)
