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
	eventually(t, time.Minute, func() error { return errors.Join(objectsLeft(), processesLeft(), programsLeft(), filtersLeft()) })
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

// processesLeft looks at every process of this machine: the nodes' are among
// them.
func processesLeft() error {
	programs, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return err
	}
	var left []string
	for _, p := range programs {
		if target, err := os.Readlink(p); err == nil && strings.HasPrefix(filepath.Base(target), "retina-collector") {
			left = append(left, filepath.Base(filepath.Dir(p)))
		}
	}
	return leftError("collector processes", left)
}

// programsLeft looks at every BPF program of the kernel that the nodes share: a
// link or a filter that was left would hold one.
func programsLeft() error {
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
		if err == nil && (info.Name == "packets_ingress" || info.Name == "packets_egress") {
			left = append(left, fmt.Sprintf("%s (%d)", info.Name, id))
		}
		if err := errors.Join(err, program.Close()); err != nil {
			return err
		}
	}
}

// filtersLeft looks for clsact qdiscs and for filters of ours in every network
// namespace: no other program on these nodes makes any.
func filtersLeft() error {
	all, err := hostns.All("/proc")
	if err != nil {
		return err
	}
	var left []string
	for _, ns := range all {
		handle, err := netlink.NewHandleAt(netns.NsHandle(ns.FD()), unix.NETLINK_ROUTE)
		if err == nil {
			var qdiscs []netlink.Qdisc
			qdiscs, err = handle.QdiscList(nil)
			for _, q := range qdiscs {
				if q.Type() == "clsact" {
					left = append(left, fmt.Sprintf("netns %d interface %d", ns.Ino, q.Attrs().LinkIndex))
				}
			}
			handle.Close()
		}
		if err := errors.Join(err, ns.Close()); err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return err
		}
	}
	return leftError("clsact qdiscs", left)
}

func leftError(what string, left []string) error {
	if len(left) == 0 {
		return nil
	}
	slices.Sort(left)
	return fmt.Errorf("%s left: %s", what, strings.Join(left, ", "))
}
