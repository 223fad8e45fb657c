package observe

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/loadline-go/loadline/leakcheck"
)

// dialing is a driver whose connections are sockets.
type dialing struct{ addr string }

func (d dialing) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", d.addr)
	if err != nil {
		return nil, err
	}
	return dialed{c}, nil
}
func (d dialing) Driver() driver.Driver { return nil }

type dialed struct{ net.Conn }

func (dialed) Prepare(string) (driver.Stmt, error) { return nil, errors.New("cannot") }
func (dialed) Begin() (driver.Tx, error)           { return nil, errors.New("cannot") }

func TestSuspectedSocketsAreNamedByWhoMadeThem(t *testing.T) {
	tel := start(t, Config{})
	api := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer api.Close()
	client := http.Client{Transport: tel.Transport(&http.Transport{})}
	defer client.CloseIdleConnections()
	r, err := client.Get(api.URL)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()

	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	for _, name := range []string{"orders", "orders-report"} {
		db := tel.OpenDB(dialing{server.Addr().String()}, name)
		if err := db.Ping(); err != nil {
			t.Fatal(err)
		}
		defer db.Close()
	}

	tel.listeners.follow(&http.Server{}, server)
	_, port, _ := net.SplitHostPort(server.Addr().String())
	apiAddr := strings.TrimPrefix(api.URL, "http://")
	for group, want := range map[string]string{
		"to " + apiAddr:                    "to " + apiAddr + ", the dependency " + apiAddr,
		"to " + server.Addr().String():     "to " + server.Addr().String() + ", the pool orders, the pool orders-report",
		"to port " + port:                  "to port " + port + ", the pool orders, the pool orders-report",
		"accepted on port " + port:         "accepted on port " + port + " by Serve (of its connections 0 new, 0 active, 0 idle, 0 hijacked)",
		"accepted on port 1":               "accepted on port 1",
		"to 192.0.2.1:" + port:             "to 192.0.2.1:" + port,
		"to many ports":                    "to many ports",
		"udp to " + server.Addr().String(): "udp to " + server.Addr().String() + ", the pool orders, the pool orders-report",
		"":                                 "",
	} {
		looked(t, tel, leakcheck.Look{Suspects: []leakcheck.Suspect{{Kind: "close_wait", Group: group}, {Kind: "file", Group: group}}})
		look, _ := tel.leaks.last()
		if got := look.Suspects[0].Group; got != want {
			t.Errorf("%q: %q, want %q", group, got, want)
		}
		if got := look.Suspects[1].Group; got != group {
			t.Errorf("a file: %q, want %q", got, group)
		}
	}
}

func TestPeersAreBounded(t *testing.T) {
	var p peers
	for i := range 3 * maxPeers {
		p.saw("tcp", fmt.Sprintf("10.%d.%d.%d:5432", i>>16, i>>8&255, i&255), fmt.Sprint("the pool ", i))
	}
	if len(p.names) != maxPeers || len(p.order) != maxPeers || p.of("to 10.0.0.0:5432") != nil || p.of("to 10.0.11.183:5432") == nil {
		t.Errorf("%d addresses", len(p.names))
	}
	if got := p.of("to port 5432"); len(got) != maxPeerNames {
		t.Errorf("%d names of a port", len(got))
	}
	for i := range 2 * maxPeerNames {
		p.saw("tcp", "[::ffff:10.9.9.9]:80", fmt.Sprint("the pool ", i))
	}
	if got := p.of("to 10.9.9.9:80"); len(got) != maxPeerNames {
		t.Errorf("%d names of an address", len(got))
	}
	p.saw("unix", "/run/.s.PGSQL.5432", "the pool local")
	if got := p.of("unix /run/.s.PGSQL.*"); len(got) != 1 {
		t.Errorf("unix: %q", got)
	}
	p.saw("tcp", "pipe", "nobody")
	if len(p.order) != maxPeers {
		t.Errorf("%d addresses", len(p.order))
	}
}
