//go:build linux

package packets

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/packets"
)

// A capture of a node would see its own stream leave, stream that, and so on
// without end. Which connections carry the stream depends on the cluster: the
// kubelet's to the API server always, on a control plane also the API server's
// to the user. So they are not guessed but found: the collector sends a burst
// of known size and looks which of the node's sockets moved as many bytes.

// Flow is one TCP connection by its ends; Local is the node's.
type Flow struct {
	Local, Remote netip.AddrPort
}

func (f Flow) key() bpf.PacketsFlow {
	key := bpf.PacketsFlow{Local: f.Local.Addr().As16(), Remote: f.Remote.Addr().As16()}
	key.LocalPort, key.RemotePort = networkOrder(f.Local.Port()), networkOrder(f.Remote.Port())
	return key
}

func networkOrder(port uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], port)
	return binary.NativeEndian.Uint16(b[:])
}

// Moved is how many bytes a connection has carried since it was opened.
type Moved struct{ Sent, Received uint64 }

// Sockets returns the established TCP connections of the caller's network
// namespace with the bytes that they have moved (sock_diag(7), tcp_info).
func Sockets() (map[Flow]Moved, error) {
	moved := map[Flow]Moved{}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		sockets, err := netlink.SocketDiagTCPInfo(family)
		if err != nil {
			return nil, fmt.Errorf("list TCP connections: %w", err)
		}
		for _, s := range sockets {
			if s.TCPInfo == nil || s.InetDiagMsg.State != tcpEstablished {
				continue
			}
			local, ok1 := netip.AddrFromSlice(s.InetDiagMsg.ID.Source)
			remote, ok2 := netip.AddrFromSlice(s.InetDiagMsg.ID.Destination)
			if !ok1 || !ok2 {
				continue
			}
			flow := Flow{
				Local:  netip.AddrPortFrom(local.Unmap(), s.InetDiagMsg.ID.SourcePort),
				Remote: netip.AddrPortFrom(remote.Unmap(), s.InetDiagMsg.ID.DestinationPort),
			}
			// bytes_acked counts retransmitted bytes once; kernels that lack
			// bytes_sent (before 4.19) have it too.
			moved[flow] = Moved{Sent: s.TCPInfo.Bytes_acked, Received: s.TCPInfo.Bytes_received}
		}
	}
	return moved, nil
}

const tcpEstablished = 1 // TCP_ESTABLISHED in include/net/tcp_states.h

// Carriers returns the connections that moved about burst bytes between two
// calls of Sockets: at least as many, and no more than TLS, WebSocket and
// multiplexing add to them.
func Carriers(before, after map[Flow]Moved, burst uint64) []Flow {
	most := burst + burst/16 + 8<<10
	var flows []Flow
	for flow, now := range after {
		sent, received := now.Sent-before[flow].Sent, now.Received-before[flow].Received
		if sent >= burst && sent <= most || received >= burst && received <= most {
			flows = append(flows, flow)
		}
	}
	return flows
}
