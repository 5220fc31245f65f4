//go:build linux

package packetparser

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/packetparser"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packetparser/flowtable"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const (
	// unansweredNS is how long a SYN may wait for its SYN-ACK, as in handshake.bpf.h.
	unansweredNS  = 3_000_000_000
	timeoutDetail = "no SYN-ACK in 3 s"
)

// sweep finds the handshakes that have got no answer in time: no packet comes that
// would make a program notice.
func (p *Plugin) sweep() error {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return fmt.Errorf("read the clock: %w", err)
	}
	now := uint64(ts.Nano())
	late := map[bpf.PacketparserHandshakeKey]bpf.PacketparserHandshake{}
	const room = 256
	err := flowtable.Each(p.maps.Pending, make([]bpf.PacketparserHandshakeKey, room), make([]bpf.PacketparserHandshake, room),
		func(k bpf.PacketparserHandshakeKey, h bpf.PacketparserHandshake) {
			if now >= h.SynNs+unansweredNS {
				late[k] = h
			}
		})
	for k, h := range late {
		err = errors.Join(err, p.giveUp(k, h))
	}
	if err != nil {
		return fmt.Errorf("handshakes: %w", err)
	}
	return nil
}

// giveUp counts a handshake as unanswered, unless a program has seen the answer at
// the last moment: who deletes the entry counts it.
func (p *Plugin) giveUp(k bpf.PacketparserHandshakeKey, h bpf.PacketparserHandshake) error {
	// First, so that the SYN's next copy does not begin another one.
	h.Unanswered = 1
	if err := p.maps.Settled.Put(&k, &h); err != nil {
		return err
	}
	if err := p.maps.Pending.Delete(&k); err != nil {
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		return err
	}
	p.unanswered[flowOf(k, h)]++
	p.scope.Emit(timeoutEvent(k, h, p.scope.WallNS(h.SynNs+unansweredNS)))
	return nil
}

// flowOf is the flow that a handshake opens.
func flowOf(k bpf.PacketparserHandshakeKey, h bpf.PacketparserHandshake) flowtable.Key {
	f := flowtable.Key{Target: k.Target, Port: k.ServerPort, Protocol: protocolTCP, Role: h.Role}
	f.Local, f.Remote = k.Server, k.Client
	if bpf.PacketparserRole(h.Role) == bpf.PacketparserRoleROLE_CLIENT {
		f.Local, f.Remote = k.Client, k.Server
	}
	return f
}

func timeoutEvent(k bpf.PacketparserHandshakeKey, h bpf.PacketparserHandshake, at int64) wire.Event {
	direction := wire.DirectionIn
	if bpf.PacketparserRole(h.Role) == bpf.PacketparserRoleROLE_CLIENT {
		direction = wire.DirectionOut
	}
	return wire.Event{
		TimeNS: at, Kind: wire.EventConnect, Target: k.Target, Protocol: protocolTCP,
		Source:      netip.AddrPortFrom(flowtable.Addr(k.Client), k.ClientPort),
		Destination: netip.AddrPortFrom(flowtable.Addr(k.Server), k.ServerPort),
		Direction:   direction, Reason: reasonTimeout, Detail: timeoutDetail,
	}
}
