//go:build linux

package nodeinfo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A ruleset is printed best by the program that made it, of which there are
// several versions: the node's own are run, in the node's root directory, from a
// thread in the namespace.

// writeIPTables runs iptables-save of both back ends, or where there is but one
// the program itself.
func writeIPTables(ctx context.Context, s *scope, r *recorder) error {
	var errs []error
	found := false
	for _, family := range []string{"iptables", "ip6tables"} {
		variants := s.variants(family)
		found = found || len(variants) > 0
		for _, variant := range variants {
			errs = append(errs, s.runTool(ctx, r, variant, variant+".txt", "-c"))
		}
	}
	if !found {
		return missingIPTables()
	}
	return errors.Join(errs...)
}

// variants are the programs to run of FAMILY-save.
func (s *scope) variants(family string) []string {
	var both []string
	for _, backend := range []string{"-legacy", "-nft"} {
		if _, ok := s.tool(family + backend + "-save"); ok {
			both = append(both, family+backend+"-save")
		}
	}
	if len(both) == 2 {
		return both // the plain name is one of them
	}
	if _, ok := s.tool(family + "-save"); ok {
		return []string{family + "-save"}
	}
	return both
}

// missingIPTables is no problem unless there are tables that only it can print:
// those of nft are in nftables.json.
func missingIPTables() error {
	var tables []string
	for _, name := range []string{"ip_tables_names", "ip6_tables_names"} {
		text, err := readAtMost(threadNet+"/"+name, 4096)
		if err == nil && len(bytes.TrimSpace(text)) > 0 {
			tables = append(tables, name+": "+strings.Join(strings.Fields(string(text)), " "))
		}
	}
	if len(tables) == 0 {
		return nil
	}
	return fmt.Errorf("the node has no iptables-save to print its tables (%s)", strings.Join(tables, "; "))
}

func writeNFT(ctx context.Context, s *scope, r *recorder) error {
	if _, ok := s.tool("nft"); !ok {
		return nil
	}
	return s.runTool(ctx, r, "nft", "nft-ruleset.txt", "list", "ruleset")
}

// toolDirectories are where distributions have their programs.
func toolDirectories() []string {
	return []string{"/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/local/bin", "/run/current-system/sw/bin"}
}

// tool finds a program of the node's.
func (s *scope) tool(name string) (path string, ok bool) {
	for _, dir := range toolDirectories() {
		f, err := openIn(s.options.HostRoot, dir+"/"+name)
		if err != nil {
			continue
		}
		info, err := f.Stat()
		f.Close()
		if err == nil && info.Mode()&0o111 != 0 {
			return dir + "/" + name, true
		}
	}
	return "", false
}

const (
	maxStderr = 2 << 10         // bytes of a program's messages that are reported
	drainTime = 2 * time.Second // to read what a program that has ended has printed
)

// runTool writes what a program of the node's prints. The thread must be in the
// namespace that the program is to see. With ctx, or when its file is full, the
// program and its children are killed.
func (s *scope) runTool(ctx context.Context, r *recorder, name, file string, args ...string) error {
	path, ok := s.tool(name)
	if !ok {
		return fmt.Errorf("%s: not found", name)
	}
	out, err := r.create(file, strings.Join(append([]string{name}, args...), " "))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stderr := &head{limit: maxStderr}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"PATH=" + strings.Join(toolDirectories(), ":"), "LC_ALL=C"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: s.options.HostRoot, Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = drainTime
	cmd.Stdout, cmd.Stderr = &stopper{out, cancel}, stderr
	if err = cmd.Start(); err == nil {
		limitMemory(cmd.Process.Pid)
		err = cmd.Wait()
	}
	switch {
	case err == nil, errors.Is(err, errCut):
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", name, errAbandoned)
	}
	return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(stderr.text.String()))
}

// toolMemory is what a program of the node's may use, in bytes: it is charged to our
// container, and when that has no more the kernel ends it all, packets included.
const toolMemory = 48 << 20

// limitMemory makes a program that wants more fail by itself.
func limitMemory(pid int) {
	limit := unix.Rlimit{Cur: toolMemory, Max: toolMemory}
	_ = unix.Prlimit(pid, unix.RLIMIT_DATA, &limit, nil) // it has ended already, or runs without
}

// stopper ends the program that writes to it when nothing is taken any more.
type stopper struct {
	to   io.Writer
	stop context.CancelFunc
}

func (s *stopper) Write(p []byte) (int, error) {
	n, err := s.to.Write(p)
	if err != nil {
		s.stop()
	}
	return n, err
}

// head keeps the first bytes that are written to it.
type head struct {
	limit int
	text  strings.Builder
}

func (h *head) Write(p []byte) (int, error) {
	h.text.Write(p[:min(len(p), h.limit-h.text.Len())])
	return len(p), nil
}
