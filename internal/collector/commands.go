//go:build linux

package collector

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// commands is what the command says, sorted into channels. Each of spec, start
// and stop carries at most one value; ended is closed when nothing more comes.
type commands struct {
	spec    chan wire.Spec
	start   chan struct{}
	stop    chan struct{}
	targets chan wire.Targets
	// addresses are changes of a filter's; nobody else knows the order of two.
	addresses chan wire.Addresses
	heard     chan struct{} // something was said
	pings     chan wire.Ping
	ended     chan struct{}
	err       error // why it ended; valid once ended is closed
}

// maxTargetChanges is how many changes of the targets may wait to be made.
const maxTargetChanges = 1024

// maxAddressChanges is how many frames with addresses may wait. They are taken
// at once.
const maxAddressChanges = 32

// listen reads frames from stdin until it ends, and answers pings through s.
// Nothing that happens to s keeps it from listening: while the stream is stuck,
// because the reader at its other end is slow, the command is still there.
func listen(stdin io.Reader, s *sender) *commands {
	c := &commands{
		spec: make(chan wire.Spec, 1), start: make(chan struct{}, 1), stop: make(chan struct{}, 1),
		targets: make(chan wire.Targets, maxTargetChanges), addresses: make(chan wire.Addresses, maxAddressChanges),
		heard: make(chan struct{}, 1), pings: make(chan wire.Ping, 1), ended: make(chan struct{}),
	}
	go func() {
		for ping := range c.pings {
			// A stream that fails is noticed by whoever sends packets.
			_ = s.json(wire.KindPong, wire.Pong{Seq: ping.Seq, TimeNS: time.Now().UnixNano()})
		}
	}()
	go func() {
		defer close(c.ended)
		defer close(c.pings)
		c.err = c.read(wire.NewReader(bufio.NewReader(stdin)))
	}()
	return c
}

// gone is why nothing more comes; ended is closed.
func (c *commands) gone() error { return fmt.Errorf("%w: %w", errUnheard, c.err) }

func (c *commands) read(r *wire.Reader) error {
	buf := make([]byte, 4096)
	for {
		kind, payload, err := r.ReadFrame(buf)
		if err != nil {
			return err
		}
		offer(c.heard, struct{}{})
		switch kind {
		case wire.KindSpec:
			spec, err := wire.ParseSpec(payload)
			if err != nil {
				return err
			}
			offer(c.spec, spec)
		case wire.KindGo:
			offer(c.start, struct{}{})
		case wire.KindStop:
			offer(c.stop, struct{}{})
		case wire.KindTargets:
			var targets wire.Targets
			if err := json.Unmarshal(payload, &targets); err != nil {
				return fmt.Errorf("read targets: %w", err)
			}
			if err := targets.Validate(); err != nil {
				return err
			}
			select {
			case c.targets <- targets:
			default:
				return fmt.Errorf("more than %d changes of the targets wait", maxTargetChanges)
			}
		case wire.KindAddresses:
			if err := c.hearAddresses(payload); err != nil {
				return err
			}
		case wire.KindPing:
			var ping wire.Ping
			if err := json.Unmarshal(payload, &ping); err != nil {
				return fmt.Errorf("read ping: %w", err)
			}
			offer(c.pings, ping)
		default:
			return fmt.Errorf("frame of kind %d is not for a collector", kind)
		}
	}
}

func (c *commands) hearAddresses(payload []byte) error {
	changes, err := parseAddresses(payload)
	if err != nil {
		return err
	}
	select {
	case c.addresses <- changes:
		return nil
	default:
		return fmt.Errorf("more than %d changes of addresses wait", maxAddressChanges)
	}
}

func parseAddresses(payload []byte) (wire.Addresses, error) {
	var changes wire.Addresses
	if err := json.Unmarshal(payload, &changes); err != nil {
		return changes, fmt.Errorf("read addresses: %w", err)
	}
	return changes, changes.Validate()
}

// offer sends without waiting; a second value of the same kind is no news.
func offer[T any](c chan T, v T) {
	select {
	case c <- v:
	default:
	}
}
