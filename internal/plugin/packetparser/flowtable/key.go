//go:build linux

package flowtable

import (
	"net/netip"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/packetparser"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Key is how programs name a flow (bpf/packetparser/flow.bpf.h).
type Key = bpf.PacketparserFlowKey

// Wire converts a key.
func Wire(k Key) wire.FlowKey {
	return wire.FlowKey{
		Target: k.Target, Protocol: k.Protocol, Port: k.Port, Role: role(bpf.PacketparserRole(k.Role)),
		Local: Addr(k.Local), Remote: Addr(k.Remote),
	}
}

func role(role bpf.PacketparserRole) string {
	switch role {
	case bpf.PacketparserRoleROLE_CLIENT:
		return wire.RoleClient
	case bpf.PacketparserRoleROLE_SERVER:
		return wire.RoleServer
	}
	return ""
}

// Addr converts an address, of which the programs have IPv4 as IPv4-mapped.
func Addr(a [16]uint8) netip.Addr { return netip.AddrFrom16(a).Unmap() }
