//go:build linux

package collector

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// firstSession is how long a pod waits for the command to start a session.
	firstSession = 60 * time.Second
	// nextSession is how long it stays when the session has ended.
	nextSession = 3 * time.Second
	// lastWords is how long sessions get to end when the pod is deleted: less
	// than the two seconds that a kubelet gives at least.
	lastWords = 1500 * time.Millisecond
)

// Hold keeps the collector's container alive for the sessions that the command
// starts in it by exec, and ends when they have ended: then the pod is done,
// whether or not anybody is left to delete it. Done is when ctx is: the
// sessions are told to finish first.
//
// A session holds a shared lock on the program's own file for as long as it
// lives, so nothing has to be written and nothing can be left behind.
func Hold(ctx context.Context) error {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer self.Close()
	until := time.Now().Add(firstSession)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return endSessions(self)
		case now := <-tick.C:
			busy, err := inSession(self)
			if err != nil {
				return err
			}
			if busy {
				until = now.Add(nextSession)
			} else if now.After(until) {
				return nil
			}
		}
	}
}

// EnterSession marks the calling process as a session of its container until
// it ends.
func EnterSession() error {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	// The descriptor stays open on purpose: the lock ends with the process.
	// Holding its number keeps the file from being finalized and closed.
	fd, err := unix.Dup(int(self.Fd()))
	if err != nil {
		return errors.Join(err, self.Close())
	}
	if err := unix.Flock(fd, unix.LOCK_SH); err != nil {
		return fmt.Errorf("lock %s: %w", self.Name(), err)
	}
	return self.Close()
}

func inSession(self *os.File) (bool, error) {
	err := unix.Flock(int(self.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("lock %s: %w", self.Name(), err)
	}
	return false, unix.Flock(int(self.Fd()), unix.LOCK_UN)
}

// endSessions asks the sessions of this container to finish and waits for them
// a moment, so that the packets they hold still arrive. They are the processes
// that run this very file: another container has it on another file system.
func endSessions(self *os.File) error {
	var own syscall.Stat_t
	if err := syscall.Fstat(int(self.Fd()), &own); err != nil {
		return err
	}
	programs, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return err
	}
	for _, program := range programs {
		var stat syscall.Stat_t
		if syscall.Stat(program, &stat) != nil || stat.Dev != own.Dev || stat.Ino != own.Ino {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(program)))
		if err != nil || pid == os.Getpid() {
			continue
		}
		// It may have ended since; there is nothing to do about it then.
		_ = syscall.Kill(pid, syscall.SIGTERM)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(lastWords); time.Now().Before(deadline); <-tick.C {
		if busy, err := inSession(self); err != nil || !busy {
			return err
		}
	}
	return nil
}
