//go:build linux

package dns

import (
	"net/netip"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// timeoutNS is how long a query waits for its response: as long as resolvers
// do (resolv.conf(5), timeout).
const timeoutNS = uint64(5 * time.Second)

// way is who exchanges messages: a connection, seen from a target.
type way struct {
	target         uint32
	protocol       uint8
	role           string // of the target
	client, server netip.AddrPort
}

// exchangeKey is what responses have in common with their queries.
type exchangeKey struct {
	way
	id uint16
}

// waiting is a query without a response so far. All of them are in a list by the
// time that they were sent.
type waiting struct {
	key         exchangeKey
	name        string
	typ         uint16
	sent        uint64 // monotonic ns
	in          *entry
	older, next *waiting
}

// exchanges pairs responses with queries and counts both in a table.
//
// Each query waits for itself, whether it is the first or one that the resolver
// repeats. A response answers all that wait for it: of two alike it cannot be said
// which one. Its latency is from the first of them, which is how long the asker has
// waited. A query that has waited too long is a timeout; a response that comes
// after that still counts, without a latency.
type exchanges struct {
	table
	limit         int // of queries that wait
	count         int
	open          map[exchangeKey][]*waiting
	oldest, young *waiting
	notWaited     uint64 // queries that there was no room to wait for
	ignored       ignored
	now           uint64 // monotonic ns, as of the last expire
	fail          func(w *waiting, reason string, at uint64)
}

// newExchanges makes an empty table. fail is called for each query of a client that
// was answered by an error, or not at all.
func newExchanges(entries uint32, fail func(w *waiting, reason string, at uint64)) *exchanges {
	return &exchanges{
		table: newTable(int(entries)), limit: int(entries), open: make(map[exchangeKey][]*waiting),
		ignored: make(ignored), fail: fail,
	}
}

// take counts one message.
func (x *exchanges) take(w way, m message, at uint64) {
	if m.opcode != opcodeQuery {
		return // a notification or an update: nobody asks
	}
	key := exchangeKey{w, m.id}
	if m.response {
		x.answer(key, m, at)
		return
	}
	e := x.entry(w, m.name, m.typ)
	e.ask(at)
	if x.count >= x.limit {
		x.notWaited++
		return
	}
	q := &waiting{key: key, name: m.name, typ: m.typ, sent: at, in: e}
	x.open[key] = append(x.open[key], q)
	x.append(q)
}

// answer counts a response.
func (x *exchanges) answer(key exchangeKey, m message, at uint64) {
	var first *waiting
	var rest []*waiting
	for _, q := range x.open[key] {
		if m.question && (q.name != m.name || q.typ != m.typ) {
			rest = append(rest, q)
			continue
		}
		if first == nil {
			first = q
		}
		x.remove(q)
	}
	x.setOpen(key, rest)
	var e *entry
	switch {
	case first != nil:
		e = first.in
		e.observe(at, first.sent)
	case m.question:
		e = x.entry(key.way, m.name, m.typ)
	default:
		x.ignored.add(key.target, unmatched)
		return
	}
	e.respond(m.code, at)
	if m.code != 0 && key.role == wire.RoleClient {
		if first == nil {
			first = &waiting{key: key, name: m.name, typ: m.typ}
		}
		x.fail(first, codeName(m.code), at)
	}
}

// expire ends the waiting of queries that were sent too long before now.
func (x *exchanges) expire(now uint64) {
	x.now = max(x.now, now)
	for q := x.oldest; q != nil && now > q.sent && now-q.sent > timeoutNS; q = x.oldest {
		x.drop(q)
		q.in.expire(now)
		if q.key.role == wire.RoleClient {
			x.fail(q, "timeout", now)
		}
	}
}

// forget drops the queries of a target that wait.
func (x *exchanges) forget(target uint32) {
	for q := x.oldest; q != nil; {
		next := q.next
		if q.key.target == target {
			x.drop(q)
		}
		q = next
	}
}

// drop takes a query out of the list and of open.
func (x *exchanges) drop(q *waiting) {
	x.remove(q)
	var rest []*waiting
	for _, other := range x.open[q.key] {
		if other != q {
			rest = append(rest, other)
		}
	}
	x.setOpen(q.key, rest)
}

func (x *exchanges) setOpen(key exchangeKey, queries []*waiting) {
	if len(queries) == 0 {
		delete(x.open, key)
		return
	}
	x.open[key] = queries
}

// append and remove keep the list of all that wait.
func (x *exchanges) append(q *waiting) {
	q.older = x.young
	if x.young != nil {
		x.young.next = q
	} else {
		x.oldest = q
	}
	x.young = q
	x.count++
}

func (x *exchanges) remove(q *waiting) {
	if q.older != nil {
		q.older.next = q.next
	} else {
		x.oldest = q.next
	}
	if q.next != nil {
		q.next.older = q.older
	} else {
		x.young = q.older
	}
	q.older, q.next = nil, nil
	x.count--
}
