//go:build linux

package collector

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
)

// ShellOnNode, in place of a pod's UID, stays on the network where Enter begins.
const ShellOnNode = "node"

// shellCapabilities are those that a shell keeps: what the network takes, and what
// programs of an image expect of root.
func shellCapabilities() []int {
	return []int{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_NET_BIND_SERVICE, unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE,
		unix.CAP_FOWNER, unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_KILL}
}

// Copy copies the program that runs to path, for a container of another image.
func Copy(path string) error {
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}

// Enter runs command, or a shell if it is empty, in the network of the pod with
// this UID, and returns its exit code. It sees no process and no kernel setting but
// its own, can change neither, and dies with this process. On ShellOnNode Enter
// becomes the command.
func Enter(uid string, command []string) (code int, err error) {
	if err := EnterSession(); err != nil {
		return 1, err
	}
	if uid == ShellOnNode {
		return 1, become(command)
	}
	found, err := hostns.FindPods("/proc", []string{uid})
	if err != nil {
		return 1, err
	}
	ns := found[uid]
	if ns == nil {
		return 1, fmt.Errorf("pod %s: %w", uid, hostns.ErrNoProcess)
	}
	defer ns.Close()
	// A child begins on the network of the thread that starts it, and dies with it.
	runtime.LockOSThread()
	if err := unix.Setns(ns.FD(), unix.CLONE_NEWNET); err != nil {
		return 1, fmt.Errorf("enter the pod's network: %w", err)
	}
	_, terminal := unix.IoctlGetTermios(0, unix.TCGETS)
	child := &exec.Cmd{
		Path: "/proc/self/exe", Args: append([]string{os.Args[0], "inside"}, command...),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL, Foreground: terminal == nil,
		},
	}
	err = child.Run()
	var ended *exec.ExitError
	if !errors.As(err, &ended) {
		return 0, err
	}
	if status, ok := ended.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return ended.ExitCode(), nil
}

// Inside is the child of Enter: it makes the namespaces what the command may see,
// gives up what the command may not do, and becomes it.
func Inside(command []string) error {
	runtime.LockOSThread()
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("separate the mounts: %w", err)
	}
	const readOnly = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	for path, kind := range map[string]string{"/proc": "proc", "/sys": "sysfs"} {
		if err := unix.Mount(kind, path, kind, readOnly, ""); err != nil {
			return fmt.Errorf("mount %s: %w", path, err)
		}
	}
	return become(command)
}

// become replaces this process by the command, with a shell's capabilities.
func become(command []string) error {
	runtime.LockOSThread()
	none := len(command) == 0
	if none {
		command = []string{someShell()}
	}
	path, err := exec.LookPath(command[0])
	if err != nil && none {
		err = fmt.Errorf("the image has no shell: name one of its programs behind -- (%w)", err)
	}
	if err != nil {
		return &commandError{err}
	}
	if err := limit(); err != nil {
		return err
	}
	return &commandError{fmt.Errorf("%s: %w", path, unix.Exec(path, command, os.Environ()))}
}

// A commandError is of the command that a shell was to execute.
type commandError struct{ err error }

func (e *commandError) Error() string { return e.err.Error() }
func (e *commandError) Unwrap() error { return e.err }

// ExitCode is the exit code of a process that ends with this error: as a shell's
// 127 for a command that is not there, and 126 for one that cannot be executed.
func ExitCode(err error) int {
	var command *commandError
	switch {
	case !errors.As(err, &command):
		return 1
	case errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist):
		return 127
	}
	return 126
}

// someShell is the best shell of the image.
func someShell() string {
	for _, shell := range []string{"/bin/bash", "/usr/bin/bash", "/bin/zsh"} {
		if _, err := os.Stat(shell); err == nil {
			return shell
		}
	}
	return "/bin/sh"
}

// limit takes all other capabilities out of the thread's bounding set, which what
// root executes gets at most, and forbids to gain any.
func limit() error {
	for c := 0; c <= unix.CAP_LAST_CAP; c++ {
		if slices.Contains(shellCapabilities(), c) {
			continue
		}
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0)
		if err != nil || has == 0 {
			continue // an older kernel does not know it
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil {
			return fmt.Errorf("give up capability %d: %w", c, err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("clear ambient capabilities: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	sets[0].Inheritable, sets[1].Inheritable = 0, 0 // they would come back with exec
	if err := unix.Capset(&header, &sets[0]); err != nil {
		return fmt.Errorf("clear inheritable capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid new privileges: %w", err)
	}
	return nil
}
