//go:build linux

package packetparser

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/packetparser"
	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
)

// endpoints are the ends of a TCP socket.
type endpoints struct {
	local, remote netip.AddrPort
	listening     bool
}

const stateListen = 10 // TCP_LISTEN

// learnServers tells the programs about the connections that a target has
// already: they have missed the handshakes. Without it the rule of the lower port
// holds, so a kernel that does not list sockets is no error.
func (p *Plugin) learnServers(target uint32, ns *hostns.Netns) error {
	var sockets []endpoints
	err := ns.Do(func() error {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			found, err := netlink.SocketDiagTCP(family)
			if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
				return nil
			}
			for _, s := range found {
				sockets = append(sockets, endpointsOf(s))
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("enter the netns of target %d: %w", target, err)
	}
	for _, server := range unusualServers(sockets) {
		key := bpf.PacketparserServerPort{Address: server.Addr().As16(), Target: target, Port: server.Port()}
		err := p.maps.Ports.Put(uint32(server.Port()), uint32(1))
		if err == nil {
			err = p.maps.Servers.Put(&key, uint8(1))
		}
		if err != nil {
			return fmt.Errorf("note a server of target %d: %w", target, err)
		}
	}
	return nil
}

func endpointsOf(s *netlink.Socket) endpoints {
	local, _ := netip.AddrFromSlice(s.ID.Source)
	remote, _ := netip.AddrFromSlice(s.ID.Destination)
	return endpoints{
		local:     netip.AddrPortFrom(local.Unmap(), s.ID.SourcePort),
		remote:    netip.AddrPortFrom(remote.Unmap(), s.ID.DestinationPort),
		listening: s.State == stateListen,
	}
}

// unusualServers returns the servers of connections whose port is not the lower
// one. A connection to a port that somebody listens on was accepted, any other was
// opened from here.
func unusualServers(sockets []endpoints) []netip.AddrPort {
	listening := map[uint16]bool{}
	for _, s := range sockets {
		if s.listening {
			listening[s.local.Port()] = true
		}
	}
	var servers []netip.AddrPort
	for _, s := range sockets {
		if s.listening || !s.local.Addr().IsValid() || !s.remote.Addr().IsValid() {
			continue
		}
		server, client := s.remote, s.local
		if listening[s.local.Port()] {
			server, client = s.local, s.remote
		}
		if server.Port() >= client.Port() {
			servers = append(servers, server)
		}
	}
	return servers
}
