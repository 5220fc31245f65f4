//go:build linux

package hostns

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

// HostSides lists the other ends, in the node's own namespace, of a pod's pairs of
// interfaces (veth, netkit): what the pod sends arrives there. Interfaces of other
// kinds have none; a macvlan's packets are on the node's uplink only.
func HostSides(pod, host *Netns) ([]Interface, error) {
	inside, podHandle, err := list(pod)
	if err != nil {
		return nil, err
	}
	defer podHandle.Close()
	outside, hostHandle, err := list(host)
	if err != nil {
		return nil, err
	}
	defer hostHandle.Close()
	// An index alone may be that of another pair's end, whose pod is elsewhere.
	id, err := hostHandle.GetNetNsIdByFd(pod.FD())
	if err != nil {
		return nil, fmt.Errorf("look for netns %d: %w", pod.Ino, err)
	}
	byIndex := map[int]netlink.Link{}
	for _, link := range outside {
		byIndex[link.Attrs().Index] = link
	}
	var sides []Interface
	for _, link := range inside {
		peer := byIndex[link.Attrs().ParentIndex]
		if !isPair(link) || peer == nil || !isPair(peer) || peer.Attrs().ParentIndex != link.Attrs().Index || peer.Attrs().NetNsID != id {
			continue
		}
		if side, ok := usable(peer); ok {
			sides = append(sides, side)
		}
	}
	return sides, nil
}

func isPair(link netlink.Link) bool { return link.Type() == "veth" || link.Type() == "netkit" }
