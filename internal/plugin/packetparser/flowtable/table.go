//go:build linux

// Package flowtable reads the kernel's tables of flows: hash tables whose values
// only grow. It tells what has changed, and takes out what has been idle.
package flowtable

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
)

// Idle is how long a flow stays in its table without a change.
const Idle = time.Minute

// batch is how many entries are read with one system call: more than one
// bucket of the hash table ever has.
const batch = 1024

// Options are how a Table treats its entries.
type Options[K, V comparable] struct {
	Target func(K) uint32 // whose entry it is
	// Complete may add to a value that was read what user space knows. nil: nothing.
	Complete func(K, *V)
	Idle     time.Duration
}

// A Table follows one hash table. It is not safe for concurrent use, and no one
// else may delete entries of the hash table.
type Table[K, V comparable] struct {
	kernel  *ebpf.Map
	options Options[K, V]
	known   map[K]entry[V]
	gone    map[uint32]bool // targets to be taken out
	keys    []K
	values  []V
}

type entry[V comparable] struct {
	value   V
	changed time.Time
}

// New follows m, which the caller closes after the last Read.
func New[K, V comparable](m *ebpf.Map, o Options[K, V]) *Table[K, V] {
	return &Table[K, V]{
		kernel: m, options: o, known: map[K]entry[V]{}, gone: map[uint32]bool{},
		keys: make([]K, batch), values: make([]V, batch),
	}
}

// Forget has the next Read take out all that targets have.
func (t *Table[K, V]) Forget(targets []uint32) {
	for _, id := range targets {
		t.gone[id] = true
	}
}

// Known reports whether an entry was there at the last Read.
func (t *Table[K, V]) Known(key K) bool {
	_, ok := t.known[key]
	return ok
}

// Read calls f for every entry that has changed since the last Read, or is taken
// out now, with its last value: because it is idle, or its target gone. Should such
// an entry come back, it begins anew.
func (t *Table[K, V]) Read(now time.Time, f func(key K, value V, ended bool)) error {
	var ended []K
	err := Each(t.kernel, t.keys, t.values, func(key K, value V) {
		if t.options.Complete != nil {
			t.options.Complete(key, &value)
		}
		last, ok := t.known[key]
		changed := !ok || last.value != value
		if changed {
			last = entry[V]{value: value, changed: now}
			t.known[key] = last
		}
		switch {
		case t.gone[t.options.Target(key)] || now.Sub(last.changed) >= t.options.Idle:
			ended = append(ended, key)
		case changed:
			f(key, value, false)
		}
	})
	for _, key := range ended {
		value, takeErr := t.take(key)
		if takeErr != nil {
			err = errors.Join(err, takeErr)
			continue
		}
		f(key, value, true)
	}
	if err == nil {
		clear(t.gone)
	}
	return err
}

// take reads a value and deletes its entry.
func (t *Table[K, V]) take(key K) (V, error) {
	value, err := take[K, V](t.kernel, key)
	if err == nil {
		if t.options.Complete != nil {
			t.options.Complete(key, &value)
		}
		delete(t.known, key)
	}
	return value, err
}

// take reads and deletes in one step where the kernel can (5.14 for hash tables):
// what is counted just before is read. A program that has looked the entry up but
// not yet counted, and so adds to an entry that is no more, would have to meet
// this moment within some ten ns after a minute without a packet.
func take[K, V comparable](m *ebpf.Map, key K) (value V, err error) {
	if err = m.LookupAndDelete(&key, &value); err == nil {
		return value, nil
	}
	if err = m.Lookup(&key, &value); err == nil {
		err = m.Delete(&key)
	}
	if err != nil {
		return value, fmt.Errorf("take out an entry: %w", err)
	}
	return value, nil
}

// Each calls f for every entry of a hash table. Keys and values are room for some,
// of the same length. Entries that come or go meanwhile may be left out.
func Each[K, V any](m *ebpf.Map, keys []K, values []V, f func(K, V)) error {
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("read a table: %w", err)
		}
		for i := range n {
			f(keys[i], values[i])
		}
		if err != nil { // that was the last of them
			return nil
		}
	}
}
