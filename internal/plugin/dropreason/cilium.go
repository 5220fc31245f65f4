//go:build linux

package dropreason

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/cilium/ebpf"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const (
	// ciliumMap is where Cilium's agent pins its counters, below the node's BPF file
	// system.
	ciliumMap = "tc/globals/cilium_metrics"
	// ciliumEvery is after how many samples the map is looked for again: an agent that
	// starts later, or another version of it, pins a new one.
	ciliumEvery = 10
	// ciliumFirstDrop is the lowest reason that is a drop.
	ciliumFirstDrop = 130
)

// ciliumMetric is struct metrics_key of Cilium's bpf/lib/common.h. What follows is
// the place in Cilium's source since 1.16, and reserved before.
type ciliumMetric struct {
	Reason    uint8
	Direction uint8    // the lowest two bits
	Line      [6]uint8 // and file
}

// ciliumKey is what of a ciliumMetric tells drops apart.
type ciliumKey struct {
	reason, direction uint8
}

// cilium counts what Cilium's programs have dropped on this node since start.
type cilium struct {
	metrics *ebpf.Map
	id      ebpf.MapID
	last    map[ciliumKey]tally // what Cilium said when it was read last
	total   map[ciliumKey]tally
	sent    map[ciliumKey]tally
}

// openCilium opens Cilium's counters below a BPF file system. It returns nil where
// there are none.
func openCilium(bpffs string) (*cilium, error) {
	path := filepath.Join(bpffs, ciliumMap)
	metrics, err := ebpf.LoadPinnedMap(path, &ebpf.LoadPinOptions{ReadOnly: true})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open Cilium's counters: %w", err)
	}
	if metrics.Type() != ebpf.PerCPUHash || metrics.KeySize() != 8 || metrics.ValueSize() != 16 {
		metrics.Close()
		err := fmt.Errorf("Cilium's counters have an unknown form: %s of %d and %d bytes", metrics.Type(), metrics.KeySize(), metrics.ValueSize()) //nolint:staticcheck // a name
		return nil, hint.Wrap(err, "this version of Cilium is not supported: see its own metrics, cilium_drop_count_total")
	}
	c := &cilium{metrics: metrics, total: map[ciliumKey]tally{}, sent: map[ciliumKey]tally{}}
	if info, err := metrics.Info(); err == nil { // else it counts as the same map for ever
		c.id, _ = info.ID()
	}
	return c, nil
}

// followCilium takes the counters that are pinned now. Those that were not there
// before have begun after start, so all that they have counts.
func (p *Plugin) followCilium() error {
	now, err := openCilium(p.bpffs)
	switch {
	case err != nil || now == nil:
		return err
	case p.cilium == nil:
		p.cilium = now
		return nil
	case now.id == p.cilium.id:
		return now.Close()
	}
	if err := p.cilium.update(); err != nil { // what it has counted since the last sample
		return errors.Join(err, now.Close())
	}
	old := p.cilium.metrics
	p.cilium.metrics, p.cilium.id, p.cilium.last = now.metrics, now.id, nil
	return old.Close()
}

// start makes the counters begin from here.
func (c *cilium) start() (err error) {
	c.last, err = c.read()
	return err
}

// update adds what has been dropped since the last call.
func (c *cilium) update() error {
	counts, err := c.read()
	if err != nil {
		return err
	}
	for key, count := range counts {
		last, total := c.last[key], c.total[key]
		if count.Packets < last.Packets {
			last = tally{} // Cilium has begun anew
		}
		total.Packets += count.Packets - last.Packets
		total.Bytes += count.Bytes - last.Bytes
		c.total[key] = total
	}
	c.last = counts
	return nil
}

// sample appends the totals that have changed since the last call as those of
// target.
func (c *cilium) sample(target uint32, into *wire.Sample) {
	for key, total := range c.total {
		if total == c.sent[key] {
			continue
		}
		c.sent[key] = total
		into.Drops = append(into.Drops, wire.DropSample{
			Target: target, Reason: ciliumReason(key.reason), Direction: ciliumDirection(key.direction), On: onNode,
			Packets: total.Packets, Bytes: total.Bytes,
		})
	}
}

func (c *cilium) read() (map[ciliumKey]tally, error) {
	counts := map[ciliumKey]tally{}
	var metric ciliumMetric
	var perCPU []tally
	entries := c.metrics.Iterate()
	for entries.Next(&metric, &perCPU) {
		if metric.Reason < ciliumFirstDrop {
			continue
		}
		key := ciliumKey{metric.Reason, metric.Direction & 3}
		sum := counts[key]
		for _, one := range perCPU {
			sum.Packets += one.Packets
			sum.Bytes += one.Bytes
		}
		counts[key] = sum
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("read Cilium's counters: %w", err)
	}
	return counts, nil
}

// Close closes the map, which stays pinned.
func (c *cilium) Close() error { return c.metrics.Close() }

func ciliumDirection(direction uint8) string {
	switch direction {
	case 1: // METRIC_INGRESS
		return wire.DirectionIn
	case 2: // METRIC_EGRESS
		return wire.DirectionOut
	}
	return ""
}
