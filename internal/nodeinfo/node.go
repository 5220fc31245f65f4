//go:build linux

package nodeinfo

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// writeNodeFiles writes how the node itself resolves names.
func writeNodeFiles(_ context.Context, s *scope, r *recorder) error {
	return errors.Join(
		copyResolverFile(r, s.options.HostRoot, "etc/resolv.conf", "resolv.conf", ofResolvConf),
		copyResolverFile(r, s.options.HostRoot, "etc/hosts", "hosts", ofHosts),
	)
}

// writeKernel writes the kernel's version, how it was started, and its modules.
func writeKernel(_ context.Context, s *scope, r *recorder) error {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return fmt.Errorf("uname: %w", err)
	}
	f, err := r.create("kernel.txt", "uname -a; cat /proc/cmdline (without values that may be keys)")
	if err != nil {
		return err
	}
	for _, field := range [][65]byte{uts.Sysname, uts.Release, uts.Version, uts.Machine} {
		if err := f.printf("%s ", unix.ByteSliceToString(field[:])); err != nil {
			return err
		}
	}
	cmdline, err := readAtMost(filepath.Join(s.options.Proc, "cmdline"), 64<<10)
	if err != nil {
		return err
	}
	if err := f.printf("\n%s\n", withoutKeys(string(cmdline))); err != nil {
		return err
	}
	return copyProc(r, filepath.Join(s.options.Proc, "modules"), "modules.txt")
}

// withoutKeys blanks the values of kernel parameters whose names say that they
// may be secret.
func withoutKeys(cmdline string) string {
	words := strings.Fields(cmdline)
	for i, word := range words {
		name, _, valued := strings.Cut(word, "=")
		lower := strings.ToLower(name)
		for _, secret := range []string{"pass", "secret", "token", "key", "cred", "iscsi", "netroot", "auth"} {
			if valued && strings.Contains(lower, secret) {
				words[i] = name + "=..."
			}
		}
	}
	return strings.Join(words, " ")
}
