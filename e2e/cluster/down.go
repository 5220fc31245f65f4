//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/lab"
)

// down ends the cluster, or what is left of one, and removes its state.
func down(ctx context.Context, s lab.Settings, out io.Writer) error {
	if err := needRoot("end the cluster"); err != nil {
		return err
	}
	release, err := claimState(ctx, s.State, func() { fmt.Fprintln(out, "waiting for another up or down") })
	if err != nil {
		return err
	}
	defer release()
	return wipe(ctx, s)
}

// wipe sweeps and removes the state directory, which the caller has claimed.
func wipe(ctx context.Context, s lab.Settings) error {
	if err := sweep(ctx, s); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	return os.RemoveAll(s.State)
}
