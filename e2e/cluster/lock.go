//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// ownerFile marks a state directory as one that may be emptied.
const ownerFile = ".kubectl-retina-e2e"

// claimState makes the state directory ours: it exists, holds nothing of
// anybody else, and no other command starts or ends its cluster until release
// is called. A process that dies releases it too.
func claimState(ctx context.Context, state string, waiting func()) (release func(), err error) {
	for {
		if err := os.MkdirAll(state, 0o755); err != nil {
			return nil, fmt.Errorf("state: %w", err)
		}
		unlock, err := lockDirectory(ctx, state, waiting)
		if errors.Is(err, errReplaced) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("state: %w", err)
		}
		if err := markOwned(state); err != nil {
			unlock()
			return nil, err
		}
		return unlock, nil
	}
}

// markOwned refuses a directory that has content and no mark.
func markOwned(state string) error {
	mark := filepath.Join(state, ownerFile)
	if _, err := os.Lstat(mark); err == nil {
		return nil
	}
	entries, err := os.ReadDir(state)
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	if len(entries) > 0 {
		return hint.Wrap(fmt.Errorf("state: %s has content of others", state), "set RETINA_E2E_STATE to a new or an empty directory")
	}
	return os.WriteFile(mark, nil, 0o600)
}

// errReplaced means that the locked directory is no longer the one at its path.
var errReplaced = errors.New("directory was replaced")

// lockDirectory locks dir against other callers and calls waiting once if it
// has to wait for one.
func lockDirectory(ctx context.Context, dir string, waiting func()) (unlock func(), err error) {
	file, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	for told := false; ; told = true {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
		if !told {
			waiting()
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	locked, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if now, err := os.Stat(dir); err != nil || !os.SameFile(locked, now) {
		return nil, errReplaced
	}
	return func() { file.Close() }, nil
}
