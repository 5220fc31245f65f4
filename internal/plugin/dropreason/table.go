//go:build linux

package dropreason

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/dropreason"
)

const (
	// settle is how long after a flip no program can be writing to the table that
	// was active before: one runs for microseconds, with preemption for milliseconds.
	settle = 100 * time.Millisecond
	// chunk is how many entries are read at once. It must be more than one bucket of
	// the kernel's table holds.
	chunk = 1024
	// rowsPerEntry bounds the memory here: so many times the entries of a table in
	// the kernel.
	rowsPerEntry = 4
	// idle is how long a row is kept without a drop, when memory is short.
	idle = time.Minute
)

// tally is packets and bytes.
type tally = bpf.DropreasonDropCount

// A row is what is known about one key: what was taken out of the kernel's
// tables, and what is still in there.
type row struct {
	taken, live, sent tally
	round             uint64 // that live is of
	changed           time.Time
}

func (r *row) total() tally {
	return tally{Packets: r.taken.Packets + r.live.Packets, Bytes: r.taken.Bytes + r.live.Bytes}
}

// enter sets live back if it is of an earlier round.
func (r *row) enter(round uint64) {
	if r.round != round {
		r.round, r.live = round, tally{}
	}
}

func (r *row) add(count tally, taken bool) {
	to := &r.live
	if taken {
		to = &r.taken
	}
	to.Packets += count.Packets
	to.Bytes += count.Bytes
}

// table keeps the totals since go. The kernel has two tables; when the active
// one is half full the other one becomes active, and is left alone until no
// program can be writing to the first one any more, which is then emptied. So
// new keys find room again, and no packet is missed.
type table struct {
	maps *bpf.DropreasonMaps
	// resolve makes one key of those that a reader cannot tell apart.
	resolve  func(*bpf.DropreasonDropKey)
	now      func() time.Time
	capacity int // of each table in the kernel

	rows    map[bpf.DropreasonDropKey]*row
	touched []bpf.DropreasonDropKey // in this round
	round   uint64
	flips   uint32
	flipped time.Time
	emptied bool // the table that is not active

	// diverted counts the packets that had no room here, and are in the row without
	// addresses instead. While there are such in the kernel's tables, their keys must
	// not get rows of their own: totals would go down.
	diverted row
	full     bool

	leaving map[uint32]bool // targets to be forgotten after the next round
	keys    []bpf.DropreasonDropKey
	counts  []tally
}

func newTable(maps *bpf.DropreasonMaps, capacity int, resolve func(*bpf.DropreasonDropKey)) *table {
	return &table{
		maps: maps, resolve: resolve, now: time.Now, capacity: capacity, emptied: true,
		rows: map[bpf.DropreasonDropKey]*row{}, leaving: map[uint32]bool{},
		keys: make([]bpf.DropreasonDropKey, chunk), counts: make([]tally, chunk),
	}
}

// read begins a round and gives emit every key whose total has changed since it
// was last given, with its total, and those that are forgotten because nothing has
// been dropped for long.
func (t *table) read(emit func(key bpf.DropreasonDropKey, total tally, ended bool)) error {
	t.begin()
	active, other := t.maps.DropsEven, t.maps.DropsOdd
	if t.flips&1 == 1 {
		active, other = other, active
	}
	if err := t.readOther(other); err != nil {
		return err
	}
	entries, err := t.readLive(active)
	if err != nil {
		return err
	}
	if _, err := t.readLive(t.maps.Overflow); err != nil {
		return err
	}
	t.emit(emit)
	if err := t.forget(active, other); err != nil {
		return err
	}
	if t.emptied && (entries >= t.capacity/2 || t.full) {
		return t.flip()
	}
	return nil
}

func (t *table) begin() {
	if t.full && t.diverted.live.Packets == 0 && len(t.rows) < t.limit() {
		t.full = false
	}
	t.round++
	t.touched = t.touched[:0]
	t.diverted.enter(t.round)
}

