//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/lab"
)

// sweepTimeout is how long the kernel may take to let go of what was killed.
const sweepTimeout = 20 * time.Second

// sweep ends every process of the cluster with these settings and removes its
// cgroups, mounts and state, whatever ran before and however it ended. Network
// namespaces need no sweeping: they have no names and go with their processes.
// The state directory itself stays, empty but for its mark.
func sweep(ctx context.Context, s lab.Settings) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sweepTimeout)
	defer cancel()
	if err := killAll(ctx, s); err != nil {
		return err
	}
	if err := removeCgroups(ctx, cgroupName(s.State)); err != nil {
		return err
	}
	if err := unmountBelow(s.State); err != nil {
		return err
	}
	entries, err := os.ReadDir(s.State)
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range entries {
		if entry.Name() != ownerFile {
			errs = append(errs, os.RemoveAll(filepath.Join(s.State, entry.Name())))
		}
	}
	return errors.Join(errs...)
}

// killAll kills until nothing is left, as a supervisor may have started
// something between the search and its own end.
func killAll(ctx context.Context, s lab.Settings) error {
	for {
		found, err := s.Processes()
		if err != nil || len(found) == 0 {
			return err
		}
		for _, p := range found {
			if err := p.Kill(ctx, unix.SIGKILL); err != nil {
				return err
			}
		}
	}
}

// unmountBelow detaches what is mounted below dir, the newest first. Nothing
// is, unless a node's private mounts got out; but then removing the directory
// would remove what is mounted there.
func unmountBelow(dir string) error {
	all, err := mounts()
	if err != nil {
		return err
	}
	for i := len(all) - 1; i >= 0; i-- {
		if point := all[i].point; strings.HasPrefix(point, dir+"/") {
			if err := unix.Unmount(point, unix.MNT_DETACH); err != nil {
				return fmt.Errorf("unmount %s: %w", point, err)
			}
		}
	}
	return nil
}
