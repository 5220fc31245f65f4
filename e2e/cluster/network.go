//go:build linux

package main

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// bridgeName is the switch that all machines are plugged into. It is in the
// control plane's network namespace, as is the switch's end of every node's
// cable, which is called like the node.
const bridgeName = "retina0"

// port is a machine's end of the network.
type port struct {
	name string
	ns   netns.NsHandle
	*netlink.Handle
	addresses
}

// connect plugs the machines together: the first is the control plane, the
// others are nodes. Each gets its addresses and routes to all pods and services.
// There is no default route: an address outside is refused at once.
func connect(machines []*starter) error {
	var ports []*port
	defer func() {
		for _, p := range ports {
			p.Close()
			p.ns.Close()
		}
	}()
	for i, m := range machines {
		p, err := openPort(m.Name, m.Init.PID, addressesOf(i))
		if err != nil {
			return fmt.Errorf("network of %s: %w", m.Name, err)
		}
		ports = append(ports, p)
	}
	control, nodes := ports[0], ports[1:]
	bridge, err := control.addBridge()
	if err != nil {
		return fmt.Errorf("network of %s: %w", control.name, err)
	}
	for _, node := range nodes {
		if err := control.plug(bridge, node); err != nil {
			return fmt.Errorf("network of node %s: %w", node.name, err)
		}
	}
	for _, from := range ports {
		if err := from.addRoutes(control, nodes); err != nil {
			return fmt.Errorf("routes of %s: %w", from.name, err)
		}
	}
	return nil
}

func openPort(name string, pid int, a addresses) (*port, error) {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return nil, err
	}
	handle, err := netlink.NewHandleAt(ns)
	if err != nil {
		ns.Close()
		return nil, err
	}
	p := &port{name: name, ns: ns, Handle: handle, addresses: a}
	loopback, err := handle.LinkByName("lo")
	if err == nil {
		err = handle.LinkSetUp(loopback)
	}
	if err != nil {
		p.Close()
		ns.Close()
	}
	return p, err
}

func (p *port) addBridge() (netlink.Link, error) {
	attributes := netlink.NewLinkAttrs()
	attributes.Name = bridgeName
	if err := p.LinkAdd(&netlink.Bridge{LinkAttrs: attributes}); err != nil {
		return nil, fmt.Errorf("add bridge: %w", err)
	}
	bridge, err := p.LinkByName(bridgeName)
	if err != nil {
		return nil, err
	}
	return bridge, p.configure(bridge)
}

// plug lays a cable from the switch to node's eth0.
func (p *port) plug(bridge netlink.Link, node *port) error {
	attributes := netlink.NewLinkAttrs()
	attributes.Name = node.name
	attributes.MasterIndex = bridge.Attrs().Index
	cable := &netlink.Veth{LinkAttrs: attributes, PeerName: "eth0", PeerNamespace: netlink.NsFd(node.ns)}
	if err := p.LinkAdd(cable); err != nil {
		return fmt.Errorf("add veth: %w", err)
	}
	if err := p.LinkSetUp(cable); err != nil {
		return err
	}
	eth0, err := node.LinkByName("eth0")
	if err != nil {
		return err
	}
	return node.configure(eth0)
}

// configure gives link the port's addresses and sets it up. There can be no
// duplicates, so nothing waits for their detection.
func (p *port) configure(link netlink.Link) error {
	for _, prefix := range []netip.Prefix{p.ipv4, p.ipv6} {
		address := &netlink.Addr{IPNet: ipNet(prefix)}
		if prefix.Addr().Is6() {
			address.Flags = unix.IFA_F_NODAD
		}
		if err := p.AddrAdd(link, address); err != nil {
			return fmt.Errorf("add address %s: %w", prefix, err)
		}
	}
	return p.LinkSetUp(link)
}

// addRoutes lets the port's machine reach the pods of every other node and the
// services. Nodes turn services into pods themselves, but look for a route
// first; the control plane asks the first node to do so.
func (p *port) addRoutes(control *port, nodes []*port) error {
	for _, node := range nodes {
		if node == p {
			continue
		}
		if err := p.addRoute(node.pods4, node.ipv4.Addr()); err != nil {
			return err
		}
		if err := p.addRoute(node.pods6, node.ipv6.Addr()); err != nil {
			return err
		}
	}
	through := control
	if p == control {
		through = nodes[0]
	}
	for cidr := range strings.SplitSeq(serviceCIDRs, ",") {
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil {
			return err
		}
		gateway := through.ipv4.Addr()
		if prefix.Addr().Is6() {
			gateway = through.ipv6.Addr()
		}
		if err := p.addRoute(prefix, gateway); err != nil {
			return err
		}
	}
	return nil
}

func (p *port) addRoute(to netip.Prefix, gateway netip.Addr) error {
	if err := p.RouteAdd(&netlink.Route{Dst: ipNet(to), Gw: gateway.AsSlice()}); err != nil {
		return fmt.Errorf("add route to %s: %w", to, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
