//go:build linux && !unit

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
)

const ours = "app.kubernetes.io/name=kubectl-retina"

// wantNothingLeft checks the promise: a minute after the end of a capture, of
// whatever kind, nothing of ours is left in the cluster or on its nodes.
func wantNothingLeft(t testing.TB) {
	t.Helper()
	began := time.Now()
	eventually(t, time.Minute, func() error { return errors.Join(objectsLeft(), processesLeft(), programsLeft(), qdiscsLeft()) })
	t.Logf("nothing left after %.1fs", time.Since(began).Seconds())
}

// objectsLeft asks for everything that carries our label.
func objectsLeft() error {
	ctx, all := context.Background(), metav1.ListOptions{LabelSelector: ours}
	var left []string
	pods, err := the.client.CoreV1().Pods("").List(ctx, all)
	if err != nil {
		return err
	}
	for _, p := range pods.Items {
		left = append(left, fmt.Sprintf("pod %s (%s)", p.Name, p.Status.Phase))
	}
	jobs, err := the.client.BatchV1().Jobs("").List(ctx, all)
	if err != nil {
		return err
	}
	for _, j := range jobs.Items {
		left = append(left, "job "+j.Name)
	}
	secrets, err := the.client.CoreV1().Secrets("").List(ctx, all)
	if err != nil {
		return err
	}
	for _, s := range secrets.Items {
		left = append(left, "secret "+s.Name)
	}
	return leftError("objects", left)
}

// nodeProcs are the /proc file systems of the nodes: other clusters on this
// machine are none of ours.
func nodeProcs() []string {
	var all []string
	for _, node := range the.Nodes {
		all = append(all, fmt.Sprintf("/proc/%d/root/proc", node.Init.PID))
	}
	return all
}

// collectorsIn are the PIDs of the collector processes in a /proc.
func collectorsIn(procfs string) ([]string, error) {
	programs, err := filepath.Glob(procfs + "/[0-9]*/exe")
	if err != nil {
		return nil, err
	}
	var pids []string
	for _, p := range programs {
		if target, err := os.Readlink(p); err == nil && strings.HasPrefix(filepath.Base(target), "retina-collector") {
			pids = append(pids, filepath.Base(filepath.Dir(p)))
		}
	}
	return pids, nil
}

func processesLeft() error {
	var left []string
	for _, procfs := range nodeProcs() {
		pids, err := collectorsIn(procfs)
		if err != nil {
			return err
		}
		left = append(left, pids...)
	}
	return leftError("collector processes", left)
}

// programsLeft looks at every BPF program of the kernel that the nodes share: a
// link or a socket that was left would hold one. Those of processes elsewhere
// on this machine do not count.
func programsLeft() error {
	elsewhere, err := programsElsewhere()
	if err != nil {
		return err
	}
	sources, err := filepath.Glob("../bpf/*/*.bpf.c") // a program's name begins with that of its directory
	if err != nil || len(sources) == 0 {
		return fmt.Errorf("no BPF programs in the tree: %w", err)
	}
	var left []string
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return leftError("BPF programs", left)
		}
		if err != nil {
			return err
		}
		id = next
		program, err := ebpf.NewProgramFromID(id)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		info, err := program.Info()
		if err == nil && slices.ContainsFunc(sources, func(s string) bool { return strings.HasPrefix(info.Name, filepath.Base(filepath.Dir(s))+"_") }) && !elsewhere[id] {
			left = append(left, fmt.Sprintf("%s (%d)", info.Name, id))
		}
		if err := errors.Join(err, program.Close()); err != nil {
			return err
		}
	}
}

// programsElsewhere are the programs that processes hold which belong to no
// node of the cluster: collectors of another one, or BPF tests.
func programsElsewhere() (map[ebpf.ProgramID]bool, error) {
	files, err := filepath.Glob("/proc/[0-9]*/fdinfo/*")
	if err != nil {
		return nil, err
	}
	nodes := map[string]bool{}
	for _, node := range the.Nodes {
		namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", node.Init.PID))
		if err != nil {
			return nil, err
		}
		nodes[namespace] = true
	}
	held := map[ebpf.ProgramID]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // closed meanwhile
		}
		_, value, ok := strings.Cut(string(text), "prog_id:")
		if !ok {
			continue
		}
		if namespace, err := os.Readlink(filepath.Join(filepath.Dir(filepath.Dir(file)), "ns/pid")); err != nil || nodes[namespace] {
			continue
		}
		var id uint32
		if _, err := fmt.Sscan(value, &id); err == nil {
			held[ebpf.ProgramID(id)] = true
		}
	}
	return held, nil
}

// qdiscsLeft looks for clsact qdiscs in every network namespace of the nodes:
// no other program there makes any.
func qdiscsLeft() error {
	var left []string
	for _, procfs := range nodeProcs() {
		all, err := hostns.All(procfs)
		if err != nil {
			return err
		}
		for _, ns := range all {
			found, err := clsactIn(ns)
			if err := errors.Join(err, ns.Close()); err != nil {
				return err
			}
			left = append(left, found...)
		}
	}
	return leftError("clsact qdiscs", left)
}

func clsactIn(ns *hostns.Netns) ([]string, error) {
	handle, err := netlink.NewHandleAt(netns.NsHandle(ns.FD()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	qdiscs, err := handle.QdiscList(nil)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, err
	}
	var found []string
	for _, q := range qdiscs {
		if q.Type() == "clsact" {
			found = append(found, fmt.Sprintf("netns %d interface %d", ns.Ino, q.Attrs().LinkIndex))
		}
	}
	return found, nil
}

func leftError(what string, left []string) error {
	if len(left) == 0 {
		return nil
	}
	slices.Sort(left)
	return fmt.Errorf("%s left: %s", what, strings.Join(left, ", "))
}
