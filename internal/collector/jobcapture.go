//go:build linux

package collector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/headers"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packets"
	"github.com/kubectl-retina/kubectl-retina/internal/staging"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// capture captures into files until something ends it.
func (j *job) capture(ctx context.Context) error {
	defer func() {
		if err := j.plugin.Close(); err != nil {
			j.warn("detach: " + err.Error())
		}
	}()
	store := j.spec.Store
	budget := int64(0)
	if store.StagingBytes < wire.MaxStagingBytes {
		budget = max(store.StagingBytes-reserve, store.StagingBytes/2)
	}
	files, err := staging.Create(staging.Config{
		Dir: j.dir, Base: store.Archive, Format: store.Format, Head: j.head, Interfaces: len(j.ready.Interfaces),
		MaxFileBytes: store.MaxFileBytes, FileCount: store.FileCount, MaxPackets: store.MaxPackets,
		Budget: budget,
	})
	if err != nil {
		return err
	}
	c := &filing{job: j, files: files, buf: make([]byte, packets.FrameCapacity), linkTypes: linkTypes(j.ready)}
	if err := j.plugin.Go(); err != nil {
		return err
	}
	began := time.Now()
	j.update(func(s *wire.Status) { s.Phase, s.StartNS = wire.PhaseCapturing, began.UnixNano() })
	j.log.Info("capturing", "file", store.Archive)
	reason, err := c.until(ctx)
	if err != nil {
		return err
	}
	return c.finish(reason, began)
}

// A filing brings packets from the ring buffer into the files.
type filing struct {
	job       *job
	files     *staging.Files
	linkTypes []uint16 // by interface
	buf       []byte
	lastLook  time.Time
	lastTold  time.Time
	broken    error // why nothing more goes into the files
}

// until captures until something ends it, and returns what.
func (c *filing) until(ctx context.Context) (string, error) {
	j := c.job
	var over <-chan time.Time
	if seconds := j.spec.Store.MaxSeconds; seconds > 0 {
		over = time.After(time.Duration(seconds) * time.Second)
	}
	for {
		select {
		case reason := <-j.stop:
			return reason, nil
		case <-over:
			return wire.EndDuration, nil
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), errDeadline) {
				return wire.EndDeadline, nil
			}
			return "", context.Cause(ctx)
		default:
		}
		limit := staging.NoLimit
		payload, err := j.plugin.Read(c.buf)
		if err == nil {
			limit, err = c.add(payload)
		}
		if err != nil {
			c.fail(err)
		}
		if c.broken != nil {
			return wire.EndFailure, nil // what is in the files is good
		}
		switch limit {
		case staging.DiskLimit:
			return wire.EndDiskFull, nil
		case staging.PacketLimit, staging.SizeLimit:
			return wire.EndLimit, nil
		}
		if c.lookAround() {
			return wire.EndGone, nil
		}
	}
}

// add puts the packets of one frame into the files.
func (c *filing) add(payload []byte) (staging.Limit, error) {
	header, blocks, err := wire.ParsePackets(payload)
	if err != nil {
		return staging.NoLimit, err
	}
	if c.job.spec.Packets.HeadersOnly {
		if blocks, err = headers.TrimBlocks(blocks, c.linkTypes); err != nil {
			return staging.NoLimit, err
		}
	}
	limit, err := c.files.Add(blocks)
	if err != nil {
		c.fail(fmt.Errorf("write packets: %w", err))
	}
	if now := time.Now(); now.Sub(c.lastTold) >= quiet {
		c.lastTold = now
		c.tell(header.Lost)
	}
	return limit, nil
}

// fail ends the capture early. What it has is kept: only the first reason counts.
func (c *filing) fail(err error) {
	if c.broken == nil {
		c.broken = err
		c.job.warn("the capture ended early: " + err.Error())
	}
}

// excludeOthers leaves out the streams of other collectors of the node. Where that
// fails, they are in the file.
func (c *filing) excludeOthers() {
	if capturesNode(c.job.spec.Packets) {
		if err := c.job.plugin.ExcludeOthers(); err != nil {
			c.job.warn("packets of other captures' streams may be in the file: " + err.Error())
		}
	}
}

// tell makes the counts known.
func (c *filing) tell(lost uint64) {
	t := c.files.Totals()
	c.job.update(func(s *wire.Status) {
		s.Packets, s.Bytes, s.Overwritten, s.Limited, s.StagedBytes = t.Packets, t.CapBytes, t.Overwritten, t.Limited, t.FileBytes
		s.Lost = lost + t.Unwritten
	})
}

// lookAround looks now and then for vanished interfaces and for other collectors
// of the node, and reports whether no interface is left.
func (c *filing) lookAround() (gone bool) {
	now := time.Now()
	if now.Sub(c.lastLook) < lookAround {
		return false
	}
	c.lastLook = now
	j := c.job
	c.excludeOthers()
	vanished, all, err := j.plugin.Gone()
	if err != nil {
		j.warn("vanished interfaces are not noticed: " + err.Error())
	}
	for _, g := range vanished {
		j.warn(j.targetName(g.Target) + " ended during the capture: its packets until then are in the file")
	}
	return all && err == nil
}

func (j *job) targetName(id uint32) string {
	for _, t := range j.spec.Packets.Targets {
		if t.ID == id {
			return t.Name
		}
	}
	return fmt.Sprintf("target %d", id)
}

// captured are the counts of the files alone, where the kernel's cannot be had.
func (c *filing) captured() []wire.InterfaceStats {
	var all []wire.InterfaceStats
	for id, packets := range c.files.InterfacePackets() {
		all = append(all, wire.InterfaceStats{ID: uint32(id), Seen: packets, Captured: packets})
	}
	return all
}

// finish ends the capture and the files.
func (c *filing) finish(reason string, began time.Time) error {
	j := c.job
	if err := j.plugin.Stop(); err != nil {
		c.fail(err)
	}
	ended := time.Now()
	j.update(func(s *wire.Status) {
		s.Phase, s.Reason, s.EndNS = wire.PhaseFinishing, reason, ended.UnixNano()
	})
	stats, err := j.plugin.Drain(c.buf, func(payload []byte) error {
		_, err := c.add(payload)
		return err
	})
	if err != nil {
		c.fail(err)
		stats = c.captured()
	}
	if err := c.files.Finish(stats, began.UnixNano(), ended.UnixNano()); err != nil {
		c.fail(fmt.Errorf("finish packet files: %w", err))
	}
	if c.broken != nil {
		reason = wire.EndFailure
		j.update(func(s *wire.Status) { s.Reason = reason })
	}
	if c.files.Totals().Limit == staging.DiskLimit && reason != wire.EndDiskFull {
		reason = wire.EndDiskFull // the last packets have met it
		j.update(func(s *wire.Status) { s.Reason = reason })
	}
	var lost uint64
	for _, s := range stats {
		lost += s.Lost
	}
	c.tell(lost)
	j.update(func(s *wire.Status) { s.Interfaces = stats })
	j.files, j.inFiles = c.files.Records(), c.files.InterfacePackets()
	s := j.snapshot()
	j.log.Info("captured", "reason", reason, "packets", s.Packets, "bytes", s.Bytes, "lost", s.Lost)
	if reason == wire.EndDiskFull {
		j.warn("the capture ended early: the node's disk, or what of it may be used, is full")
	}
	return nil
}
