//go:build linux

package collector

import (
	"errors"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

func TestExitCode(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want int
	}{
		"not in the PATH": {&commandError{&exec.Error{Name: "x", Err: exec.ErrNotFound}}, 127},
		"no such file":    {&commandError{&os.PathError{Op: "stat", Path: "/bin/sh", Err: unix.ENOENT}}, 127},
		"not executable":  {&commandError{unix.EACCES}, 126},
		"another machine": {&commandError{unix.ENOEXEC}, 126},
		"our own":         {&os.PathError{Op: "open", Path: "/proc", Err: unix.ENOENT}, 1},
		"anything":        {errors.New("x"), 1},
	} {
		if got := ExitCode(test.err); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}
