//go:build linux

package packetparser

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf/btf"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/packetparser"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packetparser/flowtable"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// The programs have numbers of their own for what wire defines.
func TestSizesAreThoseOfTheContract(t *testing.T) {
	if n := len(bpf.PacketparserSide{}.Flags); n != wire.NumFlags {
		t.Errorf("%d flags, wire has %d", n, wire.NumFlags)
	}
	if n := len(bpf.PacketparserHistogram{}.Buckets); n != wire.NumBuckets {
		t.Errorf("%d buckets, wire has %d", n, wire.NumBuckets)
	}
}

func TestHistogram(t *testing.T) {
	var h bpf.PacketparserHistogram
	if got := histogram(&h); got.Sum != 0 || got.Buckets != nil {
		t.Errorf("empty: %+v", got)
	}
	h.Sum, h.Buckets[1], h.Buckets[3] = 7, 1, 2
	got := histogram(&h)
	if got.Sum != 7 || !slices.Equal(got.Buckets, []uint64{0, 1, 0, 2}) {
		t.Errorf("%+v", got)
	}
	h.Buckets[1] = 9
	if got.Buckets[1] != 1 {
		t.Error("the sample shares memory with the table")
	}
	h.Buckets[wire.NumBuckets-1] = 1
	if got := histogram(&h); len(got.Buckets) != wire.NumBuckets {
		t.Errorf("%d buckets", len(got.Buckets))
	}
}

func TestFlowSample(t *testing.T) {
	f := bpf.PacketparserFlow{Opened: 1, Unanswered: 2, Refused: 3}
	f.In.Packets, f.In.Bytes, f.Out.Packets, f.Out.Bytes = 4, 5, 6, 7
	f.In.Flags[wire.FlagSYN], f.Out.Flags[wire.FlagRST] = 8, 9
	f.Connect.Count, f.Rtt.Last = 10, 11
	got := flowSample(flowtable.Key{Protocol: protocolTCP}, &f, true)
	if got.Opened != 1 || got.Unanswered != 2 || got.Refused != 3 || got.PacketsIn != 4 || got.BytesIn != 5 || got.PacketsOut != 6 ||
		got.BytesOut != 7 || got.FlagsIn[wire.FlagSYN] != 8 || got.FlagsOut[wire.FlagRST] != 9 ||
		got.Connect.Count != 10 || got.RTT.Last != 11 || !got.Ended {
		t.Errorf("%+v", got)
	}
	if got := flowSample(flowtable.Key{Protocol: 17}, &f, false); got.FlagsIn != nil || got.FlagsOut != nil || got.Ended {
		t.Errorf("UDP: %+v", got)
	}
}

func TestUnusualServers(t *testing.T) {
	socket := func(local, remote string) endpoints {
		return endpoints{local: netip.MustParseAddrPort(local), remote: netip.MustParseAddrPort(remote)}
	}
	listener := func(local string) endpoints {
		return endpoints{local: netip.MustParseAddrPort(local), remote: netip.MustParseAddrPort("0.0.0.0:0"), listening: true}
	}
	got := unusualServers([]endpoints{
		socket("192.0.2.1:40000", "192.0.2.2:80"),    // client of a low port
		socket("192.0.2.1:40001", "192.0.2.2:50051"), // of a high one
		socket("192.0.2.1:8080", "192.0.2.2:40000"),  // server
		socket("192.0.2.1:50052", "192.0.2.2:40000"), // on a high port
		socket("192.0.2.1:50052", "192.0.2.3:60000"), // whose client's is higher
		socket("192.0.2.1:5000", "192.0.2.2:5000"),   // client, nobody listens on 5000
		listener("0.0.0.0:8080"), listener("0.0.0.0:50052"),
		{}, // what could not be read
	})
	var names []string
	for _, server := range got {
		names = append(names, server.String())
	}
	if want := []string{"192.0.2.2:50051", "192.0.2.1:50052", "192.0.2.2:5000"}; !slices.Equal(names, want) {
		t.Errorf("%v, want %v", names, want)
	}
}

func TestFlowOfHandshake(t *testing.T) {
	client, server := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	k := bpf.PacketparserHandshakeKey{Client: client.As16(), Server: server.As16(), Target: 3, ClientPort: 40000, ServerPort: 443}
	for role, want := range map[bpf.PacketparserRole]wire.FlowKey{
		bpf.PacketparserRoleROLE_CLIENT: {Target: 3, Protocol: 6, Local: client, Remote: server, Port: 443, Role: wire.RoleClient},
		bpf.PacketparserRoleROLE_SERVER: {Target: 3, Protocol: 6, Local: server, Remote: client, Port: 443, Role: wire.RoleServer},
	} {
		h := bpf.PacketparserHandshake{Role: uint8(role)}
		if got := flowtable.Wire(flowOf(k, h)); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		e := timeoutEvent(k, h, 5)
		if e.Source.String() != "192.0.2.1:40000" || e.Destination.String() != "192.0.2.2:443" || e.TimeNS != 5 || e.Target != 3 ||
			e.Kind != wire.EventConnect || e.Reason != reasonTimeout || (e.Direction == wire.DirectionOut) != (want.Role == wire.RoleClient) {
			t.Errorf("event %+v", e)
		}
	}
}

func TestDescribe(t *testing.T) {
	reset := describeReset(map[uint32]string{2: "NO_SOCKET"})
	tests := []struct {
		f              func(*scope.RawEvent, *wire.Event)
		raw            scope.RawEvent
		reason, detail string
	}{
		{describeConnect, scope.RawEvent{Reason: uint32(bpf.PacketparserConnectReasonCONNECT_REFUSED)}, "refused", ""},
		{describeConnect, scope.RawEvent{Reason: uint32(bpf.PacketparserConnectReasonCONNECT_TIMEOUT)}, "timeout", timeoutDetail},
		{reset, scope.RawEvent{Reason: uint32(bpf.PacketparserResetReasonRESET_SENT), Detail: 2}, "sent", "NO_SOCKET"},
		{reset, scope.RawEvent{Reason: uint32(bpf.PacketparserResetReasonRESET_SENT), Detail: 99}, "sent", ""},
		{reset, scope.RawEvent{Reason: uint32(bpf.PacketparserResetReasonRESET_RECEIVED)}, "received", ""},
	}
	for _, test := range tests {
		var e wire.Event
		test.f(&test.raw, &e)
		if e.Reason != test.reason || e.Detail != test.detail {
			t.Errorf("%+v: %q, %q", test.raw, e.Reason, e.Detail)
		}
	}
}

func TestResetReasons(t *testing.T) {
	kernel := func(types ...btf.Type) *btf.Spec {
		builder, err := btf.NewBuilder(types, nil)
		if err != nil {
			t.Fatal(err)
		}
		spec, err := builder.Spec()
		if err != nil {
			t.Fatal(err)
		}
		return spec
	}
	if got := resetReasons(kernel(&btf.Int{Name: "int", Size: 4})); len(got) != 0 {
		t.Errorf("a kernel without names: %v", got)
	}
	got := resetReasons(kernel(&btf.Enum{Name: "sk_rst_reason", Size: 4, Values: []btf.EnumValue{
		{Name: "SK_RST_REASON_NOT_SPECIFIED", Value: 0}, {Name: "SK_RST_REASON_NO_SOCKET", Value: 1}, {Name: "OTHER", Value: 2},
	}}))
	if want := map[uint32]string{1: "NO_SOCKET"}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
