//go:build linux

package examine

import (
	"errors"
	"fmt"
	"net"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
)

// newScratch makes a network namespace with one interface, eth0, that a node
// could have: a veth pair with a subnet that is for documentation. It is gone
// when it has been closed.
func newScratch() (*hostns.Netns, error) {
	type result struct {
		ns  *hostns.Netns
		err error
	}
	made := make(chan result, 1)
	go func() {
		// Never unlocked: the thread ends with this goroutine, and nobody finds
		// himself in the namespace.
		runtime.LockOSThread()
		handle, err := netns.New()
		if err != nil {
			made <- result{err: fmt.Errorf("make a network namespace: %w", err)}
			return
		}
		defer handle.Close()
		ns, err := hostns.Host()
		if err != nil {
			made <- result{err: err}
			return
		}
		if err := furnish(); err != nil {
			made <- result{err: errors.Join(err, ns.Close())}
			return
		}
		made <- result{ns: ns}
	}()
	r := <-made
	return r.ns, r.err
}

// furnish makes the interface in the thread's namespace.
func furnish() error {
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth1"}
	if err := netlink.LinkAdd(pair); err != nil {
		return fmt.Errorf("make a veth pair: %w", err)
	}
	subnet := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(192, 0, 2, 1), Mask: net.CIDRMask(24, 32)}}
	for _, name := range []string{"lo", "eth1", "eth0"} {
		link, err := netlink.LinkByName(name)
		if err == nil && name == "eth0" {
			err = netlink.AddrAdd(link, subnet)
		}
		if err == nil {
			err = netlink.LinkSetUp(link)
		}
		if err != nil {
			return fmt.Errorf("set up %s: %w", name, err)
		}
	}
	return nil
}
