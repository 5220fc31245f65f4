package capture

import (
	"math"
	"slices"
	"sync"
)

// noTime is before every packet, and maxTime behind.
const (
	noTime  = int64(math.MinInt64)
	maxTime = int64(math.MaxInt64)
)

// A pacer keeps sources that could be read at any speed side by side in time: only
// the one that is furthest behind may go on. So what waits in the window for the
// others is little, however long the captures are.
type pacer struct {
	mu    sync.Mutex
	at    []int64         // by source; guarded by mu
	wake  []chan struct{} // by source
	freed chan struct{}   // closed by free
	once  sync.Once
}

func newPacer(sources int) *pacer {
	p := &pacer{at: slices.Repeat([]int64{noTime}, sources), freed: make(chan struct{})}
	for range sources {
		p.wake = append(p.wake, make(chan struct{}, 1))
	}
	return p
}

// wait returns when no other source is behind this one, or nobody need wait any
// more.
func (p *pacer) wait(source int) {
	for {
		p.mu.Lock()
		mine := p.at[source] <= slices.Min(p.at)
		p.mu.Unlock()
		if mine {
			return
		}
		select {
		case <-p.wake[source]:
		case <-p.freed:
			return
		}
	}
}

// pass says how far a source is: maxTime when it has ended.
func (p *pacer) pass(source int, ns int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at[source] = max(p.at[source], ns)
	least := slices.Min(p.at)
	for i, ns := range p.at {
		if ns == least {
			select {
			case p.wake[i] <- struct{}{}:
			default: // is awake already
			}
		}
	}
}

// free ends all waiting.
func (p *pacer) free() { p.once.Do(func() { close(p.freed) }) }
