//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// tcpdump is a running tcpdump with its defaults.
type tcpdump struct {
	cmd    *exec.Cmd
	stderr *bufio.Reader
	file   string
	start  time.Duration // CPU time until it captured
}

// beginTcpdump returns when it captures.
func beginTcpdump(ctx context.Context, p *pod, file string) (capturer, error) {
	return startTcpdump(ctx, file, p.argv(0)...)
}

// startTcpdump starts a tcpdump of eth0 that writes to file, and returns when it
// captures. Enter is the beginning of its command line, which leads into the
// network namespace.
func startTcpdump(ctx context.Context, file string, enter ...string) (*tcpdump, error) {
	// It would change to a user that may not write here.
	argv := append(enter, "tcpdump", "-i", "eth0", "-w", file, "-Z", "root")
	t := &tcpdump{cmd: command(ctx, argv[0], argv[1:]...), file: file}
	stderr, err := t.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	t.stderr = bufio.NewReader(stderr)
	if err := t.cmd.Start(); err != nil {
		return nil, err
	}
	var said strings.Builder
	for !strings.Contains(said.String(), "listening on") {
		line, err := t.stderr.ReadString('\n')
		said.WriteString(line)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("tcpdump: %s", said.String()), t.cmd.Wait())
		}
	}
	t.start, err = cpuTimeNow(t.cmd.Process.Pid)
	return t, err
}

func (t *tcpdump) stop(context.Context) (captured, error) {
	c, err := t.end()
	if err != nil {
		return c, err
	}
	held, err := countPcap(t.file)
	if err == nil && held != c.kept {
		err = fmt.Errorf("tcpdump captured %d packets, its file holds %d", c.kept, held)
	}
	return c, err
}

// end ends it and returns what it says of itself.
func (t *tcpdump) end() (captured, error) {
	err := t.cmd.Process.Signal(os.Interrupt)
	said, readErr := io.ReadAll(t.stderr)
	if err := errors.Join(err, readErr, t.cmd.Wait()); err != nil {
		return captured{}, err
	}
	c := captured{cpu: cpuTime(t.cmd) - t.start}
	for line := range strings.Lines(string(said)) {
		var n uint64
		switch _, err := fmt.Sscan(line, &n); {
		case err != nil:
		case strings.Contains(line, "captured"):
			c.kept = n
		case strings.Contains(line, "received by filter"):
			c.seen = n
		}
	}
	return c, nil
}

// countPcap counts the packets of a pcap file (draft-ietf-opsawg-pcap) that this
// machine has written.
func countPcap(path string) (packets uint64, err error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	r := bufio.NewReaderSize(file, 1<<20)
	if _, err := r.Discard(24); err != nil {
		return 0, err
	}
	var header [16]byte
	for {
		if _, err := io.ReadFull(r, header[:]); errors.Is(err, io.EOF) {
			return packets, nil
		} else if err != nil {
			return packets, err
		}
		if _, err := r.Discard(int(binary.NativeEndian.Uint32(header[8:]))); err != nil {
			return packets, err
		}
		packets++
	}
}
