//go:build !windows

package capture

import (
	"errors"
	"io"
	"syscall"
)

// readerClosed reports whether a write failed because nobody reads.
func readerClosed(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe)
}

// writeHint says what to do about a failed write, or nothing.
func writeHint(err error) string {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return "free some space, name a file on another disk, or limit the capture's size"
	}
	return ""
}
