//go:build linux

package nodeinfo

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// errNotRegular is returned for devices, FIFOs and directories.
var errNotRegular = errors.New("not a regular file")

// openIn opens a regular file below a directory as a process would whose root
// that is: symbolic links, also absolute ones, stay inside. Whoever owns the
// directory may have put anything there, so nothing but a regular file is opened:
// opening a device can do something, and opening a FIFO can take for ever.
func openIn(root, path string) (*os.File, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: root, Err: err}
	}
	defer unix.Close(dir)
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(dir, path, &how)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path + " in " + root, Err: err}
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, &os.PathError{Op: "stat", Path: path + " in " + root, Err: err}
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, &os.PathError{Op: "open", Path: path + " in " + root, Err: errNotRegular}
	}
	// The file itself, and not again by its path.
	return os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDONLY|unix.O_NONBLOCK, 0)
}

// maxResolver is more than resolvers read.
const maxResolver = 256 << 10

// copyResolverFile copies the lines of a file that keep accepts. A container
// chooses what its files are: a link to a key must not end in an archive.
func copyResolverFile(r *recorder, root, path, to string, keep func(line string) bool) error {
	in, err := openIn(root, path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, maxResolver))
	if err != nil {
		return err
	}
	out, err := r.create(to, "")
	if err != nil {
		return err
	}
	defer out.Close()
	for line := range strings.Lines(string(text)) {
		if strings.TrimSpace(line) != "" && !keep(line) {
			line = "# (a line that is not of such a file is left out)\n"
		}
		if _, err := out.Write([]byte(line)); err != nil {
			return err
		}
	}
	return nil
}

// ofResolvConf accepts the lines of resolv.conf(5), without comments.
func ofResolvConf(line string) bool {
	words := strings.Fields(line)
	switch words[0] {
	case "nameserver", "search", "domain", "options", "sortlist":
		return len(line) < 4096
	}
	return false
}

// ofHosts accepts the lines of hosts(5), without comments.
func ofHosts(line string) bool {
	words := strings.Fields(line)
	_, err := netip.ParseAddr(words[0])
	return err == nil && len(line) < 4096
}
