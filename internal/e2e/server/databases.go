package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// debianCommand describes a program of the unpacked Debian packages, with the
// libraries that were unpacked beside it.
func debianCommand(t testing.TB, path string) Command {
	t.Helper()
	libraries, err := filepath.Glob(filepath.Join(Root(t), ".bin", "debian", "usr", "lib", "*-linux-gnu"))
	if err != nil {
		t.Fatal(err)
	}
	return Command{
		Name: filepath.Base(path), Path: path,
		Env: []string{"LC_ALL=C", "LD_LIBRARY_PATH=" + strings.Join(libraries, ":")},
	}
}

// StartRedis starts Redis without persistence and returns its host:port.
func StartRedis(t testing.TB) (addr string) {
	t.Helper()
	c := debianCommand(t, Binary(t, "debian", "usr/bin/redis-server"))
	c.Dir = t.TempDir()
	StartOnPorts(t, 1, func(ports []string) Command {
		addr = "127.0.0.1:" + ports[0]
		c.Args = []string{"--bind", "127.0.0.1", "--port", ports[0], "--dir", c.Dir, "--save", "", "--daemonize", "no"}
		c.Ready = accepts(addr)
		return c
	})
	return addr
}

// StartPostgres starts PostgreSQL with an empty cluster and returns a URL for
// its superuser. It counts statements in pg_stat_statements, where a test creates
// that extension. Root, as which it refuses to run, becomes nobody.
func StartPostgres(t testing.TB) (dsn string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(Root(t), ".bin", "debian", "usr", "lib", "postgresql", "*", "bin"))
	if err != nil || len(found) == 0 {
		t.Fatalf("PostgreSQL is not there: begin the tests with internal/e2e/run, which fetches it: %v", err)
	}
	bin := found[len(found)-1]
	// Not t.TempDir: its parent is for the test's own user alone.
	dir, err := os.MkdirTemp("", "e2e-postgres-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	var user *syscall.Credential
	if os.Getuid() == 0 {
		const nobody = 65534
		user = &syscall.Credential{Uid: nobody, Gid: nobody}
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	c := debianCommand(t, filepath.Join(bin, "postgres"))
	c.Dir, c.User = dir, user
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-A", "trust", "-U", "e2e", "--no-sync", "-E", "UTF8", "--locale=C")
	initdb.Dir, initdb.Env = dir, append(os.Environ(), c.Env...)
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: user}
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	StartOnPorts(t, 1, func(ports []string) Command {
		addr := "127.0.0.1:" + ports[0]
		dsn = "postgres://e2e@" + addr + "/postgres?sslmode=disable"
		c.Args = []string{"-D", data, "-c", "listen_addresses=127.0.0.1", "-c", "port=" + ports[0], "-c", "unix_socket_directories=" + dir, "-c", "fsync=off", "-c", "shared_preload_libraries=pg_stat_statements"}
		// It listens before it can serve.
		c.Ready = func(p *Process) error {
			if !strings.Contains(p.Log(), "ready to accept connections") {
				return errors.New("still starting up")
			}
			return nil
		}
		return c
	})
	return dsn
}

// accepts is for servers without a health endpoint that listen when they can serve.
func accepts(addr string) func(*Process) error {
	return func(*Process) error {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return fmt.Errorf("not listening: %w", err)
		}
		return conn.Close()
	}
}
