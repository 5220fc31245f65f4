//go:build linux

package packetparser

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/packetparser"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packetparser/tracepoint"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// tellsWhy is how many arguments tcp_send_reset has since it has a reason, and since
// it also fires where there is no socket (Linux 6.10).
const tellsWhy = 3

// trace attaches to the tracepoints. What cannot be attached costs what is
// measured there only, and is in Missing.
func (p *Plugin) trace() {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		p.miss("round trips and resets", fmt.Errorf("the kernel does not describe its types: %w", err),
			"needs a kernel built with CONFIG_DEBUG_INFO_BTF")
		return
	}
	sent := bpf.PacketparserProgPacketparserResetSent
	if n := tracepoint.Arguments(kernel, "tcp_send_reset"); n >= tellsWhy {
		sent = bpf.PacketparserProgPacketparserResetSentWhy
	} else if n > 0 {
		p.miss("events of resets sent", errors.New("the kernel tells neither why nor of those that no socket sends, such as for a closed port"),
			"needs Linux 6.10 or later; connections that are refused count on any kernel")
	}
	p.scope.Describe(scope.KindReset, describeReset(resetReasons(kernel)))
	for _, t := range []struct{ program, what string }{
		{bpf.PacketparserProgPacketparserRtt, "round trips"},
		{sent, "events of resets sent"},
		{bpf.PacketparserProgPacketparserResetReceived, "events of resets received"},
	} {
		c, err := tracepoint.Attach(p.scope, p.spec, t.program, p.maps.byName())
		switch {
		case errors.Is(err, ebpf.ErrNotSupported):
			p.miss(t.what, err, "needs Linux 5.8 or later with the tracepoints of TCP")
		case err != nil:
			p.miss(t.what, err, hint.Of(err))
		default:
			p.traces = append(p.traces, c)
		}
	}
}

func (p *Plugin) miss(what string, err error, advice string) {
	p.missing = append(p.missing, wire.PluginError{
		Plugin: Name, Partial: true, Cause: fmt.Sprintf("%s: %s", what, err), Hint: advice,
	})
}
