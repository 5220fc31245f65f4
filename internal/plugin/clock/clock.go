//go:build linux

// Package clock turns the kernel's monotonic timestamps into wall-clock time.
package clock

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// resample is how often the offset between the clocks is measured again. Both
// are slewed alike, but the wall clock alone is stepped, and a capture may be
// running when that happens.
const resample = time.Second

// Wall turns the kernel's monotonic timestamps into wall-clock time. Now is to be
// called before Offset, now and then. It is not safe for concurrent use.
type Wall struct {
	offset  int64 // ns to add
	sampled int64 // monotonic ns
}

// Now returns CLOCK_MONOTONIC in ns, measuring the offset again when it is old.
func (c *Wall) Now() (int64, error) {
	now, err := read(unix.CLOCK_MONOTONIC)
	if err != nil {
		return 0, err
	}
	if c.sampled == 0 || now-c.sampled >= int64(resample) {
		if c.offset, err = measure(); err != nil {
			return 0, err
		}
		c.sampled = now
	}
	return now, nil
}

// Offset is what to add to a monotonic time, in ns, as last measured by Now.
func (c *Wall) Offset() int64 { return c.offset }

// measure returns realtime minus monotonic, in ns. Of a few readings the one with
// the least time between its two monotonic ones is the most exact.
func measure() (int64, error) {
	best, offset := int64(1<<62), int64(0)
	for range 3 {
		before, err := read(unix.CLOCK_MONOTONIC)
		if err != nil {
			return 0, err
		}
		wall, err := read(unix.CLOCK_REALTIME)
		if err != nil {
			return 0, err
		}
		after, err := read(unix.CLOCK_MONOTONIC)
		if err != nil {
			return 0, err
		}
		if after-before < best {
			best, offset = after-before, wall-(before+after)/2
		}
	}
	return offset, nil
}

func read(id int32) (int64, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		return 0, fmt.Errorf("read clock %d: %w", id, err)
	}
	return ts.Nano(), nil
}