func (t *table) limit() int { return t.capacity * rowsPerEntry }

// readOther reads the table that is not active, and empties it when that is safe.
func (t *table) readOther(other *ebpf.Map) error {
	if t.emptied {
		return nil
	}
	if t.now().Sub(t.flipped) < settle {
		_, err := t.readLive(other)
		return err
	}
	err := t.visit(other, true, func(key bpf.DropreasonDropKey, count tally) { t.count(key, count, true) })
	t.emptied = err == nil
	return err
}

func (t *table) readLive(from *ebpf.Map) (entries int, err error) {
	err = t.visit(from, false, func(key bpf.DropreasonDropKey, count tally) {
		entries++
		t.count(key, count, false)
	})
	return entries, err
}

// count adds to the row of key, or when there is no room for one to the row
// without addresses.
func (t *table) count(key bpf.DropreasonDropKey, count tally, taken bool) {
	t.resolve(&key)
	r := t.rows[key]
	bare := bpf.DropreasonDropKey{Target: key.Target, Reason: key.Reason, On: key.On}
	if r == nil && key != bare && (t.full || len(t.rows) >= t.limit()) {
		t.full = true
		t.diverted.add(count, taken)
		key = bare
		r = t.rows[key]
	}
	if r == nil {
		r = &row{}
		t.rows[key] = r
	}
	if r.round != t.round {
		r.enter(t.round)
		t.touched = append(t.touched, key)
	}
	r.add(count, taken)
}

func (t *table) emit(emit func(bpf.DropreasonDropKey, tally, bool)) {
	now := t.now()
	for _, key := range t.touched {
		r := t.rows[key]
		if total := r.total(); total != r.sent {
			r.sent, r.changed = total, now
			emit(key, total, false)
		}
	}
	if len(t.rows) < t.limit()/2 {
		return
	}
	for key, r := range t.rows {
		// What was not touched is in none of the kernel's tables. Rows without
		// addresses are few and stay.
		if r.round != t.round && key.Family != 0 && now.Sub(r.changed) >= idle {
			delete(t.rows, key)
			emit(key, r.sent, true)
		}
	}
}

// visit reads a whole table of the kernel, and empties it if take is set.
func (t *table) visit(from *ebpf.Map, take bool, f func(bpf.DropreasonDropKey, tally)) error {
	var cursor ebpf.MapBatchCursor
	for {
		read := from.BatchLookup
		if take {
			read = from.BatchLookupAndDelete
		}
		n, err := read(&cursor, t.keys, t.counts, nil)
		for i := range n {
			f(t.keys[i], t.counts[i])
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil // the end
		}
		if err != nil {
			return fmt.Errorf("read table of drops: %w", err)
		}
	}
}

func (t *table) flip() error {
	t.flips++
	if err := t.maps.Flips.Put(uint32(0), t.flips); err != nil {
		return fmt.Errorf("change table of drops: %w", err)
	}
	t.flipped, t.emptied = t.now(), false
	return nil
}

// forget removes what there is of targets that are leaving. Their netns and
// addresses are no target's any more, so nothing is written to their keys.
func (t *table) forget(tables ...*ebpf.Map) error {
	if len(t.leaving) == 0 {
		return nil
	}
	for key := range t.rows {
		if t.leaving[key.Target] {
			delete(t.rows, key)
		}
	}
	for _, from := range append(tables, t.maps.Overflow) {
		var old []bpf.DropreasonDropKey
		if err := t.visit(from, false, func(key bpf.DropreasonDropKey, _ tally) {
			if t.leaving[key.Target] {
				old = append(old, key)
			}
		}); err != nil {
			return err
		}
		for _, key := range old {
			if err := from.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return fmt.Errorf("forget drops of a target: %w", err)
			}
		}
	}
	clear(t.leaving)
	return nil
}
