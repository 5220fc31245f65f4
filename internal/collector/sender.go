//go:build linux

package collector

import (
	"io"
	"sync"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// sender writes frames from several goroutines: packets from one, pongs from
// another.
type sender struct {
	mu sync.Mutex
	w  *wire.Writer
}

func newSender(w io.Writer) *sender { return &sender{w: wire.NewWriter(w)} }

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
