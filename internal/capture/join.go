package capture

import (
	"errors"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
)

// Add adds a source to a merge that runs, and returns its place in the Result's
// Sources. It returns false, and does not read the source, when the merge has
// ended. Like Hold it may be called from any goroutine, but not from the functions
// that the Merger calls; it waits for Run to begin.
func (m *Merger) Add(source Source) (index int, ok bool) {
	ok = m.do(func() {
		s := m.newStream(source)
		index = s.index
		for n, id := range m.place(source.Interfaces) {
			s.take(source.Interfaces[n], id)
		}
		m.writer.name(source.Names)
		go s.run(m.streamCtx, m.events)
	})
	return index, ok
}

// Name puts names of addresses into the file, for the packets that follow. Like Add it
// may be called from any goroutine while Run runs, and later does nothing.
func (m *Merger) Name(names []pcapng.Name) {
	m.do(func() { m.writer.name(names) })
}

// Hold keeps Run from returning because all sources have ended, for as long as
// another may come: until release is called. It returns false when the merge
// has ended. release may be called at any time, once.
func (m *Merger) Hold() (release func(), ok bool) {
	ok = m.do(func() { m.held++ })
	return func() { m.do(func() { m.held-- }) }, ok
}

// do has the goroutine of Run call f, and waits for that; false: it has ended.
func (m *Merger) do(f func()) bool {
	done := make(chan struct{})
	select {
	case m.calls <- func() { f(); close(done) }:
		<-done
		return true
	case <-m.over:
		return false
	}
}

// join makes interfaces of a stream that runs part of the file.
func (m *Merger) join(s *stream, j Joined) []uint32 {
	ids := m.place(j.Interfaces)
	for n, i := range j.Interfaces {
		s.known = append(s.known, known{i, ids[n]})
	}
	m.writer.name(j.Names)
	return ids
}

// place gives interfaces their IDs in the file, and writes what introduces them.
func (m *Merger) place(interfaces []Interface) []uint32 {
	ids := make([]uint32, len(interfaces))
	for n, i := range interfaces {
		ids[n] = uint32(len(m.writer.tallies))
		switch err := m.writer.join(i); {
		case errors.Is(err, errLimit) && !m.discard:
			m.end(SizeLimit)
		case !errors.Is(err, errLimit):
			m.check(err)
		}
	}
	return ids
}
