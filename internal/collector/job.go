//go:build linux

package collector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/archive"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packets"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const (
	// sealing is how long the end of a capture waits for the command's last files.
	sealing = 10 * time.Second
	// reserve is what of the staging volume packet files leave for the rest.
	reserve     = 96 << 20
	maxWarnings = 100
	// recordRoom is kept free for capture.json, without which there is no archive,
	// on a disk that others may fill.
	recordRoom = 1 << 20
)

// A job is one capture into files: attached, then captured, then stored. Its
// methods may be called concurrently, but for attach and run.
type job struct {
	spec wire.Spec
	dir  string // of what will be in the archive
	log  *slog.Logger

	start    chan struct{}
	stop     chan string // reasons
	sealed   chan struct{}
	released chan struct{}
	alone    chan struct{} // closed when no command is waited for
	broken   chan error    // why it could not attach

	plugin   *packets.Plugin
	ready    wire.Ready
	files    []archive.FileRecord
	inFiles  []uint64 // packets by interface
	metadata sync.WaitGroup
	deadline time.Time
	fetching atomic.Int32 // those who download the archive now

	mu       sync.Mutex
	attached bool
	isAlone  bool
	head     []byte
	record   []byte // the command's part of capture.json
	extra    int64  // bytes
	noExtra  bool   // there was no room for one
	status   wire.Status
	changed  chan struct{} // closed and replaced on each change of the phase
	whole    bool          // the archive can be written
}

func newJob(spec wire.Spec, dir string, log *slog.Logger) *job {
	return &job{
		spec: spec, dir: dir, log: log,
		start: make(chan struct{}, 1), stop: make(chan string, 1), sealed: make(chan struct{}, 1), released: make(chan struct{}, 1),
		alone: make(chan struct{}), broken: make(chan error, 1), changed: make(chan struct{}),
		deadline: time.Now().Add(time.Duration(spec.MaxSeconds) * time.Second),
		status:   wire.Status{Phase: wire.PhaseReady, Archive: spec.Store.Archive},
	}
}

// attach attaches to the targets. The node's state before the capture is
// collected at the same time and delays nothing.
func (j *job) attach(send *sender) (wire.Ready, error) {
	err := os.MkdirAll(j.dir, 0o700)
	if err == nil {
		err = os.WriteFile(j.room(), make([]byte, recordRoom), 0o600)
	}
	if err != nil {
		offer(j.broken, err)
		return wire.Ready{}, err
	}
	plugin, err := packets.Open(j.spec.Packets)
	if err != nil {
		offer(j.broken, err)
		return wire.Ready{}, err
	}
	ready := plugin.Ready()
	if warning := excludeOwnStream(send, j.spec.Packets, plugin); warning != "" {
		ready.Warnings = append(ready.Warnings, warning)
	}
	j.collect("before")
	j.mu.Lock()
	defer j.mu.Unlock()
	j.plugin, j.ready, j.attached = plugin, ready, true
	j.status.Warnings = append(j.status.Warnings, ready.Warnings...)
	j.log.Info("attached", "interfaces", len(ready.Interfaces), "failed", len(ready.Failed))
	return ready, nil
}

// room is a file that gives its place to capture.json.
func (j *job) room() string { return j.dir + ".room" }

// excludeStream leaves out one more conversation of a capture of the node.
func (j *job) excludeStream(send *sender) error {
	j.mu.Lock()
	plugin := j.plugin
	capturing := j.attached && j.status.Phase == wire.PhaseCapturing
	j.mu.Unlock()
	if !capturing {
		return nil
	}
	if warning := excludeOwnStream(send, j.spec.Packets, plugin); warning != "" {
		j.warn(warning)
	}
	return nil
}

// setAddresses changes the addresses of the filter of a capture that has not
// ended.
func (j *job) setAddresses(changes wire.Addresses) error {
	j.mu.Lock()
	plugin := j.plugin
	going := j.attached && (j.status.Phase == wire.PhaseReady || j.status.Phase == wire.PhaseCapturing)
	j.mu.Unlock()
	if !going {
		return nil
	}
	return plugin.SetAddresses(changes.Changes)
}

