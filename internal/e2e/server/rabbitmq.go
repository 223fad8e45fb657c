package server

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// StartRabbitMQ starts RabbitMQ with its management plugin, and the port mapper
// that Erlang wants, and returns the URLs of both. It takes six seconds of a
// processor: one for a test is enough.
func StartRabbitMQ(t testing.TB) (amqp, management string) {
	t.Helper()
	erlang := filepath.Dir(filepath.Dir(Binary(t, "rabbitmq", "usr/lib/erlang/bin/start_sasl.boot")))
	runtimes, err := filepath.Glob(filepath.Join(erlang, "erts-*", "bin"))
	if err != nil || len(runtimes) != 1 {
		t.Fatalf("Erlang: %v, %v", runtimes, err)
	}
	// Not t.TempDir: the broker may still write while it is stopped.
	dir, err := os.MkdirTemp("", "e2e-rabbitmq-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	write := func(name string, mode os.FileMode, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	// The package's own script knows only the place where it would be installed.
	write("erl", 0o700, fmt.Sprintf("#!/bin/sh\nexport ROOTDIR=%s BINDIR=%s EMU=beam PROGNAME=erl\nexec \"$BINDIR/erlexec\" \"$@\"\n", erlang, runtimes[0]))
	plugins := write("enabled_plugins", 0o600, "[rabbitmq_management].\n")

	var mapper string
	StartOnPorts(t, 1, func(ports []string) Command {
		mapper = ports[0]
		c := debianCommand(t, filepath.Join(runtimes[0], "epmd"))
		c.Args, c.Dir, c.Ready = []string{"-address", "127.0.0.1", "-port", mapper}, dir, accepts("127.0.0.1:"+mapper)
		return c
	})
	StartOnPorts(t, 3, func(ports []string) Command {
		amqp, management = "amqp://guest:guest@127.0.0.1:"+ports[0]+"/", "http://guest:guest@127.0.0.1:"+ports[1]
		// Its health is good before it takes connections.
		healthy, listens := answersOK(management+"/api/health/checks/virtual-hosts"), accepts("127.0.0.1:"+ports[0])
		// Stopping takes it as long as starting, and there is nothing to keep.
		c := Command{
			Name: "rabbitmq", Path: Binary(t, "rabbitmq", "usr/lib/rabbitmq/bin/rabbitmq-server"), Dir: dir, Grace: time.Millisecond, Within: 2 * time.Minute,
			Ready: func(p *Process) error {
				if err := healthy(p); err != nil {
					return err
				}
				return listens(p)
			},
		}
		config := write("rabbitmq.conf", 0o600, strings.Join([]string{
			"listeners.tcp.default = 127.0.0.1:" + ports[0],
			"management.tcp.ip = 127.0.0.1", "management.tcp.port = " + ports[1],
			"collect_statistics_interval = 250", // what management tells is as old as this
			"",
		}, "\n"))
		c.Env = []string{
			"PATH=" + dir + ":" + os.Getenv("PATH"), "HOME=" + dir, "LC_ALL=C",
			"RABBITMQ_NODENAME=rabbit@localhost", "RABBITMQ_CONFIG_FILE=" + config, "RABBITMQ_CONF_ENV_FILE=" + filepath.Join(dir, "none"),
			"RABBITMQ_MNESIA_BASE=" + filepath.Join(dir, "mnesia"), "RABBITMQ_LOG_BASE=" + filepath.Join(dir, "log"), "RABBITMQ_LOGS=-",
			"RABBITMQ_ENABLED_PLUGINS_FILE=" + plugins, "RABBITMQ_DIST_PORT=" + ports[2],
			"RABBITMQ_ALLOW_INPUT=1", // the script becomes the broker, so that there is one process to stop
			"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1} -noinput",
			"ERL_EPMD_ADDRESS=127.0.0.1", "ERL_EPMD_PORT=" + mapper,
		}
		return c
	})
	return amqp, management
}
