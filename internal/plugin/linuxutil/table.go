//go:build linux

package linuxutil

import "github.com/kubectl-retina/kubectl-retina/internal/wire"

// A table is all numbers of one network namespace. They come in the same order at
// every reading, or nearly so: each is looked for where it was the last time.
type table struct {
	rows []row
	at   map[string]int // by key
	next int            // where the next number probably is
	key  []byte
}

// row is one number.
type row struct {
	group, ifname, name string
	gauge               bool
	last                uint64 // as the kernel had it
	value               uint64 // since go, or of this moment
	sent                uint64 // as of the last sample
}

func newTable() *table { return &table{at: make(map[string]int)} }

// rewind is to be called before each reading.
func (t *table) rewind() { t.next = 0 }

// count takes the kernel's present number of something that only grows. One that is
// smaller than before has begun with 0 again.
func (t *table) count(group, ifname, prefix string, name []byte, now uint64) {
	r := t.row(group, ifname, prefix, name)
	if now < r.last {
		r.last = 0
	}
	r.value += now - r.last
	r.last = now
}

// count32 is count for numbers of 32 bits that wrap around.
func (t *table) count32(group string, name []byte, now uint32) {
	r := t.row(group, "", "", name)
	r.value += uint64(now - uint32(r.last))
	r.last = uint64(now)
}

// set takes a number of this moment.
func (t *table) set(group, prefix string, name []byte, now uint64) {
	r := t.row(group, "", prefix, name)
	r.gauge, r.value = true, now
}

// baseline makes everything count from here.
func (t *table) baseline() {
	for i := range t.rows {
		if !t.rows[i].gauge {
			t.rows[i].value, t.rows[i].sent = 0, 0
		}
	}
}

// sample appends what has changed since the last call. What has always been 0 has
// not.
func (t *table) sample(target uint32, into []wire.StatSample) []wire.StatSample {
	for i := range t.rows {
		if r := &t.rows[i]; r.value != r.sent {
			r.sent = r.value
			into = append(into, wire.StatSample{Target: target, Interface: r.ifname, Group: r.group, Name: r.name, Gauge: r.gauge, Value: r.value})
		}
	}
	return into
}

// row finds a number, or makes room for it.
func (t *table) row(group, ifname, prefix string, name []byte) *row {
	if t.next < len(t.rows) {
		if r := &t.rows[t.next]; r.is(group, ifname, prefix, name) {
			t.next++
			return r
		}
	}
	t.key = append(append(append(t.key[:0], group...), 0), ifname...)
	t.key = append(append(append(t.key, 0), prefix...), name...)
	i, ok := t.at[string(t.key)]
	if !ok {
		i = len(t.rows)
		t.at[string(t.key)] = i
		t.rows = append(t.rows, row{group: group, ifname: ifname, name: prefix + string(name)})
	}
	t.next = i + 1
	return &t.rows[i]
}

func (r *row) is(group, ifname, prefix string, name []byte) bool {
	return len(r.name) == len(prefix)+len(name) && r.name[len(prefix):] == string(name) && r.name[:len(prefix)] == prefix &&
		r.group == group && r.ifname == ifname
}
