//go:build linux

package collector

import (
	"slices"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packets"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const (
	settle     = 5 * time.Millisecond   // between two looks at the sockets
	burstLimit = 500 * time.Millisecond // for a burst to arrive
)

// bursts are the sizes sent to find our own stream, in bytes: odd enough, and
// different, so that other traffic hardly matches both.
var bursts = [...]int{93_500, 161_000}

// capturesNode tells whether the node itself is a target.
func capturesNode(spec *wire.PacketsSpec) bool {
	return slices.ContainsFunc(spec.Targets, func(t wire.Target) bool { return t.Node })
}

// excludeOwnStream leaves the packets of the stream that send writes to out of a
// capture of the node. It returns a warning when the stream was not found.
func excludeOwnStream(send *sender, spec *wire.PacketsSpec, plugin *packets.Plugin) string {
	if !capturesNode(spec) {
		return ""
	}
	flows, err := findOwnStream(send)
	if err == nil && len(flows) == 0 {
		flows, err = kubeletFlows(spec.KubeletPort)
	}
	if err == nil && len(flows) > 0 {
		err = plugin.ExcludeFlows(flows)
	}
	switch {
	case err != nil:
		return "packets of the capture's own stream may be in the file: " + err.Error()
	case len(flows) == 0:
		return "packets of the capture's own stream may be in the file: none of the node's connections carries it visibly"
	}
	return ""
}

// findOwnStream returns the node's connections that carry every burst.
func findOwnStream(send *sender) ([]packets.Flow, error) {
	var common []packets.Flow
	for i, size := range bursts {
		flows, err := burst(send, size)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			common = flows
			continue
		}
		common = slices.DeleteFunc(common, func(f packets.Flow) bool { return !slices.Contains(flows, f) })
	}
	return common, nil
}

// burst sends size bytes and returns the connections that moved as many.
func burst(send *sender, size int) ([]packets.Flow, error) {
	before, err := packets.Sockets()
	if err != nil {
		return nil, err
	}
	if err := send.frame(wire.KindBurst, make([]byte, size)); err != nil {
		return nil, err
	}
	tick := time.NewTicker(settle)
	defer tick.Stop()
	for deadline := time.Now().Add(burstLimit); ; {
		<-tick.C
		after, err := packets.Sockets()
		if err != nil {
			return nil, err
		}
		flows := packets.Carriers(before, after, uint64(size))
		if len(flows) > 0 || time.Now().After(deadline) {
			return flows, nil
		}
	}
}

// kubeletFlows returns the connections to the kubelet: exec streams arrive there
// when they cannot be told from others.
func kubeletFlows(port uint16) ([]packets.Flow, error) {
	sockets, err := packets.Sockets()
	if err != nil || port == 0 {
		return nil, err
	}
	var flows []packets.Flow
	for flow := range sockets {
		if flow.Local.Port() == port {
			flows = append(flows, flow)
		}
	}
	return flows, nil
}
