//go:build linux

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

func TestClaimState(t *testing.T) {
	state := filepath.Join(t.TempDir(), "new", "state")
	release, err := claimState(t.Context(), state, func() { t.Error("waits for nobody") })
	if err != nil {
		t.Fatal(err)
	}
	// A second claim waits until it gives up …
	ctx, cancel := context.WithCancel(t.Context())
	waited := 0
	_, err = claimState(ctx, state, func() { waited++; cancel() })
	if !errors.Is(err, context.Canceled) || waited != 1 {
		t.Errorf("second claim: %v, told %d times, want %v, told once", err, waited, context.Canceled)
	}
	// … or until the first is over, even if the directory is another by then.
	if err := os.RemoveAll(state); err != nil {
		t.Fatal(err)
	}
	release()
	again, err := claimState(t.Context(), state, func() { t.Error("waits for a released claim") })
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestClaimStateTakesOverWhatIsOurs(t *testing.T) {
	state := t.TempDir()
	writeFiles(t, state, map[string]string{ownerFile: "", "cluster.json": "{}"})
	release, err := claimState(t.Context(), state, func() {})
	if err != nil {
		t.Fatal(err)
	}
	release()
}

func TestClaimStateRefusesWhatIsNot(t *testing.T) {
	state := t.TempDir()
	writeFiles(t, state, map[string]string{"thesis.txt": "…"})
	_, err := claimState(t.Context(), state, func() {})
	if err == nil || hint.Of(err) == "" {
		t.Errorf("claim: %v with hint %q, want an error with a hint", err, hint.Of(err))
	}
}
