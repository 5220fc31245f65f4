package session

import (
	"slices"
	"sync"
	"time"
)

// A Clock is what is known of a node's wall clock.
type Clock struct {
	// Offset is the node's clock minus the command's.
	Offset time.Duration
	// Uncertainty is how far Offset may be off, either way: half of the round
	// trip that it was measured with.
	Uncertainty time.Duration
}

// ClockReference returns the clock that others are corrected to: the lower median
// of the offsets, which one wrong clock, the command's own included, cannot move.
// There must be one at least.
func ClockReference(clocks []Clock) Clock {
	sorted := slices.Clone(clocks)
	slices.SortStableFunc(sorted, func(a, b Clock) int {
		switch {
		case a.Offset < b.Offset:
			return -1
		case a.Offset > b.Offset:
			return 1
		}
		return 0
	})
	return sorted[(len(sorted)-1)/2]
}

// ClockCorrections returns for each clock what must be added to its node's
// timestamps so that all of them agree.
func ClockCorrections(clocks []Clock) []time.Duration {
	corrections := make([]time.Duration, len(clocks))
	for i, c := range clocks {
		corrections[i] = c.Correction(ClockReference(clocks))
	}
	return corrections
}

// Correction returns what must be added to a node's timestamps so that they agree
// with those of reference.
//
// A clock that may agree with it, as far as the uncertainties tell, gets no
// correction: nodes usually follow NTP to within a millisecond, which is better
// than a measurement through an API server, and correcting by noise would put
// packets out of order that were in order. So clocks are corrected only when they
// are certainly wrong, and the reference itself never is.
func (c Clock) Correction(reference Clock) time.Duration {
	if wrong := c.Offset - reference.Offset; wrong.Abs() > c.Uncertainty+reference.Uncertainty {
		return -wrong
	}
	return 0
}

// quickPings are sent one after the other when a stream opens, so that the
// clock is known well before the first packet.
const quickPings = 4

// A clockEstimate turns pings and pongs into a Clock. It may be used
// concurrently.
type clockEstimate struct {
	measured chan struct{} // closed at the first pong

	mu    sync.Mutex
	sent  map[uint64]time.Time // pings not yet answered, by sequence number
	seq   uint64
	pongs int
	best  Clock
}

func newClockEstimate() *clockEstimate {
	return &clockEstimate{measured: make(chan struct{}), sent: make(map[uint64]time.Time)}
}

// ping notes a ping sent at now and returns its sequence number.
func (c *clockEstimate) ping(now time.Time) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	c.sent[c.seq] = now
	return c.seq
}

// pong notes the answer to the ping seq, received at now, and returns how many
// answers there have been. An answer to no ping is ignored.
func (c *clockEstimate) pong(seq uint64, nodeNS int64, now time.Time) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	sent, ok := c.sent[seq]
	if !ok {
		return c.pongs
	}
	delete(c.sent, seq)
	trip := now.Sub(sent)
	if c.pongs == 0 || trip/2 < c.best.Uncertainty {
		c.best = Clock{Offset: time.Duration(nodeNS - sent.Add(trip/2).UnixNano()), Uncertainty: trip / 2}
	}
	c.pongs++
	if c.pongs == 1 {
		close(c.measured)
	}
	return c.pongs
}

// clock returns the best estimate so far: the one with the shortest round
// trip. It says nothing before measured is closed.
func (c *clockEstimate) clock() Clock {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.best
}
