package capture

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
)

// A Merger writes the packets of many sources to one output.
type Merger struct {
	opts   Options
	events chan event
	calls  chan func()   // what the goroutine of Run is asked to do
	over   chan struct{} // closed when Run returns
	pool   *sync.Pool    // of slabs
	window *window
	writer *writer

	streamsMu sync.Mutex // guards changes of streams, which Totals reads
	streams   []*stream
	streamCtx context.Context // of the reading goroutines

	// By source. These and what follows belong to the goroutine of Run.
	promises []int64 // no packet that is not younger will come
	youngest []int64 // timestamp
	endings  []*ending
	live     int
	held     int                       // Holds that are not released
	gone     map[uint32]*goneInterface // by interface ID
	notes    []note

	written uint64 // packets
	limit   Limit
	stopped bool // opts.Stop has been called
	discard bool // what comes now is beyond the limit

	// For Totals.
	packets, bytes, unwritten atomic.Uint64
	fileBytes                 atomic.Int64
}

// A note is said at the first packet after a time.
type note struct {
	afterNS int64
	text    string
}

// NewMerger returns a Merger of sources into out, which the caller keeps and closes.
func NewMerger(sources []Source, out *Output, opts Options) *Merger {
	opts = opts.withDefaults()
	m := &Merger{
		opts:   opts,
		events: make(chan event, max(len(sources), minEvents)),
		calls:  make(chan func()),
		over:   make(chan struct{}),
		pool:   new(sync.Pool),
		window: newWindow(),
		gone:   map[uint32]*goneInterface{},
	}
	var interfaces []Interface
	for _, source := range sources {
		s := m.newStream(source)
		for _, i := range source.Interfaces {
			s.take(i, uint32(len(interfaces)))
			interfaces = append(interfaces, i)
		}
	}
	m.writer = newWriter(out, interfaces, opts)
	return m
}

// minEvents is how many events may at least wait to be handled.
const minEvents = 8

// newStream makes room for one more source, of which no interface is known yet.
func (m *Merger) newStream(source Source) *stream {
	m.streamsMu.Lock()
	defer m.streamsMu.Unlock()
	s := &stream{Source: source, index: len(m.streams), pool: m.pool}
	m.streams = append(m.streams, s)
	m.promises = append(m.promises, math.MinInt64)
	m.youngest = append(m.youngest, 0)
	m.endings = append(m.endings, nil)
	m.window.runs = append(m.window.runs, nil)
	m.live++
	return s
}

// take gives an interface of a stream that does not run yet its ID in the file.
func (s *stream) take(i Interface, id uint32) {
	s.ids = append(s.ids, id)
	s.known = append(s.known, known{i, id})
}

// Run merges until every source has ended and none is awaited, and returns what
// became of each packet. It may be called once.
//
// The error is about the output (ErrReaderClosed when nobody reads it any more),
// or it is ctx's: then the sources that have not ended are given up, and the
// caller must see to it that their readers return. Sources that failed are in the
// Result. The Result is of use whatever the error, and what is in the file then
// is valid, unless nothing could be written at all.
func (m *Merger) Run(ctx context.Context) (Result, error) {
	defer close(m.over)
	startNS := cmp.Or(m.opts.startNS, time.Now().UnixNano())
	if err := m.writer.begin(); err != nil {
		m.stop()
		if !errors.Is(err, ErrReaderClosed) || m.writer.out.failed {
			return *m.result(), err
		}
	}
	var cancel context.CancelFunc
	m.streamCtx, cancel = context.WithCancel(ctx)
	defer cancel()
	for _, s := range m.streams {
		go s.run(m.streamCtx, m.events)
	}
	err := m.merge(ctx)
	m.window.release(math.MaxInt64, m.put)
	result := &Result{}
	writeErr := m.writer.finish(func() []byte {
		result = m.result()
		return m.writer.encoder.trailer(result, startNS, cmp.Or(m.opts.endNS, time.Now().UnixNano()))
	})
	if m.writer.err == nil && writeErr != nil && m.writer.out.failed {
		result.Complete = false
	}
	result.FileBytes = m.writer.size()
	m.publish()
	return *result, errors.Join(err, writeErr)
}

