package metrics

// A table holds cumulative numbers of type V by key. What a collector says last
// replaces what it said before; a number that begins anew is added to what it was.
type table[K comparable, V any] struct {
	entries map[K]*entry[V]
	sum     func(a, b V) V // shares nothing with a and b that is changed
	// limit is the number of entries at most.
	limit int
	// rest returns the key under which an entry that has ended may be summed up with
	// others when there is no room. Nil: it may not.
	rest func(K) K
	// idle counts the entries that have ended and are not summed up yet.
	idle int
	// refused counts what found no room.
	refused uint64
}

type entry[V any] struct {
	base V // of the times that it has ended
	now  V // since
	live bool
	rest bool
}

func newTable[K comparable, V any](limit int, sum func(a, b V) V) table[K, V] {
	return table[K, V]{entries: make(map[K]*entry[V]), sum: sum, limit: limit}
}

// set replaces the numbers of k. With ended, they are final: the next ones begin
// at 0.
func (t *table[K, V]) set(k K, v V, ended bool) {
	e := t.entries[k]
	if e == nil {
		if len(t.entries) >= t.limit && !t.collapse() {
			t.refused++
			return
		}
		e = &entry[V]{live: true}
		t.entries[k] = e
	}
	if !e.live {
		e.live = true
		t.idle--
	}
	e.now = v
	if ended {
		t.end(e)
	}
}

func (t *table[K, V]) end(e *entry[V]) {
	var zero V
	e.base, e.now = t.sum(e.base, e.now), zero
	if e.live && !e.rest {
		e.live = false
		t.idle++
	}
}

// rebase ends all entries: the collector has begun anew.
func (t *table[K, V]) rebase() {
	for _, e := range t.entries {
		t.end(e)
	}
}

// collapse sums up entries that have ended, and reports whether there is room now.
func (t *table[K, V]) collapse() bool {
	if t.rest == nil || t.idle == 0 {
		return false
	}
	rests := make(map[K]V)
	for k, e := range t.entries {
		if !e.live {
			rests[t.rest(k)] = t.sum(rests[t.rest(k)], e.base)
			delete(t.entries, k)
		}
	}
	t.idle = 0
	for k, v := range rests {
		e := t.entries[k]
		if e == nil {
			e = &entry[V]{live: true, rest: true}
			t.entries[k] = e
		}
		e.base = t.sum(e.base, v)
	}
	return len(t.entries) < t.limit
}

// all calls f with every entry, in no order.
func (t *table[K, V]) all(f func(k K, v V)) {
	for k, e := range t.entries {
		f(k, t.sum(e.base, e.now))
	}
}

// forget removes the entries that f says.
func (t *table[K, V]) forget(f func(K) bool) {
	for k, e := range t.entries {
		if f(k) {
			if !e.live {
				t.idle--
			}
			delete(t.entries, k)
		}
	}
}
