package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A child is the service's process, seen from the one that started it.
type child struct {
	url, admin string
	dir        string

	mu  sync.Mutex // one question at a time
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startChild starts this program again, as the service.
func startChild(w *world, o options, ps []*program) (_ *child, err error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bottlenecks-")
	if err != nil {
		return nil, err
	}
	c := &child{dir: dir}
	defer func() {
		if err != nil {
			c.end()
		}
	}()
	with := wiring{
		Interval: o.interval, Database: w.db.addr(), Hosts: w.hosts(), Dir: dir,
		Collector: "http://" + w.collector.l.Addr().String(), Cores: w.cores, Small: w.small, Cgroup: w.cgroup.joins(),
	}
	for _, p := range ps {
		with.Programs = append(with.Programs, p.name)
	}
	text, err := json.Marshal(with)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "stderr"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c.cmd = exec.Command(exe)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "OTEL_") { // the collector of whoever runs this is not to get this
			c.cmd.Env = append(c.cmd.Env, v)
		}
	}
	c.cmd.Env = append(c.cmd.Env, wiringVariable+"="+string(text), turnsVariable+"="+strconv.Itoa(turns))
	c.cmd.Stderr = log
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(stdout)
	if err := c.cmd.Start(); err != nil {
		c.cmd = nil
		return nil, err
	}
	line, err := c.out.ReadString('\n')
	if words := strings.Fields(line); err == nil && len(words) == 3 && words[0] == "ready" {
		c.url, c.admin = words[1], words[2]
		return c, nil
	}
	return nil, fmt.Errorf("the service did not start: %s", c.stderr())
}

// stderr is the last of what the service said.
func (c *child) stderr() string {
	text, _ := os.ReadFile(filepath.Join(c.dir, "stderr"))
	return strings.TrimSpace(string(text[max(0, len(text)-2000):]))
}

// tell gives the service a line and returns its answer.
func (c *child) tell(line string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := io.WriteString(c.in, line+"\n"); err != nil {
		return "", fmt.Errorf("service: %w: %s", err, c.stderr())
	}
	answer, err := c.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("service: %w: %s", err, c.stderr())
	}
	return strings.TrimSpace(answer), nil
}

// did is how often the illness had an effect in the service.
func (c *child) did() (int64, error) {
	answer, err := c.tell("did")
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimPrefix(answer, "did "), 10, 64)
}

// end ends the process, kindly and then not, and removes its files. A second
// call does nothing.
func (c *child) end() error {
	defer os.RemoveAll(c.dir)
	if c.cmd == nil {
		return nil
	}
	cmd := c.cmd
	c.cmd = nil
	io.WriteString(c.in, "quit\n")
	c.in.Close()
	kill := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer kill.Stop()
	io.Copy(io.Discard, c.out)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("service: %w: %s", err, c.stderr())
	}
	return nil
}
