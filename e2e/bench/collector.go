//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// ringBytes is the ring buffer that the command asks for (internal/cli/capture).
const ringBytes = 64 << 20

// collector is a running retina-collector, of which this is the command.
type collector struct {
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	say     *wire.Writer
	hear    *wire.Reader
	buf     []byte
	packets uint64        // heard so far
	start   time.Duration // CPU time until it captured
	close   func() error

	exited chan struct{}
	err    error // why, valid once exited is closed
}

// beginCollector starts a collector that writes its frames to a file, and returns
// when it captures.
func (b *bench) beginCollector(ctx context.Context, p *pod, file string) (capturer, error) {
	out, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	in, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	follower := &follower{ctx: ctx, file: in}
	c, err := newCollector(command(ctx, b.path("bin/retina-collector"), "run"), out, follower, in.Close)
	if err != nil {
		return nil, err
	}
	follower.ended = c.ended
	return c, c.begin(p.uid)
}

// newCollector starts cmd with its standard output at out, which is read from in.
func newCollector(cmd *exec.Cmd, out *os.File, in io.Reader, closeIn func() error) (*collector, error) {
	c := &collector{
		cmd: cmd, hear: wire.NewReader(bufio.NewReaderSize(in, 1<<20)), buf: make([]byte, 1<<20),
		close: closeIn, exited: make(chan struct{}),
	}
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	var err error
	if c.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, errors.Join(err, closeIn())
	}
	c.say = wire.NewWriter(c.stdin)
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, closeIn())
	}
	go func() {
		c.err = cmd.Wait()
		close(c.exited)
	}()
	return c, nil
}

// begin has the collector capture the pod, and returns when it does.
func (c *collector) begin(podUID string) error {
	spec := wire.Spec{Version: wire.Version, RunID: "bench", MaxSeconds: 60, Packets: &wire.PacketsSpec{
		SnapLen: wire.MaxSnapLen, RingBytes: ringBytes, Targets: []wire.Target{{ID: 1, Name: "pod", PodUID: podUID}},
	}}
	err := c.say.WriteJSON(wire.KindSpec, spec)
	if err == nil {
		_, err = c.await(wire.KindReady)
	}
	if err == nil {
		err = c.say.WriteFrame(wire.KindGo, nil)
	}
	if err == nil {
		_, err = c.await(wire.KindPackets)
	}
	if err == nil {
		c.start, err = cpuTimeNow(c.cmd.Process.Pid)
	}
	if err != nil {
		return errors.Join(err, c.abandon())
	}
	return nil
}

// await returns the next frame of a kind, and counts the packets before it.
func (c *collector) await(wanted wire.Kind) ([]byte, error) {
	for {
		kind, payload, err := c.hear.ReadFrame(c.buf)
		if err != nil {
			return nil, fmt.Errorf("collector: %w", err)
		}
		switch kind {
		case wire.KindFailure:
			return nil, fmt.Errorf("collector: %s", payload)
		case wire.KindPackets:
			_, blocks, err := wire.ParsePackets(payload)
			for err == nil && len(blocks) > 0 {
				_, blocks, err = pcapng.NextPacket(blocks)
				c.packets++
			}
			if err != nil {
				return nil, fmt.Errorf("collector: %w", err)
			}
		}
		if kind == wanted {
			return payload, nil
		}
	}
}

// stop has the collector finish, and reads what it has written.
func (c *collector) stop(context.Context) (captured, error) {
	if err := c.say.WriteFrame(wire.KindStop, nil); err != nil {
		return captured{}, errors.Join(err, c.abandon())
	}
	<-c.exited
	result, err := c.end()
	result.cpu = cpuTime(c.cmd) - c.start
	return result, errors.Join(c.err, err, c.close())
}

// end reads to the End frame, and compares its counts with the packets heard.
func (c *collector) end() (captured, error) {
	payload, err := c.await(wire.KindEnd)
	if err != nil {
		return captured{}, err
	}
	var end wire.End
	if err := json.Unmarshal(payload, &end); err != nil {
		return captured{}, err
	}
	if end.Reason != wire.EndStop || len(end.Interfaces) != 1 {
		return captured{}, fmt.Errorf("collector ended with %s", payload)
	}
	i := end.Interfaces[0]
	if i.Captured != c.packets || i.Seen != i.Captured+i.Lost {
		return captured{}, fmt.Errorf("collector saw %d packets, captured %d and lost %d; its stream holds %d", i.Seen, i.Captured, i.Lost, c.packets)
	}
	return captured{seen: i.Seen, kept: i.Captured}, nil
}

// abandon ends a collector that is of no use.
func (c *collector) abandon() error {
	_ = c.stdin.Close() // it ends because of that, with an error that says no more than ours
	<-c.exited
	return c.close()
}

// ended reports whether the process has.
func (c *collector) ended() bool {
	select {
	case <-c.exited:
		return true
	default:
		return false
	}
}

// A follower reads a file that is still being written.
type follower struct {
	ctx   context.Context
	file  *os.File
	ended func() bool // nothing more will be written
}

// Read implements io.Reader.
func (f *follower) Read(p []byte) (int, error) {
	for {
		ended := f.ended()
		n, err := f.file.Read(p)
		if n > 0 || err != nil && !errors.Is(err, io.EOF) || ended {
			return n, err
		}
		if err := sleep(f.ctx, 5*time.Millisecond); err != nil {
			return 0, err
		}
	}
}
