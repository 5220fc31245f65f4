//go:build linux && !unit

package collector_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/archive"
	"github.com/kubectl-retina/kubectl-retina/internal/collector"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A keeper runs in this process; commands talk to it through Attach.
type keeper struct {
	t           *testing.T
	socket      string
	termination string
	result      chan error
}

func keep(t *testing.T) *keeper {
	t.Helper()
	dir := t.TempDir()
	k := &keeper{t: t, socket: filepath.Join(dir, "control"), termination: filepath.Join(dir, "word"), result: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go func() {
		k.result <- collector.Keep(ctx, collector.KeepOptions{
			Socket: k.socket, Staging: dir, Termination: k.termination, Log: slog.New(slog.DiscardHandler),
		})
	}()
	return k
}

// talk begins a conversation.
func (k *keeper) talk() *conversation {
	k.t.Helper()
	stdin, stdinWriter, err := os.Pipe()
	vethtest.Must(k.t, err)
	stdoutReader, stdout, err := os.Pipe()
	vethtest.Must(k.t, err)
	c := &conversation{
		t: k.t, write: wire.NewWriter(stdinWriter), stdin: stdinWriter,
		read: wire.NewReader(bufio.NewReader(stdoutReader)), stdout: stdoutReader, result: make(chan error, 1),
	}
	go func() {
		err := collector.Attach(k.t.Context(), k.socket, stdin, stdout)
		stdout.Close()
		c.result <- err
	}()
	k.t.Cleanup(func() { stdinWriter.Close(); stdoutReader.Close() })
	var hello wire.Hello
	c.expect(wire.KindHello, &hello)
	return c
}

// ended waits for the keeper's end.
func (k *keeper) ended(want string) wire.Status {
	k.t.Helper()
	select {
	case err := <-k.result:
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			k.t.Errorf("keeper ended with %v, want %q", err, want)
		}
	case <-time.After(40 * time.Second):
		k.t.Fatal("keeper did not end")
	}
	var status wire.Status
	if text, err := os.ReadFile(k.termination); err == nil {
		vethtest.Must(k.t, json.Unmarshal(text, &status))
	}
	return status
}

// awaitPhase reads statuses until one of this phase.
func (c *conversation) awaitPhase(phase wire.Phase) wire.Status {
	c.t.Helper()
	for {
		var status wire.Status
		c.expect(wire.KindStatus, &status)
		if status.Phase == phase {
			return status
		}
	}
}

func storeSpec(pod *vethtest.Pod) wire.Spec {
	s := spec(pod)
	s.Store = &wire.StoreSpec{
		Archive: archive.Name("capture", "n1", time.Now()), Format: "pcapng", StagingBytes: 256 << 20, KeepSeconds: 30, Metadata: true,
	}
	return s
}

// head is the head of a packet file with one interface.
func head() []byte {
	b := pcapng.Section{Application: "test"}.Append(nil)
	return pcapng.Interface{Name: "a/b/eth0", LinkType: wire.LinkTypeEthernet}.Append(b)
}

// begin brings a capture to its go.
func (c *conversation) begin(s wire.Spec) {
	c.t.Helper()
	c.say(wire.KindSpec, s)
	var ready wire.Ready
	c.expect(wire.KindReady, &ready)
	vethtest.Must(c.t, c.write.WriteFrame(wire.KindHead, head()))
	c.say(wire.KindRecord, archive.CommandPart{Name: "capture", Node: "n1", Format: "pcapng", Targets: []archive.Target{{Kind: "Pod", Namespace: "a", Name: "b"}}})
	vethtest.Must(c.t, c.write.WriteFrame(wire.KindExtra, wire.AppendExtra(nil, "cluster/before/pods.yaml", []byte("kind: List\n"))))
	c.say(wire.KindGo, nil)
	c.awaitPhase(wire.PhaseCapturing)
}

// fetch reads the archive from offset on, and returns what the keeper says of it.
func (c *conversation) fetch(offset int64) ([]byte, wire.Fetched) {
	c.t.Helper()
	c.say(wire.KindFetch, wire.Fetch{Offset: offset})
	var all []byte
	for {
		kind, payload, err := c.read.ReadFrame(nil)
		vethtest.Must(c.t, err)
		switch kind {
		case wire.KindData:
			all = append(all, payload...)
		case wire.KindFetched:
			var done wire.Fetched
			vethtest.Must(c.t, json.Unmarshal(payload, &done))
			return all, done
		case wire.KindFailure:
			c.t.Fatalf("fetch: %s", payload)
		}
	}
}

