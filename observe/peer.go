package observe

import (
	"context"
	"fmt"
	"net"
	"net/http/httptrace"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
)

const (
	// maxPeers bounds the addresses that are remembered, the latest: where they
	// change all the time, a leak shows by port.
	maxPeers = 1000
	// maxPeerNames is how many names an address has that many share, as behind a
	// load balancer.
	maxPeerNames = 4
)

// peers remembers who connected to which address: a descriptor tells the
// address alone. It is told of new connections, never of requests.
type peers struct {
	mu    sync.Mutex
	names map[string][]string // by address, as peerKey writes it
	order []string            // of the addresses, the oldest first
}

// peerKey is an address as leakcheck writes it: "10.0.0.7:5432", "unix /run/db".
func peerKey(network, addr string) string {
	if strings.HasPrefix(network, "unix") {
		return "unix " + digits.ReplaceAllString(addr, "*")
	}
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return ""
	}
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()).String()
}

var digits = regexp.MustCompile(`[0-9]+`)

func (p *peers) saw(network, addr, name string) {
	key := peerKey(network, addr)
	if key == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	names, known := p.names[key]
	switch {
	case slices.Contains(names, name), len(names) >= maxPeerNames:
		return
	case !known:
		if len(p.order) >= maxPeers {
			delete(p.names, p.order[0])
			p.order = append(p.order[:0], p.order[1:]...)
		}
		if p.names == nil {
			p.names = map[string][]string{}
		}
		p.order = append(p.order, key)
	}
	p.names[key] = append(names, name)
}

// sawConn notes the other end of a connection that the program has made.
func (p *peers) sawConn(c net.Conn, name string) {
	if a := c.RemoteAddr(); a != nil {
		p.saw(a.Network(), a.String(), name)
	}
}

// watch returns ctx for a function that dials on name's behalf: package net
// tells whoever traces a request which addresses it connects to.
func (p *peers) watch(ctx context.Context, name string) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{ConnectDone: func(network, addr string, err error) {
		if err == nil {
			p.saw(network, addr, name)
		}
	}})
}

// of returns the names behind a group of sockets: "to 10.0.0.7:5432", "udp to
// 10.0.0.7:53", "to port 443", "unix /run/db".
func (p *peers) of(group string) (names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, to, ok := strings.Cut(" "+group, " to ")
	if !ok {
		return p.names[group]
	}
	port, ok := strings.CutPrefix(to, "port ")
	if !ok {
		return slices.Clone(p.names[to])
	}
	for _, key := range p.order {
		if strings.HasSuffix(key, ":"+port) {
			for _, name := range p.names[key] {
				if !slices.Contains(names, name) && len(names) < maxPeerNames {
					names = append(names, name)
				}
			}
		}
	}
	return names
}

// whose returns a group of sockets with the names of those who connected there,
// or of the server that accepted them and what became of its connections.
func (t *Telemetry) whose(group string) string {
	if port, ok := strings.CutPrefix(group, "accepted on port "); ok {
		for _, c := range t.listeners.all() {
			if c.port == port {
				n := c.count()
				var states []string
				for state, name := range connectionStates {
					states = append(states, fmt.Sprintf("%d %s", n[state], name))
				}
				return group + " by Serve (of its connections " + strings.Join(states, ", ") + ")"
			}
		}
		return group
	}
	if names := t.peers.of(group); len(names) > 0 {
		return group + ", " + strings.Join(names, ", ")
	}
	return group
}
