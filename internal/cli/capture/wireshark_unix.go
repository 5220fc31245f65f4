//go:build !windows

package capture

import (
	"os/exec"
	"syscall"
)

// detach starts a program in a process group of its own, which Ctrl-C does not reach.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
