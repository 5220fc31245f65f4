//go:build linux

package packetparser

import (
	"strings"

	"github.com/cilium/ebpf/btf"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/packetparser"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Reasons of events.
const (
	reasonRefused  = "refused"
	reasonTimeout  = "timeout"
	reasonSent     = "sent"
	reasonReceived = "received"
)

// describeConnect says why a connection was not established.
func describeConnect(raw *scope.RawEvent, event *wire.Event) {
	switch bpf.PacketparserConnectReason(raw.Reason) {
	case bpf.PacketparserConnectReasonCONNECT_REFUSED:
		event.Reason = reasonRefused
	case bpf.PacketparserConnectReasonCONNECT_TIMEOUT:
		event.Reason, event.Detail = reasonTimeout, timeoutDetail
	}
}

// describeReset says which way a reset went and why, by the kernel's names.
func describeReset(names map[uint32]string) func(*scope.RawEvent, *wire.Event) {
	return func(raw *scope.RawEvent, event *wire.Event) {
		switch bpf.PacketparserResetReason(raw.Reason) {
		case bpf.PacketparserResetReasonRESET_SENT:
			event.Reason, event.Detail = reasonSent, names[raw.Detail]
		case bpf.PacketparserResetReasonRESET_RECEIVED:
			event.Reason = reasonReceived
		}
	}
}

// resetReasons are the running kernel's names for why it sends a reset, as in
// "NO_SOCKET". Before Linux 6.10 it has none.
func resetReasons(kernel *btf.Spec) map[uint32]string {
	names := map[uint32]string{}
	var reasons *btf.Enum
	if err := kernel.TypeByName("sk_rst_reason", &reasons); err != nil {
		return names
	}
	for _, v := range reasons.Values {
		name, ok := strings.CutPrefix(v.Name, "SK_RST_REASON_")
		if ok && name != "NOT_SPECIFIED" {
			names[uint32(v.Value)] = name
		}
	}
	return names
}
