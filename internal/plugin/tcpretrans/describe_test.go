//go:build linux

package tcpretrans

import (
	"testing"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/tcpretrans"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func TestDescribe(t *testing.T) {
	tests := []struct {
		what           bpf.TcpretransRetransmitted
		segments       uint32
		reason, detail string
	}{
		{bpf.TcpretransRetransmittedRETRANSMITTED_DATA, 1, "data", ""},
		{bpf.TcpretransRetransmittedRETRANSMITTED_DATA, 45, "data", "45 segments"},
		{bpf.TcpretransRetransmittedRETRANSMITTED_SYN, 1, "SYN", ""},
		{bpf.TcpretransRetransmittedRETRANSMITTED_SYNACK, 1, "SYN-ACK", ""},
	}
	for _, test := range tests {
		var e wire.Event
		describe(&scope.RawEvent{Reason: uint32(test.what), Detail: test.segments}, &e)
		if e.Reason != test.reason || e.Detail != test.detail {
			t.Errorf("%d, %d segments: %q, %q", test.what, test.segments, e.Reason, e.Detail)
		}
	}
}
