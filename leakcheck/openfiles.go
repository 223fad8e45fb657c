package leakcheck

import (
	"fmt"
	"hash/maphash"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// openFiles are the process's descriptors as sources of a Watch.
//
// Left out is what a program keeps on purpose and nothing tells from a leak:
// listeners, mapped files, the pipes through which package net copies from one
// connection to another, and accepted connections, which last as long as
// their peer likes; when the peer has closed one, it is in CLOSE_WAIT and
// offered as such.
type openFiles struct {
	ignored func(path string) bool
	seed    maphash.Seed

	handles map[int]*handle // by number
	reading int
	peers   map[uint16]map[netip.Addr]bool // addresses of the peers, by their port
	// usual is, for the peers of which we have connections in CLOSE_WAIT, the
	// least number of connections since there are such.
	usual map[string]int

	found map[string][]Member // what the last reading found, by Source.Kind
	err   error
	took  time.Duration
	next  time.Time // when the next is due
}

// A handle is one descriptor over the readings.
type handle struct {
	id       uint64
	first    int // the reading in which it was first seen
	reading  int // the reading in which it was last seen
	kind     string
	group    string
	path     string // of a file
	deleted  bool
	listens  uint16 // the port, of a listening socket
	pending  bool   // a socket of which nothing is known yet
	tcp      bool
	accepted bool
	reset    bool  // by the peer, rather than closed
	splices  bool  // a pipe of package net's own
	bytes    int64 // that went over a TCP connection, both ways; -1 when unknown
	used     int   // the reading in which bytes was last seen to change
}

const (
	// readingShare is the part of the time that readings may take, one in so
	// many: 100,000 descriptors take half a second of system calls on a slow
	// machine and are read every eight minutes.
	readingShare = 1000
	// manyPeers is how many addresses the connections to one port may have to
	// be judged by address: a name with many addresses spreads its leak.
	manyPeers = 8
	// manyPorts bounds the groups of a program that talks to ports of all sorts.
	manyPorts = 200
)

// sources returns what Watch asks, in this order: the first reads for all.
func (o *openFiles) sources() []Source {
	if runtime.GOOS != "linux" { // one unknown is enough
		return []Source{{Kind: "descriptor", Open: func() ([]Member, error) { return nil, errNoDescriptors }}}
	}
	all := []Source{{Kind: "file", Open: func() ([]Member, error) {
		o.readWhenDue()
		return o.found["file"], o.err
	}}}
	for _, kind := range []string{"socket", "close_wait", "pipe", "descriptor"} {
		all = append(all, Source{Kind: kind, Open: func() ([]Member, error) { return o.found[kind], o.err }})
	}
	return all
}

func newOpenFiles(ignored func(path string) bool) *openFiles {
	return &openFiles{
		ignored: ignored, seed: maphash.MakeSeed(),
		handles: map[int]*handle{}, peers: map[uint16]map[netip.Addr]bool{}, usual: map[string]int{},
	}
}

// readWhenDue takes a reading unless the last one was dear. Then it is what
// that one found that is judged again, which slows the judgement down.
func (o *openFiles) readWhenDue() {
	begin, used := time.Now(), threadTime()
	if begin.Before(o.next) {
		return
	}
	o.err = o.read()
	took := threadTime() - used                     // Watch's goroutine is locked to its thread
	if cost := min(took, o.took); cost > freeCost { // as for the windows themselves
		o.next = begin.Add(cost * readingShare)
	}
	o.took = took
}

func (o *openFiles) read() error {
	o.reading++
	err := readOpenFiles(o.see)
	if err != nil {
		return fmt.Errorf("reading the open descriptors: %w", err)
	}
	listening := map[uint16]bool{}
	var pending []int
	for number, h := range o.handles {
		if h.reading != o.reading {
			delete(o.handles, number)
			continue
		}
		if h.pending {
			pending = append(pending, number)
		}
		listening[h.listens] = true
	}
	// Who listens must be known before who was accepted.
	sockets := make(map[int]socket, len(pending))
	for _, number := range pending {
		if s, ok := readSocket(number); ok {
			sockets[number] = s
			if s.network == "tcp" && s.state == tcpListen {
				listening[s.local.Port()] = true
			}
		}
	}
	for number, s := range sockets {
		o.handles[number].settle(s, listening, o.peers)
	}
	o.offer()
	return nil
}

// see notes a descriptor. One that has the number of another that was closed
// since begins anew, unless it is the same file again, which cannot be told.
func (o *openFiles) see(number int, target []byte) {
	path := strings.TrimSuffix(string(target), deletedSuffix)
	kind, inode := fileKind(path)
	id := inode
	if id == 0 {
		id = maphash.Comparable(o.seed, struct {
			number int
			path   string
		}{number, path})
	}
	h := o.handles[number]
	if h == nil || h.id != id {
		h = &handle{id: id, first: o.reading}
		o.handles[number] = h
		switch kind {
		case "socket":
			h.pending = true
		case "file":
			if o.judged(path) {
				h.kind, h.group, h.path = kind, "in "+pathGroup(path), path
			}
		case "pipe":
			h.kind, h.splices = kind, splices(number)
		default:
			h.kind, h.group = "descriptor", kind
		}
	}
	h.deleted = len(path) < len(target)
	h.reading = o.reading
}

// judged reports whether a file is one that can leak. The kernel's own are
// left out: whoever reads figures from there again and again keeps them open.
func (o *openFiles) judged(path string) bool {
	for _, prefix := range []string{"/proc/", "/sys/", "/dev/pts/"} {
		if strings.HasPrefix(path, prefix) {
			return false
		}
	}
	return !o.ignored(path)
}

// settle says in which group a socket is, once that is known: from then on it
// stays there.
func (h *handle) settle(s socket, listening map[uint16]bool, peers map[uint16]map[netip.Addr]bool) {
	h.pending = false
	h.kind = "socket"
	h.tcp = s.network == "tcp"
	switch {
	case h.tcp && s.state == tcpListen:
		h.kind, h.listens = "", s.local.Port()
	case h.tcp && (s.remote.IsValid() || s.state == tcpClose) && listening[s.local.Port()]:
		h.accepted = true
		h.group = "accepted on port " + strconv.Itoa(int(s.local.Port()))
	case s.remote.IsValid():
		h.group = "to " + peerGroup(s.remote, peers)
		if !h.tcp {
			h.group = s.network + " " + h.group
		}
	case h.tcp && s.state != tcpClose: // which is never connected, or reset
		h.pending = true // it is connecting
		h.group = "connecting"
	case h.tcp:
		h.group = notConnected
	case s.network == "unix":
		h.group = "unix"
		if s.path != "" {
			h.group = "unix " + starred(s.path)
		}
	default:
		h.group = s.network
	}
}

func peerGroup(remote netip.AddrPort, peers map[uint16]map[netip.Addr]bool) string {
	known := peers[remote.Port()]
	if known == nil {
		if len(peers) >= manyPorts {
			return "many ports"
		}
		known = map[netip.Addr]bool{}
		peers[remote.Port()] = known
	}
	if known[remote.Addr()] {
		return remote.String()
	}
	if len(known) >= manyPeers {
		return "port " + strconv.Itoa(int(remote.Port()))
	}
	known[remote.Addr()] = true
	return remote.String()
}

// offer makes the members of each source.
func (o *openFiles) offer() {
	o.found = map[string][]Member{}
	total := map[string]int{}
	waiting := map[string][]*handle{}  // in CLOSE_WAIT, by group
	outgoing := map[string][]*handle{} // TCP connections, by group
	var pipes []*handle
	splicing := 0
	var files []*handle
	for number, h := range o.handles {
		if h.tcp && h.kind != "" {
			total[h.group]++
			state, bytes, ok := tcpUse(number)
			h.reset = ok && state == tcpClose && !h.pending && h.group != notConnected
			if ok && state == tcpCloseWait || h.reset {
				waiting[h.group] = append(waiting[h.group], h)
				continue
			}
			if h.used == 0 || bytes != h.bytes || bytes < 0 {
				h.bytes, h.used = bytes, o.reading
			}
		}
		switch {
		case h.kind == "" || h.accepted:
		case h.splices:
			splicing++
		case h.kind == "pipe":
			pipes = append(pipes, h)
		case h.tcp:
			outgoing[h.group] = append(outgoing[h.group], h)
		case h.kind == "file":
			files = append(files, h)
		default:
			o.found[h.kind] = append(o.found[h.kind], Member{ID: h.id, Group: h.group})
		}
	}
	for _, h := range unmapped(files) {
		m := Member{ID: h.id, Group: h.group}
		if h.deleted {
			m.State = "deleted"
		}
		o.found["file"] = append(o.found["file"], m)
	}
	if splicing < maxSplicing {
		for _, h := range pipes {
			o.found["pipe"] = append(o.found["pipe"], Member{ID: h.id})
		}
	}
	for _, hs := range outgoing {
		o.offerOutgoing(hs)
	}
	o.offerWaiting(total, waiting)
}

// offerOutgoing offers the connections to one peer. A pool makes another one
// only while all that it has are in use. So one over which nothing went since
// before others were made is in nobody's pool, or the only one of several.
func (o *openFiles) offerOutgoing(hs []*handle) {
	slices.SortFunc(hs, func(a, b *handle) int { return b.first - a.first })
	for i, h := range hs {
		// Those before it in the list are newer; the newest of a window may be
		// what this one's last use had to wait for.
		unused := o.reading-h.used >= oldAge && i >= fewNewer && hs[fewNewer-1].first > h.used
		o.found["socket"] = append(o.found["socket"], Member{ID: h.id, Group: h.group, Unused: unused, busy: h.bytes >= 0 && h.used > h.first && o.reading-h.used < oldAge})
	}
}

// maxSplicing is how many ends of pipes there are of package net's own when the
// rest may be, too: to a user with 64 MiB in pipes the kernel refuses the size
// by which they are told from others (pipe-user-pages-soft, proc_sys_fs(5)).
const maxSplicing = 100

// fewNewer is how many newer connections there must be; one alone may be
// another client's of the same peer.
const fewNewer = 2

// notConnected is the group of TCP sockets that are not, and of which it is not
// known whether they ever were.
const notConnected = "not connected"

// offerWaiting offers the connections that their peers have closed, or reset. A pool
// whose idle connections the server closes finds out when it next uses them:
// it has many in CLOSE_WAIT, but no more connections than before. So to a peer
// only those count by which there are more connections than the least since
// the first was in CLOSE_WAIT, the oldest first.
func (o *openFiles) offerWaiting(total map[string]int, waiting map[string][]*handle) {
	for group := range o.usual {
		if len(waiting[group]) == 0 {
			delete(o.usual, group)
		}
	}
	for group, hs := range waiting {
		slices.SortFunc(hs, func(a, b *handle) int { return a.first - b.first })
		if !hs[0].accepted {
			least, ok := o.usual[group]
			if !ok || total[group] < least {
				least = total[group]
				o.usual[group] = least
			}
			hs = hs[:min(len(hs), total[group]-least)]
		}
		for _, h := range hs {
			state := "CLOSE_WAIT"
			if h.reset {
				state = "CLOSE"
			}
			o.found["close_wait"] = append(o.found["close_wait"], Member{ID: h.id, Group: h.group, State: state, Stuck: true})
		}
	}
}
