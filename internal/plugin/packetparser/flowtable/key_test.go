//go:build linux

package flowtable_test

import (
	"net/netip"
	"testing"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/packetparser"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packetparser/flowtable"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func TestWire(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::2")
	tests := []struct {
		role bpf.PacketparserRole
		want string
	}{
		{bpf.PacketparserRoleROLE_UNKNOWN, ""},
		{bpf.PacketparserRoleROLE_CLIENT, wire.RoleClient},
		{bpf.PacketparserRoleROLE_SERVER, wire.RoleServer},
	}
	for _, test := range tests {
		got := flowtable.Wire(flowtable.Key{
			Local: v4.As16(), Remote: v6.As16(), Target: 7, Port: 53, Protocol: 17, Role: uint8(test.role),
		})
		want := wire.FlowKey{Target: 7, Protocol: 17, Local: v4, Remote: v6, Port: 53, Role: test.want}
		if got != want {
			t.Errorf("role %d: %+v, want %+v", test.role, got, want)
		}
	}
}
