//go:build !linux

package staging

import "errors"

// freeBytes is not known: collectors run on Linux.
func freeBytes(string) (free, total int64, err error) { return 0, 0, errors.ErrUnsupported }

func isDiskFull(err error) bool { return errors.Is(err, errDiskFull) }
