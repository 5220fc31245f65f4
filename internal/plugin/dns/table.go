//go:build linux

package dns

import (
	"net/netip"
	"slices"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const (
	// maxFolded bounds the entries without a name: one for each server and type.
	maxFolded = 1024
	// idleNS is how long an entry stays without a message. It is longer than a query
	// waits, so no timeout comes after its entry's end.
	idleNS = uint64(time.Minute)
)

// entryKey is the key of a wire.DNSSample.
type entryKey struct {
	target   uint32
	role     string
	server   netip.AddrPort
	protocol uint8
	name     string
	typ      uint16
}

// entry counts what was asked for one name.
type entry struct {
	typ                          string
	queries, responses, timeouts uint64
	codes                        map[uint16]uint64
	latency                      wire.Histogram
	sent                         uint64 // queries, responses and timeouts as of the last sample
	last                         uint64 // monotonic ns, of the newest of them
}

// table is all names that were asked for.
type table struct {
	limit   int
	entries map[entryKey]*entry
	folded  int    // entries without a name
	full    uint64 // messages that found no room for their name
}

func newTable(limit int) table { return table{limit: limit, entries: make(map[entryKey]*entry)} }

// entry returns the entry of a name. When there are too many, it is one that stands
// for all other names of this server and type; when there are too many of those,
// servers and types are not told apart either.
func (t *table) entry(w way, name string, typ uint16) *entry {
	key := entryKey{w.target, w.role, w.server, w.protocol, name, typ}
	if e := t.entries[key]; e != nil {
		return e
	}
	typeText, known := typeName(typ)
	if len(t.entries)-t.folded >= t.limit {
		t.full++
		key.name = ""
		if !known || t.folded >= maxFolded {
			key.typ, typeText = 0, ""
		}
		if t.folded >= maxFolded && t.entries[key] == nil {
			key.server = netip.AddrPort{}
		}
		if e := t.entries[key]; e != nil {
			return e
		}
		t.folded++
	}
	e := &entry{typ: typeText, codes: make(map[uint16]uint64)}
	t.entries[key] = e
	return e
}

func (e *entry) ask(at uint64) {
	e.queries++
	e.last = max(e.last, at)
}

func (e *entry) respond(code uint16, at uint64) {
	e.responses++
	e.codes[code]++
	e.last = max(e.last, at)
}

func (e *entry) expire(at uint64) {
	e.timeouts++
	e.last = max(e.last, at)
}

// observe counts the time between two monotonic times. On two CPUs the clocks may
// differ by a little.
func (e *entry) observe(at, sent uint64) {
	e.latency.Observe(time.Duration(at - sent))
}

// sample appends the entries that have changed since the last call. Those that are idle
// at a time, and all of targets that leave, make room: they end.
func (t *table) sample(into []wire.DNSSample, at uint64, leaving []uint32) []wire.DNSSample {
	for key, e := range t.entries {
		count := e.queries + e.responses + e.timeouts
		ended := at > e.last && at-e.last >= idleNS || slices.Contains(leaving, key.target)
		if count == e.sent && !ended {
			continue
		}
		e.sent = count
		if ended {
			t.remove(key)
		}
		s := wire.DNSSample{
			Target: key.target, Role: key.role, Server: key.server, Protocol: key.protocol, Name: key.name, Type: e.typ,
			Queries: e.queries, Responses: e.responses, Timeouts: e.timeouts, Ended: ended,
			Latency: wire.Histogram{Sum: e.latency.Sum, Buckets: slices.Clone(e.latency.Buckets)},
		}
		if len(e.codes) > 0 {
			s.Codes = make(map[string]uint64, len(e.codes))
			for code, n := range e.codes {
				s.Codes[codeName(code)] += n
			}
		}
		into = append(into, s)
	}
	return into
}

func (t *table) remove(key entryKey) {
	if key.name == "" {
		t.folded--
	}
	delete(t.entries, key)
}
