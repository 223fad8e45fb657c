package server

import (
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Nginx is a running nginx in front of some upstreams.
type Nginx struct {
	*Process
	URL  string // of what it proxies
	Stub string // of its stub_status

	config, dir, addr, location string
}

// StartNginx starts nginx with the directives of its location, among them
// proxy_pass to http://upstream, and the servers of that, each "host:port".
func StartNginx(t testing.TB, location string, upstreams ...string) *Nginx {
	t.Helper()
	n := &Nginx{dir: t.TempDir(), location: location}
	n.config = filepath.Join(n.dir, "nginx.conf")
	path := Binary(t, "nginx", "usr/sbin/nginx")
	n.Process = StartOnPorts(t, 1, func(ports []string) Command {
		n.addr = "127.0.0.1:" + ports[0]
		n.URL, n.Stub = "http://"+n.addr, "http://"+n.addr+"/stub_status"
		n.write(t, upstreams)
		return Command{
			Name: "nginx", Path: path, Dir: n.dir, Health: n.Stub,
			Args: []string{"-p", n.dir, "-c", n.config, "-e", "stderr"},
		}
	})
	return n
}

func (n *Nginx) write(t testing.TB, upstreams []string) {
	t.Helper()
	var servers, owner string
	for _, u := range upstreams {
		// Without max_fails=0, an upstream that has failed once is left out for 10 s.
		servers += "server " + u + " max_fails=0; "
	}
	if u, err := user.Current(); err == nil && u.Uid == "0" { // a master that is not root takes no other user
		owner = "user root;"
	}
	text := fmt.Sprintf(`
daemon off; %s worker_processes 2; pid nginx.pid; error_log stderr warn;
events { worker_connections 512; }
http {
  access_log off;
  client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
  upstream upstream { %s keepalive 16; }
  server {
    listen %s;
    location = /stub_status { stub_status; }
    location / {
      proxy_pass http://upstream; proxy_http_version 1.1; proxy_set_header Connection "";
      %s
    }
  }
}
`, owner, servers, n.addr, n.location)
	if err := os.WriteFile(n.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Reload puts these upstreams in place of those before and waits until no
// worker with the old ones is left.
func (n *Nginx) Reload(t testing.TB, upstreams ...string) {
	t.Helper()
	n.write(t, upstreams)
	old := n.workers(t)
	n.Signal(syscall.SIGHUP)
	Eventually(t, 30*time.Second, func() error {
		now := n.workers(t)
		if len(now) == 0 || slices.ContainsFunc(now, func(pid string) bool { return slices.Contains(old, pid) }) {
			return fmt.Errorf("nginx: workers %v are to give way, there are %v", old, now)
		}
		return nil
	})
}

func (n *Nginx) workers(t testing.TB) []string {
	t.Helper()
	pid := n.cmd.Process.Pid
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(b))
}

// LowAddr is a loopback address outside the range from which the kernel takes
// the ports of outgoing connections, for a server that is to come back on it.
func LowAddr(t testing.TB) string {
	t.Helper()
	for port := 20_000 + os.Getpid()%5_000; port < 32_000; port++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		_ = l.Close()
		return l.Addr().String()
	}
	t.Fatal("no free port below 32000")
	return ""
}
