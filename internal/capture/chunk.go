package capture

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
)

// Bounds of a slab's size. Between them it holds four of the longest frames that
// its source has sent, and above them one.
const (
	minSlabBytes = 64 << 10
	maxSlabBytes = 1 << 20
)

// A slab is memory that the frames of one source are read into, one after
// another, so that many small frames that wait for a slow node cost what they
// hold. It goes back to its pool when neither the reader nor a chunk uses it.
type slab struct {
	pool  *sync.Pool
	buf   []byte
	used  int
	refs  []ref
	users atomic.Int32
}

func newSlab(pool *sync.Pool, largestFrame int) *slab {
	s, _ := pool.Get().(*slab)
	if size := max(minSlabBytes, min(4*largestFrame, maxSlabBytes), largestFrame); s == nil || len(s.buf) < size {
		s = &slab{pool: pool, buf: make([]byte, size)}
	}
	s.used, s.refs = 0, s.refs[:0]
	s.users.Store(1)
	return s
}

func (s *slab) release() {
	if s.users.Add(-1) == 0 {
		s.pool.Put(s)
	}
}

// A ref finds one packet in its chunk without a look at the packet.
type ref struct {
	timeNS         int64
	offset, length uint32
}

// A chunk is the packets of one frame in the order of time, with the file's
// interface IDs and corrected timestamps.
type chunk struct {
	slab    *slab
	blocks  []byte
	refs    []ref // those not released yet
	next    *chunk
	arrived time.Time
	lastNS  int64 // of the youngest packet
}

// packet returns the oldest packet that is not released yet.
func (c *chunk) packet() pcapng.Packet {
	r := c.refs[0]
	return pcapng.Packet(c.blocks[r.offset : r.offset+r.length])
}

// newChunk checks the blocks of a frame, which lie in s, and corrects them in
// place; ids are the file's interface IDs. It returns nil when there are none.
// Packets before a block that is damaged are kept beside the error.
func newChunk(s *slab, blocks []byte, ids []uint32, offsetNS int64) (*chunk, error) {
	first, sorted := len(s.refs), true
	lastNS := int64(math.MinInt64)
	var err error
	for rest := blocks; len(rest) > 0; {
		var p pcapng.Packet
		offset := len(blocks) - len(rest)
		if p, rest, err = pcapng.NextPacket(rest); err != nil {
			break
		}
		id := p.Interface()
		if uint64(id) >= uint64(len(ids)) {
			err = fmt.Errorf("packet on interface %d of %d", id, len(ids))
			break
		}
		p.SetInterface(ids[id])
		p.SetTimeNS(saturatingAdd(p.TimeNS(), offsetNS))
		timeNS := p.TimeNS()
		s.refs = append(s.refs, ref{timeNS: timeNS, offset: uint32(offset), length: uint32(len(p))})
		sorted = sorted && timeNS >= lastNS
		lastNS = max(lastNS, timeNS)
	}
	refs := s.refs[first:]
	if len(refs) == 0 {
		return nil, err
	}
	if !sorted {
		slices.SortStableFunc(refs, func(a, b ref) int { return cmp.Compare(a.timeNS, b.timeNS) })
	}
	s.users.Add(1)
	return &chunk{slab: s, blocks: blocks, refs: refs, lastNS: lastNS}, err
}

// saturatingAdd adds an offset to a time that comes from a node.
func saturatingAdd(a, b int64) int64 {
	sum := a + b
	switch {
	case a > 0 && b > 0 && sum < 0:
		return math.MaxInt64
	case a < 0 && b < 0 && sum >= 0:
		return math.MinInt64
	}
	return sum
}
