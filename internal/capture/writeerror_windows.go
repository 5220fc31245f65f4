package capture

import (
	"errors"
	"io"
	"syscall"
)

// Windows system error codes that package syscall does not name.
const (
	errorHandleDiskFull syscall.Errno = 39
	errorDiskFull       syscall.Errno = 112
	errorNoData         syscall.Errno = 232 // the pipe is being closed
)

// readerClosed reports whether a write failed because nobody reads.
func readerClosed(err error) bool {
	return errors.Is(err, syscall.ERROR_BROKEN_PIPE) || errors.Is(err, errorNoData) || errors.Is(err, io.ErrClosedPipe)
}

// writeHint says what to do about a failed write, or nothing.
func writeHint(err error) string {
	if errors.Is(err, errorDiskFull) || errors.Is(err, errorHandleDiskFull) {
		return "free some space, name a file on another disk, or limit the capture's size"
	}
	return ""
}
