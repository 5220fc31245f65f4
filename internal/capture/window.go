package capture

import (
	"math"
	"slices"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
)

// A window holds the packets that wait for their turn. Packets are released in
// the order of time; how far is its user's decision. Not safe for concurrent use.
type window struct {
	heap    []*run   // by timeNS, the least first
	runs    [][]*run // those in heap, by source
	arrived []*chunk // in order of arrival; the first is not empty
	bytes   int64    // of the packets in it
}

// A run is chunks of one source of which none begins before its predecessor
// ends. A source whose frames overlap a little has two or three of them.
type run struct {
	source      int
	timeNS      int64 // of the first packet
	lastNS      int64 // of the last packet
	first, last *chunk
}

func newWindow() *window { return &window{} }

// add puts a source's next chunk into the window.
func (w *window) add(source int, c *chunk) {
	for _, r := range c.refs {
		w.bytes += int64(r.length)
	}
	w.arrived = append(w.arrived, c)
	var best *run
	for _, r := range w.runs[source] {
		if r.lastNS <= c.refs[0].timeNS && (best == nil || r.lastNS > best.lastNS) {
			best = r
		}
	}
	if best != nil {
		best.last.next = c
		best.last, best.lastNS = c, c.lastNS
		return
	}
	r := &run{source: source, timeNS: c.refs[0].timeNS, lastNS: c.lastNS, first: c, last: c}
	w.runs[source] = append(w.runs[source], r)
	w.heap = append(w.heap, r)
	w.up(len(w.heap) - 1)
}

// release hands the packets that are not younger than limit to emit.
func (w *window) release(limit int64, emit func(pcapng.Packet)) {
	for len(w.heap) > 0 && w.heap[0].timeNS <= limit {
		w.releaseRun(min(limit, w.second()), emit)
	}
}

// shrink hands the oldest packets to emit until at most limit bytes are left.
func (w *window) shrink(limit int64, emit func(pcapng.Packet)) {
	for w.bytes > limit && len(w.heap) > 0 {
		w.releaseRun(w.heap[0].timeNS, emit)
	}
}

// overdue returns the time of the youngest packet that arrived before t, or the
// least time when there is none.
func (w *window) overdue(t time.Time) int64 {
	lastNS := int64(math.MinInt64)
	done := 0
	for i, c := range w.arrived {
		if len(c.refs) == 0 {
			if i == done {
				done++
			}
			continue
		}
		if !c.arrived.Before(t) {
			break
		}
		lastNS = max(lastNS, c.lastNS)
	}
	w.arrived = slices.Delete(w.arrived, 0, done)
	return lastNS
}

// second returns the first time in all runs but the first.
func (w *window) second() int64 {
	t := int64(math.MaxInt64)
	for _, r := range w.heap[1:min(3, len(w.heap))] {
		t = min(t, r.timeNS)
	}
	return t
}

// releaseRun hands the packets of the first run up to limit to emit.
func (w *window) releaseRun(limit int64, emit func(pcapng.Packet)) {
	r := w.heap[0]
	for r.first != nil {
		c := r.first
		for len(c.refs) > 0 && c.refs[0].timeNS <= limit {
			p := c.packet()
			c.refs = c.refs[1:]
			w.bytes -= int64(len(p))
			emit(p)
		}
		if len(c.refs) > 0 {
			r.timeNS = c.refs[0].timeNS
			w.down()
			return
		}
		r.first = c.next
		c.slab.release()
		c.slab, c.blocks, c.next = nil, nil, nil
	}
	w.removeFirst()
}

func (w *window) removeFirst() {
	r, last := w.heap[0], len(w.heap)-1
	w.heap[0] = w.heap[last]
	w.heap[last] = nil
	w.heap = w.heap[:last]
	w.down()
	runs := w.runs[r.source]
	i := slices.Index(runs, r)
	w.runs[r.source] = slices.Delete(runs, i, i+1)
}

// up and down are those of a binary heap; container/heap would call through an
// interface for every packet.
func (w *window) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if w.heap[parent].timeNS <= w.heap[i].timeNS {
			return
		}
		w.heap[parent], w.heap[i] = w.heap[i], w.heap[parent]
		i = parent
	}
}

func (w *window) down() {
	for i := 0; ; {
		child := 2*i + 1
		if child >= len(w.heap) {
			return
		}
		if child+1 < len(w.heap) && w.heap[child+1].timeNS < w.heap[child].timeNS {
			child++
		}
		if w.heap[i].timeNS <= w.heap[child].timeNS {
			return
		}
		w.heap[i], w.heap[child] = w.heap[child], w.heap[i]
		i = child
	}
}
