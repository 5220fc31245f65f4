//go:build linux

package dropreason

import (
	"fmt"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/dropreason"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Values of wire.DropSample.On.
const (
	onPod  = "pod"
	onNode = "node"
)

// Sample appends the drops that have changed since the last call.
func (p *Plugin) Sample(into *wire.Sample) error {
	err := p.table.read(func(key bpf.DropreasonDropKey, total tally, ended bool) {
		drop := p.drop(&key)
		drop.Packets, drop.Bytes, drop.Ended = total.Packets, total.Bytes, ended
		into.Drops = append(into.Drops, drop)
	})
	if err != nil {
		return err
	}
	if err := p.sampleLosses(into); err != nil {
		return err
	}
	return p.sampleCilium(into)
}

func (p *Plugin) sampleCilium(into *wire.Sample) error {
	if p.samples++; p.samples%ciliumEvery == 0 && p.bpffs != "" {
		if err := p.followCilium(); err != nil {
			return err
		}
	}
	if p.cilium == nil {
		return nil
	}
	if err := p.cilium.update(); err != nil {
		return err
	}
	if target, ok := p.nodeTarget(); ok {
		p.cilium.sample(target, into)
	}
	return nil
}

// drop is the sample of a key that has been resolved, without its total.
func (p *Plugin) drop(key *bpf.DropreasonDropKey) wire.DropSample {
	drop := wire.DropSample{
		Target: key.Target, Reason: p.names.reason(key.Reason), Hook: hook(key.Callers[0]).String(),
		Function: p.names.symbols.named(key.Location), Direction: direction(key.Direction), Protocol: key.Protocol,
	}
	switch bpf.DropreasonPlace(key.On) {
	case bpf.DropreasonPlaceON_POD:
		drop.On = onPod
	case bpf.DropreasonPlaceON_NODE:
		drop.On = onNode
	}
	if key.Family != 0 {
		drop.Source = scope.AddrPort(key.Source, key.SourcePort)
		drop.Destination = scope.AddrPort(key.Destination, key.DestinationPort)
	}
	return drop
}

func direction(d uint8) string {
	switch bpf.DropreasonScopeDirection(d) {
	case bpf.DropreasonScopeDirectionSCOPE_IN:
		return wire.DirectionIn
	case bpf.DropreasonScopeDirectionSCOPE_OUT:
		return wire.DirectionOut
	case bpf.DropreasonScopeDirectionSCOPE_FORWARD:
		return wire.DirectionForward
	}
	return ""
}

// describe fills the texts of an event of the kernel.
func (p *Plugin) describe(raw *scope.RawEvent, e *wire.Event) {
	e.Reason = p.names.reason(raw.Reason)
	_, e.Detail = p.names.symbols.function(raw.Function)
	if raw.Reason != p.reasons.netfilter {
		return
	}
	var caller uint64
	if raw.Detail != 0 { // the distance, which may be negative
		caller = raw.Function + uint64(int64(int32(raw.Detail)))
	}
	if h := p.names.hookAt(caller, raw.Function); h != hookUnknown {
		e.Detail = fmt.Sprintf("%s (%s)", e.Detail, h)
	}
}
