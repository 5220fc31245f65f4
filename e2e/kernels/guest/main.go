//go:build linux

// Command guest is the first process of the virtual machines that the command
// kernels starts: it makes the kernel ready, runs programs of tests and the
// collector, and says on the second serial port how they went.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/e2e/kernels/plan"
	"github.com/kubectl-retina/kubectl-retina/e2e/kernels/verdict"
)

// port is the second serial port: the kernel writes to the first.
const port = "/dev/ttyS1"

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "guest: this is the first process of a virtual machine, and does nothing elsewhere")
		os.Exit(2)
	}
	if err := run(); err != nil {
		fmt.Println("guest:", err)
	}
	unix.Sync()
	fmt.Println("guest: power off:", unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
}

func run() error {
	if err := prepare(); err != nil {
		return err
	}
	text, err := os.ReadFile(plan.Path)
	if err != nil {
		return err
	}
	var p plan.Plan
	if err := json.Unmarshal(text, &p); err != nil {
		return fmt.Errorf("%s: %w", plan.Path, err)
	}
	to, err := os.OpenFile(port, os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer to.Close()
	m := &machine{verdicts: verdict.NewWriter(to, p.Mark)}
	if err := errors.Join(loadModules(p.Modules), network()); err != nil {
		return err
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err
	}
	m.send(verdict.Message{Boot: &verdict.Boot{Release: unix.ByteSliceToString(name.Release[:])}})
	for _, s := range p.Suites {
		m.suite(s)
	}
	for _, probe := range p.Probes {
		m.probe(probe)
	}
	m.send(verdict.Message{Done: true})
	return m.err
}

// machine is what all steps share.
type machine struct {
	verdicts *verdict.Writer
	err      error // of the port: nobody hears any more
}

func (m *machine) send(message verdict.Message) {
	m.err = errors.Join(m.err, m.verdicts.Send(message))
}

// prepare mounts what a node has and sets what every process needs.
func prepare() error {
	for _, m := range []struct{ kind, at string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"}, {"cgroup2", "/sys/fs/cgroup"},
		{"bpf", "/sys/fs/bpf"}, {"tracefs", "/sys/kernel/tracing"},
	} {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.kind, m.at, err)
		}
	}
	return errors.Join(
		os.Setenv("PATH", "/bin:/sbin:/usr/bin:/usr/sbin"),
		os.Setenv("HOME", "/tmp"),
		os.Setenv("GOGC", "400"), // memory is cheaper here than time
		unix.Sethostname([]byte("kernel-test")),
	)
}

// loadModules loads modules whose dependencies are before them in the list.
func loadModules(paths []string) error {
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := unix.InitModule(content, ""); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load module %s: %w", path, err)
		}
	}
	return nil
}

// network makes the machine a node: with an uplink that leads nowhere.
func network() error {
	for _, command := range []string{
		"ip link set lo up",
		"ip link add uplink type veth peer name nowhere",
		"ip addr add 198.18.0.1/24 dev uplink",
		"ip link set uplink up", "ip link set nowhere up",
	} {
		args := strings.Fields(command)
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, out)
		}
	}
	return nil
}
