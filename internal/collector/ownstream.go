//go:build linux

package collector

import (
	"slices"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packets"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const (
	settle = 5 * time.Millisecond // between two looks at the sockets
	// burstLimit is how long a burst may take to leave the node.
	burstLimit = 4 * time.Second
	// unchanged is after how long a burst has been everywhere where it goes. A kubelet
	// that gets no CPU time for so long would have its connection overlooked, and the
	// capture feed itself; a command on the node waits for it once.
	unchanged = 2 * time.Second
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
	flows, err := findOwnStream(func(size int) error { return send.frame(wire.KindBurst, make([]byte, size)) }, packets.Sockets)
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

// sockets is packets.Sockets.
type sockets func() (map[packets.Flow]packets.Moved, error)

// findOwnStream returns the node's connections that carry every burst that send
// sends.
func findOwnStream(send func(size int) error, look sockets) ([]packets.Flow, error) {
	var common []packets.Flow
	for i, size := range bursts {
		flows, err := burst(size, send, look, common)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			if common = flows; len(common) == 0 {
				return nil, nil
			}
			continue
		}
		common = slices.DeleteFunc(common, func(f packets.Flow) bool { return !slices.Contains(flows, f) })
	}
	return common, nil
}

// burst sends size bytes and returns the connections that moved as many. The
// kubelet and the API server relay them one after the other, and take their time
// on a busy node: the burst is through when it has left the node, or goes no
// further, because the command runs on the node too. Or it is where one before has
// been: those are the known connections.
func burst(size int, send func(size int) error, look sockets, known []packets.Flow) ([]packets.Flow, error) {
	before, err := look()
	if err != nil {
		return nil, err
	}
	if err := send(size); err != nil {
		return nil, err
	}
	tick := time.NewTicker(settle)
	defer tick.Stop()
	sent := time.Now()
	found, changed := 0, sent
	for {
		<-tick.C
		after, err := look()
		if err != nil {
			return nil, err
		}
		flows := packets.Carriers(before, after, uint64(size))
		if len(flows) != found {
			found, changed = len(flows), time.Now()
		}
		left := slices.ContainsFunc(flows, func(f packets.Flow) bool {
			_, local := after[packets.Flow{Local: f.Remote, Remote: f.Local}]
			return !local
		})
		again := len(known) > 0 && !slices.ContainsFunc(known, func(f packets.Flow) bool { return !slices.Contains(flows, f) })
		if left || again || found > 0 && time.Since(changed) >= unchanged || time.Since(sent) >= burstLimit {
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
