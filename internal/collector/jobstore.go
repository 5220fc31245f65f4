//go:build linux

package collector

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/archive"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/nodeinfo"
	"github.com/kubectl-retina/kubectl-retina/internal/store"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// metadataBytes bounds the node's state, of before and of after each: together with
// the command's files it fits beside the packets (reserve).
const metadataBytes = 20 << 20

// collect collects the node's network state beside whatever else happens.
func (j *job) collect(when string) {
	if !j.spec.Store.Metadata {
		return
	}
	j.metadata.Go(func() {
		dir := filepath.Join(j.dir, "metadata", when)
		//nolint:forbidigo // it has limits of its own, and ends whatever becomes of the stream
		problems := nodeinfo.Collect(context.Background(), dir, nodeinfo.Options{Targets: j.spec.Packets.Targets, MaxBytes: metadataBytes})
		// What else could not be had is in a file of its own.
		if slices.ContainsFunc(problems, func(p nodeinfo.Problem) bool { return errors.Is(p, syscall.ENOSPC) }) {
			j.warn("the archive lacks a part of the node's state " + when + " the capture: " + syscall.ENOSPC.Error())
		}
	})
}

// complete makes everything that goes into the archive.
func (j *job) complete(ctx context.Context) error {
	j.metadata.Wait() // those from before, should they still be missing
	j.collect("after")
	patience := time.NewTimer(sealing)
	defer patience.Stop()
	select {
	case <-j.sealed:
	case <-j.alone:
	case <-patience.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	j.metadata.Wait()
	record, err := j.completeRecord()
	if err != nil {
		return err
	}
	_ = os.Remove(j.room()) // whether there is room now shows at once
	if err := os.WriteFile(filepath.Join(j.dir, archive.RecordFile), record, 0o600); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.whole = true
	return nil
}

// completeRecord is capture.json.
func (j *job) completeRecord() ([]byte, error) {
	hello, err := newHello()
	if err != nil {
		return nil, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	s := &j.status
	part := archive.NodePart{
		CollectorVersion: hello.Collector, Kernel: hello.Kernel, Arch: hello.Arch,
		Start: time.Unix(0, s.StartNS).UTC(), End: time.Unix(0, s.EndNS).UTC(), Reason: s.Reason,
		Packets: s.Packets, Bytes: s.Bytes, Lost: s.Lost, Overwritten: s.Overwritten, Limited: s.Limited,
		Interfaces: []archive.InterfaceRecord{}, Files: j.files, Warnings: s.Warnings,
	}
	for n, i := range j.ready.Interfaces {
		stats := s.Interfaces[n]
		part.Interfaces = append(part.Interfaces, archive.InterfaceRecord{
			ID: i.ID, Target: i.Target, Name: i.Name, LinkType: i.LinkType, MAC: i.MAC, MTU: i.MTU,
			Packets: j.inFiles[n], Seen: stats.Seen, SeenBytes: stats.SeenBytes, Lost: stats.Lost, Excluded: stats.Excluded,
		})
	}
	return archive.Complete(j.record, part)
}

// store brings the archive to every destination at the same time. What fails is
// in the status.
func (j *job) store(ctx context.Context) {
	destinations := j.spec.Store.Destinations
	statuses := make([]wire.StoreStatus, len(destinations))
	stores := make([]store.Store, len(destinations))
	for i, d := range destinations {
		s, err := store.Open(d, store.Options{})
		if err != nil {
			statuses[i].Error, statuses[i].Hint = err.Error(), hint.Of(err)
			continue
		}
		stores[i] = s
		statuses[i].Where, statuses[i].Name = s.Where(), s.Name(j.spec.Store.Archive+archive.Extension)
	}
	j.update(func(s *wire.Status) { s.Phase, s.Stores = wire.PhaseStoring, statuses })
	var all sync.WaitGroup
	for i, s := range stores {
		if s != nil {
			all.Go(func() { j.put(ctx, i, s) })
		}
	}
	all.Wait()
}

// put brings the archive to one destination.
func (j *job) put(ctx context.Context, i int, s store.Store) {
	set := func(change func(*wire.StoreStatus)) {
		j.update(func(status *wire.Status) { change(&status.Stores[i]) })
	}
	receipt, err := s.Put(ctx, j.snapshot().Stores[i].Name, j.writeArchive, func(bytes int64) {
		set(func(s *wire.StoreStatus) { s.Bytes = bytes })
	})
	if err != nil {
		j.log.Error("could not store", "where", s.Where(), "cause", err.Error())
		cause := strings.TrimPrefix(err.Error(), s.Where()+": ") // which is said beside it
		set(func(s *wire.StoreStatus) { s.Error, s.Hint = cause, hint.Of(err) })
		return
	}
	j.log.Info("stored", "where", s.Where(), "name", receipt.Name, "bytes", receipt.Bytes, "sha256", receipt.SHA256)
	j.update(func(status *wire.Status) {
		status.ArchiveBytes = receipt.Bytes
		s := &status.Stores[i]
		s.Name, s.Bytes, s.SHA256, s.Done = receipt.Name, receipt.Bytes, receipt.SHA256, true
	})
}

// keep keeps what is not in all its destinations, until it is fetched or the time
// is over. An error means that nobody came for it.
func (j *job) keep(ctx context.Context) error {
	missing := j.missing()
	until := time.Now().Add(time.Duration(j.spec.Store.KeepSeconds) * time.Second)
	if until.After(j.deadline) {
		until = j.deadline
	}
	if missing != nil && time.Now().Before(until) {
		j.log.Warn("kept to be downloaded", "until", until.UTC().Format(time.RFC3339))
		j.update(func(s *wire.Status) { s.Phase, s.KeptUntilNS = wire.PhaseKept, until.UnixNano() })
		select {
		case <-j.released:
			missing = nil
			_ = j.awaitFetch(ctx, nil) // somebody else may be at it
		case <-time.After(time.Until(until)):
			missing = j.awaitFetch(ctx, missing)
		case <-ctx.Done():
		}
	}
	if missing != nil {
		return j.fail(missing)
	}
	j.update(func(s *wire.Status) { s.Phase = wire.PhaseDone })
	return nil
}

// awaitFetch lets a download that is under way end, and be confirmed.
func (j *job) awaitFetch(ctx context.Context, missing error) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for j.fetching.Load() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return missing
		}
	}
	if missing == nil {
		return nil
	}
	select {
	case <-j.released:
		return nil
	case <-time.After(sealing):
	case <-ctx.Done():
	}
	return missing
}

// missing says why the archive has to be kept, or returns nil.
func (j *job) missing() error {
	status := j.snapshot()
	if len(status.Stores) == 0 || j.spec.Store.Fetched {
		return errors.New("nobody has downloaded the capture in time")
	}
	for _, s := range status.Stores {
		if !s.Done {
			return hint.Wrap(fmt.Errorf("not stored at %s: %s", s.Where, s.Error), s.Hint)
		}
	}
	return nil
}