func TestKeeperKeepsWhatIsStoredNowhere(t *testing.T) {
	pod := vethtest.NewPod(t)
	k := keep(t)
	c := k.talk()
	conn := vethtest.UDP(t, pod.Netns, "192.0.2.1:4001", "192.0.2.2:4002")
	c.begin(storeSpec(pod))
	write(t, conn, 7)

	// The command goes, and another one comes.
	c.say(wire.KindDetach, nil)
	var end wire.End
	c.expect(wire.KindEnd, &end)
	if end.Reason != wire.EndDetached {
		t.Errorf("ended with %q", end.Reason)
	}
	c.stdin.Close()
	c = k.talk()
	c.say(wire.KindOpen, nil)
	for c.awaitPhase(wire.PhaseCapturing).Packets < 7 { // they may have to wait for their neighbour's address
		continue
	}
	c.say(wire.KindStop, nil)
	status := c.awaitPhase(wire.PhaseKept)
	if status.Packets < 7 || status.Lost != 0 || status.Reason != wire.EndStop {
		t.Errorf("status %+v", status)
	}

	whole, done := c.fetch(0)
	if int64(len(whole)) != done.Bytes {
		t.Fatalf("%d bytes arrived of %d", len(whole), done.Bytes)
	}
	rest, again := c.fetch(100)
	if again != done || !bytes.Equal(rest, whole[100:]) {
		t.Errorf("the archive from byte 100 on is another one: %+v, want %+v", again, done)
	}
	packets, names := read(t, whole)
	if packets != 7 {
		t.Errorf("%d packets in the archive", packets)
	}
	for _, want := range []string{"cluster/before/pods.yaml", "metadata/before/node/", "metadata/after/pod-a-b/"} {
		if !strings.Contains(names, want) {
			t.Errorf("no %s in the archive: %s", want, names)
		}
	}
	c.say(wire.KindRelease, nil)
	if status := k.ended(""); status.Phase != wire.PhaseDone || status.Packets < 7 {
		t.Errorf("last word %+v", status)
	}
}

// read opens an archive, and returns its number of packets that say hello, and the
// names in it.
func read(t *testing.T, b []byte) (packets int, names string) {
	t.Helper()
	r, err := archive.NewReader(bytes.NewReader(b))
	vethtest.Must(t, err)
	for {
		entry, err := r.Next()
		if errors.Is(err, io.EOF) {
			return packets, names
		}
		vethtest.Must(t, err)
		names += entry.Name + "\n"
		if !strings.HasSuffix(entry.Name, ".pcapng") {
			continue
		}
		blocks := pcapng.NewReader(bufio.NewReader(entry))
		for {
			block, err := blocks.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			vethtest.Must(t, err)
			if block.Type() == pcapng.TypePacket && bytes.Contains(block, []byte("hello")) {
				packets++
			}
		}
	}
}

func TestKeeperEndsByItself(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*wire.StoreSpec)
		reason string
	}{
		"duration": {func(s *wire.StoreSpec) { s.MaxSeconds = 1 }, wire.EndDuration},
		"packets":  {func(s *wire.StoreSpec) { s.MaxPackets = 3 }, wire.EndLimit},
	} {
		t.Run(name, func(t *testing.T) {
			pod := vethtest.NewPod(t)
			k := keep(t)
			c := k.talk()
			s := storeSpec(pod)
			s.Store.Metadata = false
			test.change(s.Store)
			c.begin(s)
			write(t, vethtest.UDP(t, pod.Netns, "192.0.2.1:4001", "192.0.2.2:4002"), 5)
			c.say(wire.KindSeal, nil)
			status := c.awaitPhase(wire.PhaseKept)
			if status.Reason != test.reason {
				t.Errorf("ended by %q", status.Reason)
			}
			c.say(wire.KindRelease, nil)
			k.ended("")
		})
	}
}

func TestKeeperGivesUpWithoutCommand(t *testing.T) {
	pod := vethtest.NewPod(t)
	k := keep(t)
	c := k.talk()
	s := storeSpec(pod)
	s.Store.Metadata = false
	c.begin(s)
	c.stdin.Close()
	k.ended("the command is gone")
}

func TestKeeperRefuses(t *testing.T) {
	pod := vethtest.NewPod(t)
	for name, test := range map[string]struct {
		kind    wire.Kind
		message any
		want    string
	}{
		"a stream":         {wire.KindSpec, spec(pod), "stores"},
		"a look at no job": {wire.KindOpen, nil, "no capture"},
		"a fetch too soon": {wire.KindFetch, wire.Fetch{}, "no archive"},
		"files of nothing": {wire.KindList, wire.ListFiles{}, "no files"},
	} {
		t.Run(name, func(t *testing.T) {
			c := keep(t).talk()
			c.say(test.kind, test.message)
			kind, payload, err := c.read.ReadFrame(nil)
			if err != nil || kind != wire.KindFailure || !strings.Contains(string(payload), test.want) {
				t.Errorf("frame %d %s, %v", kind, payload, err)
			}
		})
	}
}
