//go:build linux && !unit

package collector_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/collector"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A conversation is the command's side of a collector that runs in this
// process.
type conversation struct {
	t      *testing.T
	write  *wire.Writer
	stdin  io.Closer
	read   *wire.Reader
	stdout io.ReadCloser
	result chan error
	cancel context.CancelFunc
}

func converse(t *testing.T) *conversation {
	t.Helper()
	// The kernel's pipes, which hold something: both sides write first.
	stdin, stdinWriter, err := os.Pipe()
	vethtest.Must(t, err)
	stdoutReader, stdout, err := os.Pipe()
	vethtest.Must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	c := &conversation{
		t: t, write: wire.NewWriter(stdinWriter), stdin: stdinWriter,
		read: wire.NewReader(bufio.NewReader(stdoutReader)), stdout: stdoutReader,
		result: make(chan error, 1), cancel: cancel,
	}
	go func() {
		err := collector.Run(ctx, stdin, stdout)
		stdout.Close()
		c.result <- err
	}()
	t.Cleanup(func() {
		cancel()
		stdinWriter.Close()
		stdoutReader.Close()
	})
	return c
}

func (c *conversation) say(kind wire.Kind, message any) {
	c.t.Helper()
	if message == nil {
		vethtest.Must(c.t, c.write.WriteFrame(kind, nil))
		return
	}
	vethtest.Must(c.t, c.write.WriteJSON(kind, message))
}

// expect reads frames until one of this kind, which it decodes; packets counts
// the packet blocks in them.
func (c *conversation) expect(kind wire.Kind, message any) (packets int) {
	c.t.Helper()
	for {
		got, payload, err := c.read.ReadFrame(nil)
		if err != nil {
			c.t.Fatalf("waiting for frame %d: %v", kind, err)
		}
		if got == wire.KindPackets {
			_, blocks, err := wire.ParsePackets(payload)
			vethtest.Must(c.t, err)
			for len(blocks) > 0 {
				_, blocks, err = pcapng.NextPacket(blocks)
				vethtest.Must(c.t, err)
				packets++
			}
		}
		if got == kind {
			if message != nil {
				vethtest.Must(c.t, json.Unmarshal(payload, message))
			}
			return packets
		}
		if got == wire.KindFailure || got == wire.KindEnd {
			c.t.Fatalf("waiting for frame %d: frame %d: %s", kind, got, payload)
		}
	}
}

// ended closes the command's side and waits for the collector to end.
func (c *conversation) ended(want string) {
	c.t.Helper()
	c.stdin.Close()
	select {
	case err := <-c.result:
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			c.t.Errorf("collector ended with %v, want %q", err, want)
		}
	case <-time.After(20 * time.Second):
		c.t.Error("collector did not end")
	}
}

func spec(pod *vethtest.Pod) wire.Spec {
	return wire.Spec{Version: wire.Version, RunID: "test", MaxSeconds: 60, Packets: &wire.PacketsSpec{
		SnapLen: 1500, RingBytes: 1 << 20, Targets: []wire.Target{{Name: "pod a/b", PodUID: pod.UID}},
	}}
}

func TestSessionFromHelloToEnd(t *testing.T) {
	pod := vethtest.NewPod(t)
	c := converse(t)
	var hello wire.Hello
	c.expect(wire.KindHello, &hello)
	if hello.Version != wire.Version || !strings.HasPrefix(hello.Kernel, "Linux ") || hello.CPUs < 1 || time.Since(time.Unix(0, hello.TimeNS)).Abs() > time.Minute {
		t.Errorf("hello %+v", hello)
	}
	c.say(wire.KindPing, wire.Ping{Seq: 41})
	c.say(wire.KindSpec, spec(pod))
	var pong wire.Pong
	c.expect(wire.KindPong, &pong)
	if pong.Seq != 41 {
		t.Errorf("pong %+v", pong)
	}
	var ready wire.Ready
	c.expect(wire.KindReady, &ready)
	if len(ready.Interfaces) != 1 || ready.Interfaces[0].Name != "eth0" {
		t.Errorf("ready %+v", ready)
	}
	conn := vethtest.UDP(t, pod.Netns, "192.0.2.1:4001", "192.0.2.2:4002")
	write(t, conn, 5) // not seen: before go
	c.say(wire.KindGo, nil)
	packets := 0
	for packets < 100 { // the first ones may have to wait for their neighbour's address
		write(t, conn, 20)
		packets += c.expect(wire.KindPackets, nil)
	}
	c.say(wire.KindStop, nil)
	var end wire.End
	packets += c.expect(wire.KindEnd, &end)
	s := end.Interfaces[0]
	if end.Reason != wire.EndStop || s.Seen < 100 || s.Captured != uint64(packets) || s.Seen != s.Captured+s.Lost {
		t.Errorf("end %+v after %d packets", end, packets)
	}
	c.ended("")
}

