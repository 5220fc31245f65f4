//go:build linux

package hostns

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Interface is one network interface in a namespace.
type Interface struct {
	Index int
	Name  string
	MAC   net.HardwareAddr // empty without a link-layer address
	MTU   int              // bytes
	Raw   bool             // packets begin with the IP header
	// Uplink is set for a node's interface whose packets no other of its interfaces
	// has as well: not for bridges, tunnels and what else stands on another.
	Uplink bool
}

// PodInterfaces lists the interfaces of a pod: every one that is up, except
// loopback.
func PodInterfaces(n *Netns) ([]Interface, error) {
	links, handle, err := list(n)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	var interfaces []Interface
	for _, link := range links {
		if i, ok := usable(link); ok {
			interfaces = append(interfaces, i)
		}
	}
	return interfaces, nil
}

// NodeInterfaces lists the node's own interfaces: every one that is up, except
// loopback, the node's ends of pods' veth pairs, and the members of a bond
// (which the bond shows). A veth is the node's own when it carries a subnet, as
// the uplink of a node that is itself a container does; the ends of pods' pairs
// carry no address, or a single one without a subnet.
func NodeInterfaces(n *Netns) ([]Interface, error) {
	links, handle, err := list(n)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	types := map[int]string{}
	for _, link := range links {
		types[link.Attrs().Index] = link.Type()
	}
	var interfaces []Interface
	for _, link := range links {
		i, ok := usable(link)
		if !ok || types[link.Attrs().MasterIndex] == "bond" {
			continue
		}
		if link.Type() == "veth" && !hasSubnet(handle, link) {
			continue
		}
		i.Uplink = isUplink(link.Type(), types[link.Attrs().MasterIndex])
		interfaces = append(interfaces, i)
	}
	return interfaces, nil
}

// isUplink reports whether packets of an interface of this type, with a master of
// that type ("": none), are on no other interface of the node. A member of a
// bridge carries what leaves the node, the bridge also what stays; any other
// master has its members' packets.
func isUplink(kind, master string) bool {
	switch kind {
	case "device", "bond", "team", "veth":
		return master == "" || master == "bridge" || master == "openvswitch" || master == "vrf"
	}
	return false
}

func list(n *Netns) ([]netlink.Link, *netlink.Handle, error) {
	handle, err := netlink.NewHandleAt(netns.NsHandle(n.FD()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, nil, fmt.Errorf("netlink in netns %d: %w", n.Ino, err)
	}
	links, err := handle.LinkList()
	// An interrupted dump holds every link that did not change meanwhile.
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		handle.Close()
		return nil, nil, fmt.Errorf("list interfaces of netns %d: %w", n.Ino, err)
	}
	return links, handle, nil
}

// usable converts link if it is up and its packets have a form that we can
// name: Ethernet, or IP without a link-layer header.
func usable(link netlink.Link) (Interface, bool) {
	a := link.Attrs()
	if a.Flags&net.FlagUp == 0 || a.Flags&net.FlagLoopback != 0 {
		return Interface{}, false
	}
	i := Interface{Index: a.Index, Name: a.Name, MAC: a.HardwareAddr, MTU: a.MTU}
	switch a.EncapType {
	case "ether":
	case "none", "ipip", "tunnel6", "sit":
		i.Raw, i.MAC = true, nil
	default:
		return Interface{}, false
	}
	return i, true
}

func hasSubnet(handle *netlink.Handle, link netlink.Link) bool {
	addrs, err := handle.AddrList(link, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return false
	}
	for _, addr := range addrs {
		ones, bits := addr.Mask.Size()
		if addr.IP.IsGlobalUnicast() && ones < bits {
			return true
		}
	}
	return false
}

// HasInterface reports whether the interface still exists in the namespace.
func (n *Netns) HasInterface(index int) (bool, error) {
	handle, err := netlink.NewHandleAt(netns.NsHandle(n.FD()), unix.NETLINK_ROUTE)
	if err != nil {
		return false, fmt.Errorf("netlink in netns %d: %w", n.Ino, err)
	}
	defer handle.Close()
	_, err = handle.LinkByIndex(index)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) || errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	return err == nil, err
}
