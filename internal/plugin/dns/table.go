//go:build linux

package dns

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// maxFolded bounds the entries without a name: one for each server and type.
const maxFolded = 1024

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

func (e *entry) respond(code uint16) {
	e.responses++
	e.codes[code]++
}

func (e *entry) expire() { e.timeouts++ }

// observe counts the time between two monotonic times. On two CPUs the clocks may
// differ by a little.
func (e *entry) observe(at, sent uint64) {
	e.latency.Observe(time.Duration(at - sent))
}

// sample appends the entries that have changed since the last call.
func (t *table) sample(into []wire.DNSSample) []wire.DNSSample {
	for key, e := range t.entries {
		now := e.queries + e.responses + e.timeouts
		if now == e.sent {
			continue
		}
		e.sent = now
		s := wire.DNSSample{
			Target: key.target, Role: key.role, Server: key.server, Protocol: key.protocol, Name: key.name, Type: e.typ,
			Queries: e.queries, Responses: e.responses, Timeouts: e.timeouts,
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

// forget drops all names of a target.
func (t *table) forget(target uint32) {
	maps.DeleteFunc(t.entries, func(key entryKey, _ *entry) bool {
		if key.target == target && key.name == "" {
			t.folded--
		}
		return key.target == target
	})
}
