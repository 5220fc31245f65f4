//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
)

// A pod is what a collector takes for one: a process in a network namespace of
// its own and in a cgroup named after the pod's UID. Its eth0 is a veth, whose
// other end is in the namespace of a second process.
type pod struct {
	uid       string
	processes []*process // the pod's, and that at the other end
	cgroup    string
}

// A process waits for its standard input to close. That happens when this
// process ends, however it does, and its network namespace ends with it.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	netns *hostns.Netns
}

func newPod(ctx context.Context) (*pod, error) {
	p := &pod{uid: newUID()}
	if err := p.start(ctx); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func newUID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (p *pod) start(ctx context.Context) error {
	root := "/sys/fs/cgroup"
	if _, err := os.Stat(root + "/unified"); err == nil {
		root += "/unified" // beside version 1
	}
	p.cgroup = filepath.Join(root, "pod"+p.uid)
	if err := os.Mkdir(p.cgroup, 0o755); err != nil {
		return err
	}
	cgroup, err := os.Open(p.cgroup)
	if err != nil {
		return err
	}
	defer cgroup.Close()
	for _, attributes := range []*syscall.SysProcAttr{
		{Cloneflags: syscall.CLONE_NEWNET, UseCgroupFD: true, CgroupFD: int(cgroup.Fd())},
		{Cloneflags: syscall.CLONE_NEWNET},
	} {
		if err := p.startProcess(attributes); err != nil {
			return err
		}
	}
	return p.connect(ctx)
}

func (p *pod) startProcess(attributes *syscall.SysProcAttr) error {
	// Not ended by a context: close does that.
	cmd := exec.Command("cat")
	cmd.SysProcAttr = attributes
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	started := &process{cmd: cmd, stdin: stdin}
	p.processes = append(p.processes, started)
	started.netns, err = hostns.Open(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid))
	return err
}

// connect makes the veth pair.
func (p *pod) connect(ctx context.Context) error {
	err := p.ip(ctx, 0, fmt.Sprintf("link add eth0 type veth peer name eth0 netns %d", p.processes[1].cmd.Process.Pid))
	for i := range p.processes {
		err = errors.Join(err, p.ip(ctx, i, fmt.Sprintf("address add 192.0.2.%d/24 dev eth0", i+1)), p.ip(ctx, i, "link set eth0 up"))
	}
	return err
}

func (p *pod) ip(ctx context.Context, end int, args string) error {
	argv := p.argv(end, append([]string{"ip"}, strings.Fields(args)...)...)
	_, err := output(ctx, argv[0], argv[1:]...)
	return err
}

// argv is the command line that runs args in the network namespace of one end.
func (p *pod) argv(end int, args ...string) []string {
	return append([]string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", p.processes[end].cmd.Process.Pid), "--"}, args...)
}

// close ends the processes, and with them all that was made in their namespaces.
func (p *pod) close() error {
	var errs []error
	for _, process := range p.processes {
		if process.netns != nil {
			errs = append(errs, process.netns.Close())
		}
		errs = append(errs, process.stdin.Close(), process.cmd.Wait())
	}
	if err := os.Remove(p.cgroup); !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
