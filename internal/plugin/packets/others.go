//go:build linux

package packets

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/packets"
)

// others finds the collectors that capture this node too. Each has found the
// connections of its own stream and holds them in a map, which the kernel lets
// others read.
type others struct {
	own    *ebpf.Map
	ownID  ebpf.MapID
	last   ebpf.MapID // the highest ID looked at
	theirs []*ebpf.Map
}

func newOthers(own *ebpf.Map) (*others, error) {
	info, err := own.Info()
	if err != nil {
		return nil, fmt.Errorf("look at own map: %w", err)
	}
	id, ok := info.ID()
	if !ok {
		return nil, errors.New("own map has no ID: the kernel is older than 4.13")
	}
	return &others{own: own, ownID: id}, nil
}

// adopt copies the connections that other collectors exclude into our own map.
func (o *others) adopt() error {
	if err := o.find(); err != nil {
		return err
	}
	for _, m := range o.theirs {
		var flow bpf.PacketsFlow
		var one uint8
		entries := m.Iterate()
		for entries.Next(&flow, &one) {
			if err := o.own.Put(flow, one); err != nil {
				return fmt.Errorf("exclude another collector's stream: %w", err)
			}
		}
		// A map that changes while it is read is read again next time.
		if err := entries.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
			return fmt.Errorf("read another collector's map: %w", err)
		}
	}
	return nil
}

// find opens the maps that are new since the last time: IDs only grow.
func (o *others) find() error {
	for {
		id, err := ebpf.MapGetNextID(o.last)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list BPF maps: %w", err)
		}
		o.last = id
		if id == o.ownID {
			continue
		}
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			continue // it has ended meanwhile
		}
		if !o.isSibling(m) {
			m.Close()
			continue
		}
		o.theirs = append(o.theirs, m)
	}
}

// isSibling tells the map of another collector by its name and shape.
func (o *others) isSibling(m *ebpf.Map) bool {
	info, err := m.Info()
	return err == nil && info.Name == "own_flows" && info.Type == ebpf.Hash &&
		info.KeySize == o.own.KeySize() && info.ValueSize == o.own.ValueSize()
}

// Close closes the others' maps.
func (o *others) Close() error {
	var errs []error
	for _, m := range o.theirs {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}