// merge handles events until all sources have ended and none is awaited, or ctx
// is done.
func (m *Merger) merge(ctx context.Context) error {
	ticker := time.NewTicker(min(m.opts.WindowTime/10+1, 100*time.Millisecond))
	defer ticker.Stop()
	for m.live > 0 || m.held > 0 {
		idle := false
		select {
		case call := <-m.calls:
			call()
		case e := <-m.events:
			m.handle(e)
			m.window.release(m.promise(), m.put)
			m.window.shrink(m.opts.WindowBytes, m.put)
			idle = len(m.events) == 0
		case now := <-ticker.C:
			m.window.release(m.window.overdue(now.Add(-m.opts.WindowTime)), m.put)
			idle = true
		case <-ctx.Done():
			for len(m.events) > 0 {
				m.handle(<-m.events)
			}
			return context.Cause(ctx)
		}
		if idle { // whoever follows the file live sees it now
			m.check(m.writer.flush())
			m.publish()
		}
	}
	return nil
}

func (m *Merger) handle(e event) {
	i := e.stream.index
	if e.promise != nil {
		m.promises[i] = *e.promise
	}
	if e.packets != nil {
		m.youngest[i] = max(m.youngest[i], e.packets.lastNS)
		m.window.add(i, e.packets)
	}
	if e.gone != nil {
		m.gone[e.gone.id] = e.gone
	}
	if e.join != nil {
		e.join.answer <- m.join(e.stream, e.join.Joined)
	}
	if e.ending != nil {
		m.endings[i] = e.ending
		m.promises[i] = math.MaxInt64
		m.live--
		err := e.stream.named(e.ending.cause())
		if err != nil {
			m.notes = append(m.notes, note{m.youngest[i], "packets are missing from here on: " + err.Error()})
		}
		m.opts.Ended(i, err)
	}
}

// promise is the time up to which all packets have arrived.
func (m *Merger) promise() int64 {
	t := int64(math.MaxInt64)
	for _, p := range m.promises {
		t = min(t, p)
	}
	return t
}

// put takes one packet out of the window.
func (m *Merger) put(p pcapng.Packet) {
	t := &m.writer.tallies[p.Interface()]
	if !m.discard && (!t.absent || m.writer.err != nil) {
		if len(m.notes) > 0 {
			m.note(p.TimeNS())
		}
		switch err := m.writer.add(p); {
		case err == nil:
			if m.written++; m.written == m.opts.MaxPackets {
				m.end(PacketLimit)
			}
			return
		case !errors.Is(err, errLimit):
			m.check(err)
			return
		}
		m.end(SizeLimit)
	}
	t.discarded++
}

// note has those notes said whose time has come.
func (m *Merger) note(timeNS int64) {
	m.notes = slices.DeleteFunc(m.notes, func(n note) bool {
		if timeNS > n.afterNS {
			m.writer.encoder.note(n.text)
			return true
		}
		return false
	})
}

// end ends the file at a limit.
func (m *Merger) end(limit Limit) {
	m.limit, m.discard = limit, true
	m.stop()
}

// check takes an error of the output, or none.
func (m *Merger) check(err error) {
	if err != nil {
		m.stop()
	}
}

func (m *Merger) stop() {
	if !m.stopped {
		m.stopped = true
		m.opts.Stop()
	}
}

// publish makes the counts known to Totals.
func (m *Merger) publish() {
	var sum tally
	for _, t := range m.writer.tallies {
		sum.packets += t.packets
		sum.capBytes += t.capBytes
		sum.unwritten += t.unwritten
	}
	if errors.Is(m.writer.err, ErrReaderClosed) {
		sum.unwritten = 0 // as in sourceResult
	}
	m.packets.Store(sum.packets)
	m.bytes.Store(sum.capBytes)
	m.unwritten.Store(sum.unwritten)
	m.fileBytes.Store(m.writer.size())
}

// Totals returns the counts of the moment. It may be called at any time from any
// goroutine.
func (m *Merger) Totals() Totals {
	t := Totals{Packets: m.packets.Load(), Bytes: m.bytes.Load(), FileBytes: m.fileBytes.Load(), Lost: m.unwritten.Load()}
	m.streamsMu.Lock()
	streams := m.streams
	m.streamsMu.Unlock()
	for _, s := range streams {
		t.Seen += s.seen.Load()
		t.Lost += s.lost.Load()
	}
	return t
}
