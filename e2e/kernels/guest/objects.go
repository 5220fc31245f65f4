//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// patience is how long the kernel may take to free what nobody uses any more.
const patience = 10 * time.Second

// objects lists the kernel's BPF programs, maps and links.
func objects() (map[string]bool, error) {
	found := map[string]bool{}
	err := each(ebpf.ProgramGetNextID, func(id ebpf.ProgramID) error {
		p, err := ebpf.NewProgramFromID(id)
		if err == nil {
			defer p.Close()
			found[fmt.Sprintf("program %d, %s", id, p)] = true
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	err = each(ebpf.MapGetNextID, func(id ebpf.MapID) error {
		m, err := ebpf.NewMapFromID(id)
		if err == nil {
			defer m.Close()
			found[fmt.Sprintf("map %d, %s", id, m)] = true
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	links := new(link.Iterator)
	defer links.Close()
	for links.Next() {
		found[fmt.Sprintf("link %d", links.ID)] = true
	}
	return found, links.Err()
}

// each calls do with every ID, but for those that have gone in the meantime.
func each[ID ~uint32](next func(ID) (ID, error), do func(ID) error) error {
	var id ID
	for {
		var err error
		if id, err = next(id); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if err := do(id); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
}

// left waits until there is nothing that was not there before, and says what is.
func left(before map[string]bool) []string {
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		now, err := objects()
		if err != nil {
			return []string{fmt.Sprintf("unknown: %s", err)}
		}
		maps.DeleteFunc(now, func(name string, _ bool) bool { return before[name] })
		if len(now) == 0 {
			return nil
		}
		if time.Now().After(end) {
			return slices.Sorted(maps.Keys(now))
		}
	}
}
