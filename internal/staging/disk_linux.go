package staging

import (
	"errors"
	"fmt"
	"syscall"
)

// freeBytes asks the file system of dir. What only root may use does not count.
func freeBytes(dir string) (free, total int64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	block := s.Frsize
	if block == 0 {
		block = s.Bsize
	}
	return int64(s.Bavail) * int64(block), int64(s.Blocks) * int64(block), nil //nolint:unconvert // of 32 bits on other architectures
}

func isDiskFull(err error) bool {
	return errors.Is(err, errDiskFull) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
