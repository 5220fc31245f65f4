//go:build linux

package collector

import (
	"io"
	"sync"
	"sync/atomic"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// sender writes frames from several goroutines: packets from one, pongs from
// another.
type sender struct {
	mu      sync.Mutex
	w       *wire.Writer
	writing atomic.Bool
}

func newSender(w io.Writer) *sender {
	s := &sender{}
	s.w = wire.NewWriter(&noted{w: w, writing: &s.writing})
	return s
}

// stuck reports whether a write is under way, which for a stream that is not
// stuck is hardly ever.
func (s *sender) stuck() bool { return s.writing.Load() }

// noted notes while a write is under way.
type noted struct {
	w       io.Writer
	writing *atomic.Bool
}

func (n *noted) Write(b []byte) (int, error) {
	n.writing.Store(true)
	defer n.writing.Store(false)
	return n.w.Write(b)
}

func (s *sender) frame(kind wire.Kind, payload []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.WriteFrame(kind, payload)
}

func (s *sender) json(kind wire.Kind, message any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.WriteJSON(kind, message)
}

func (s *sender) end(end wire.End) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.WriteEnd(end)
}