// unattended has nothing wait for a command any more.
func (j *job) unattended() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.isAlone {
		j.isAlone = true
		close(j.alone)
	}
}

// addHead takes more of the packet files' head, which must be whole before go.
func (j *job) addHead(b []byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.head)+len(b) > wire.MaxHeadBytes {
		return fmt.Errorf("head of the packet files is over the limit of %d bytes", wire.MaxHeadBytes)
	}
	j.head = append(j.head, b...)
	return nil
}

// setRecord takes the command's part of capture.json.
func (j *job) setRecord(record []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.record = record
}

// addExtra takes more of a file of the command's. One that finds no room is left
// out, with all that follow.
func (j *job) addExtra(payload []byte) error {
	name, data, err := wire.ParseExtra(payload)
	if err != nil {
		return err
	}
	j.mu.Lock()
	if j.extra += int64(len(data)); j.extra > wire.MaxExtraBytes {
		err = fmt.Errorf("files of the command are over the limit of %d bytes", wire.MaxExtraBytes)
	}
	// Too late when it is whole: the archive must not change under those who read it.
	var lacking error
	if err == nil && !j.whole && !j.noExtra {
		lacking = j.writeExtra(name, data)
		j.noExtra = lacking != nil
	}
	j.mu.Unlock()
	if lacking != nil {
		j.warn("the archive lacks a part of the cluster's state: " + lacking.Error())
	}
	return err
}

func (j *job) writeExtra(name string, data []byte) error {
	root, err := os.OpenRoot(j.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// run is the capture, from attached to done.
func (j *job) run(ctx context.Context) error {
	ctx, cancel := context.WithDeadlineCause(ctx, j.deadline, errDeadline)
	defer cancel()
	err := j.waitAttached(ctx)
	if err == nil {
		err = j.capture(ctx)
	}
	if err != nil {
		return j.fail(err)
	}
	if err := j.complete(ctx); err != nil {
		return j.fail(err)
	}
	j.store(ctx)
	return j.keep(ctx)
}

var (
	errDeadline = errors.New("the collector has reached its deadline")
	errStopped  = errors.New("stopped before it began")
)

// waitAttached waits for the go of the command, which comes after its ready.
func (j *job) waitAttached(ctx context.Context) error {
	select {
	case <-j.start:
		return nil
	case err := <-j.broken:
		return err
	case <-j.stop:
		return errStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// writeArchive writes the archive, the same bytes each time.
func (j *job) writeArchive(w io.Writer) error {
	j.mu.Lock()
	whole := j.whole
	j.mu.Unlock()
	if !whole {
		return hint.Wrap(errors.New("the capture has not ended yet"), "stop it first: kubectl retina capture stop")
	}
	return archive.Write(w, j.dir, j.spec.Store.Archive)
}

// snapshot returns the status of the moment.
func (j *job) snapshot() wire.Status {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.status
	s.Stores = append([]wire.StoreStatus(nil), s.Stores...)
	return s
}

// changes returns a channel that is closed at the next change worth telling.
func (j *job) changes() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.changed
}

// update changes the status. A change of the phase is told at once, and logged.
func (j *job) update(change func(*wire.Status)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	before := j.status.Phase
	change(&j.status)
	if j.status.Phase != before {
		close(j.changed)
		j.changed = make(chan struct{})
	}
}

func (j *job) warn(text string) {
	news := false
	j.update(func(s *wire.Status) {
		if news = !slices.Contains(s.Warnings, text) && len(s.Warnings) < maxWarnings; news {
			s.Warnings = append(s.Warnings, text)
		}
	})
	if news {
		j.log.Warn(text)
	}
}

// fail ends the capture with an error, which it returns.
func (j *job) fail(err error) error {
	j.log.Error("failed", "cause", err.Error())
	j.update(func(s *wire.Status) {
		s.Phase, s.Error, s.Hint = wire.PhaseFailed, err.Error(), hint.Of(err)
	})
	return err
}