func write(t *testing.T, conn io.Writer, count int) {
	t.Helper()
	for range count {
		_, err := conn.Write([]byte("hello"))
		vethtest.Must(t, err)
	}
}

func TestSessionEndsWhenTheCommandIsGone(t *testing.T) {
	pod := vethtest.NewPod(t)
	for name, leave := range map[string]func(*conversation){
		"its end of the stream": func(c *conversation) { c.stdin.Close() },
		"nobody reads":          func(c *conversation) { c.stdout.Close(); c.stdin.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			c := converse(t)
			c.expect(wire.KindHello, nil)
			c.say(wire.KindSpec, spec(pod))
			c.expect(wire.KindReady, nil)
			c.say(wire.KindGo, nil)
			c.expect(wire.KindPackets, nil)
			leave(c)
			go func() { _, _ = io.Copy(io.Discard, c.stdout) }()
			c.ended("the command is gone")
		})
	}
}

func TestSessionEndsWithItsPod(t *testing.T) {
	pod := vethtest.NewPod(t)
	c := converse(t)
	c.expect(wire.KindHello, nil)
	c.say(wire.KindSpec, spec(pod))
	c.expect(wire.KindReady, nil)
	c.say(wire.KindGo, nil)
	c.cancel() // SIGTERM
	var end wire.End
	c.expect(wire.KindEnd, &end)
	if end.Reason != wire.EndSignal {
		t.Errorf("end %+v", end)
	}
	c.ended("")
}

func TestSessionEndsAtItsDeadline(t *testing.T) {
	pod := vethtest.NewPod(t)
	c := converse(t)
	c.expect(wire.KindHello, nil)
	s := spec(pod)
	s.MaxSeconds = 1
	c.say(wire.KindSpec, s)
	c.expect(wire.KindReady, nil)
	c.say(wire.KindGo, nil)
	var end wire.End
	c.expect(wire.KindEnd, &end)
	if end.Reason != wire.EndDeadline {
		t.Errorf("end %+v", end)
	}
	c.ended("")
}

func TestSpecThatCannotBe(t *testing.T) {
	pod := vethtest.NewPod(t)
	for name, test := range map[string]struct {
		spoil func(*wire.Spec)
		cause string
	}{
		"version": {func(s *wire.Spec) { s.Version = 99 }, "spec version 99"},
		"pod":     {func(s *wire.Spec) { s.Packets.Targets[0].PodUID = "00000000-0000-0000-0000-000000000000" }, "no process of the pod"},
	} {
		t.Run(name, func(t *testing.T) {
			c := converse(t)
			c.expect(wire.KindHello, nil)
			s := spec(pod)
			test.spoil(&s)
			c.say(wire.KindSpec, s)
			var failure wire.Failure
			c.expect(wire.KindFailure, &failure)
			if !strings.Contains(failure.Cause, test.cause) {
				t.Errorf("failure %+v", failure)
			}
			c.expect(wire.KindEnd, nil)
			if _, _, err := c.read.ReadFrame(nil); !errors.Is(err, io.EOF) {
				t.Errorf("after the end: %v", err)
			}
			c.ended(test.cause)
		})
	}
}
