//go:build linux

package nodeinfo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// route opens rtnetlink in the namespace of the thread.
func route(ctx context.Context) (*netlink.Handle, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("rtnetlink: %w", err)
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := handle.SetSocketTimeout(max(time.Until(deadline), time.Millisecond)); err != nil {
			handle.Close()
			return nil, err
		}
	}
	return handle, nil
}

// complete drops the error that says that the list has changed while it was
// read: it may then lack an entry or have one twice.
func complete(err error) error {
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil
	}
	return err
}

// linkNames are the interfaces of a namespace by index.
type linkNames map[int]string

func names(links []netlink.Link) linkNames {
	byIndex := make(linkNames, len(links))
	for _, link := range links {
		byIndex[link.Attrs().Index] = link.Attrs().Name
	}
	return byIndex
}

// of an interface in another namespace is "if7", as in ip's "eth0@if7".
func (n linkNames) of(index int) string {
	if name, ok := n[index]; ok {
		return name
	}
	return "if" + strconv.Itoa(index)
}

func listLinks(ctx context.Context) (*netlink.Handle, []netlink.Link, error) {
	handle, err := route(ctx)
	if err != nil {
		return nil, nil, err
	}
	links, err := handle.LinkList()
	if complete(err) != nil {
		handle.Close()
		return nil, nil, fmt.Errorf("list interfaces: %w", err)
	}
	return handle, links, nil
}

func writeLinks(ctx context.Context, _ *scope, r *recorder) error {
	handle, links, err := listLinks(ctx)
	if err != nil {
		return err
	}
	defer handle.Close()
	qdiscs, err := rootQdiscs(handle)
	if err != nil {
		return err
	}
	f, err := r.create("links.txt", "ip -s -d link; ethtool -k, -i")
	if err != nil {
		return err
	}
	offloads := newEthtool()
	defer offloads.close()
	byIndex := names(links)
	for _, link := range links {
		if _, err := f.Write([]byte(linkText(link, byIndex, qdiscs[link.Attrs().Index]) + offloads.text(link.Attrs().Name))); err != nil {
			return err
		}
	}
	return nil
}

// linkText is the entry of one interface, without its addresses.
func linkText(link netlink.Link, byIndex linkNames, qdisc string) string {
	var b strings.Builder
	a := link.Attrs()
	b.WriteString(linkHead(link, byIndex))
	if qdisc != "" {
		fmt.Fprintf(&b, " qdisc %s", qdisc)
	}
	fmt.Fprintf(&b, " state %s group %d qlen %d\n", strings.ToUpper(a.OperState.String()), a.Group, a.TxQLen)
	fmt.Fprintf(&b, "    link/%s %s", a.EncapType, orDash(a.HardwareAddr.String()))
	if len(a.PermHWAddr) > 0 {
		fmt.Fprintf(&b, " permaddr %s", a.PermHWAddr)
	}
	if a.NetNsID >= 0 && a.ParentIndex != 0 {
		fmt.Fprintf(&b, " link-netnsid %d", a.NetNsID)
	}
	fmt.Fprintf(&b, " promiscuity %d allmulti %d numtxqueues %d numrxqueues %d gso_max_size %d gso_max_segs %d tso_max_size %d gro_max_size %d\n",
		a.Promisc, a.Allmulti, a.NumTxQueues, a.NumRxQueues, a.GSOMaxSize, a.GSOMaxSegs, a.TSOMaxSize, a.GROMaxSize)
	if a.Alias != "" {
		fmt.Fprintf(&b, "    alias %s\n", a.Alias)
	}
	if len(a.AltNames) > 0 {
		fmt.Fprintf(&b, "    altname %s\n", strings.Join(a.AltNames, " "))
	}
	if link.Type() != "device" {
		b.WriteString(strings.TrimRight("    "+link.Type()+" "+details(link, "LinkAttrs", "LinkType"), " ") + "\n")
	}
	if a.Slave != nil {
		fmt.Fprintf(&b, "    slave %s %s\n", a.Slave.SlaveType(), details(a.Slave))
	}
	if a.Protinfo != nil {
		fmt.Fprintf(&b, "    bridge port %s\n", details(a.Protinfo))
	}
	if a.Xdp != nil && a.Xdp.Attached {
		fmt.Fprintf(&b, "    xdp mode %d prog id %d\n", a.Xdp.AttachMode, a.Xdp.ProgId)
	}
	for _, vf := range a.Vfs {
		fmt.Fprintf(&b, "    vf %s\n", details(vf))
	}
	b.WriteString(statisticsText(a.Statistics))
	return b.String()
}

// linkHead is "2: eth0@if7: <BROADCAST,UP> mtu 1500 master br0".
func linkHead(link netlink.Link, byIndex linkNames) string {
	a := link.Attrs()
	name := a.Name
	if a.ParentIndex != 0 {
		parent := "if" + strconv.Itoa(a.ParentIndex)
		if a.NetNsID < 0 {
			parent = byIndex.of(a.ParentIndex)
		}
		name += "@" + parent
	}
	head := fmt.Sprintf("%d: %s: <%s> mtu %d", a.Index, name, linkFlags(a.RawFlags), a.MTU)
	if a.MasterIndex != 0 {
		head += " master " + byIndex.of(a.MasterIndex)
	}
	return head
}

// linkFlags prints IFF_ flags as ip does (linux/if.h).
func linkFlags(flags uint32) string {
	all := []struct {
		bit  uint32
		name string
	}{
		{unix.IFF_LOOPBACK, "LOOPBACK"}, {unix.IFF_BROADCAST, "BROADCAST"}, {unix.IFF_POINTOPOINT, "POINTOPOINT"},
		{unix.IFF_MULTICAST, "MULTICAST"}, {unix.IFF_NOARP, "NOARP"}, {unix.IFF_ALLMULTI, "ALLMULTI"},
		{unix.IFF_PROMISC, "PROMISC"}, {unix.IFF_MASTER, "MASTER"}, {unix.IFF_SLAVE, "SLAVE"}, {unix.IFF_DEBUG, "DEBUG"},
		{unix.IFF_UP, "UP"}, {unix.IFF_LOWER_UP, "LOWER_UP"}, {unix.IFF_DORMANT, "DORMANT"},
	}
	var set []string
	if flags&unix.IFF_UP != 0 && flags&unix.IFF_RUNNING == 0 {
		set = append(set, "NO-CARRIER")
	}
	for _, flag := range all {
		if flags&flag.bit != 0 {
			set = append(set, flag.name)
		}
	}
	return strings.Join(set, ",")
}

func statisticsText(s *netlink.LinkStatistics) string {
	if s == nil {
		return ""
	}
	return fmt.Sprintf("    RX: bytes %d packets %d errors %d dropped %d missed %d mcast %d length %d crc %d frame %d fifo %d overrun %d\n"+
		"    TX: bytes %d packets %d errors %d dropped %d carrier %d collsns %d aborted %d fifo %d window %d heartbeat %d\n",
		s.RxBytes, s.RxPackets, s.RxErrors, s.RxDropped, s.RxMissedErrors, s.Multicast, s.RxLengthErrors, s.RxCrcErrors, s.RxFrameErrors, s.RxFifoErrors, s.RxOverErrors,
		s.TxBytes, s.TxPackets, s.TxErrors, s.TxDropped, s.TxCarrierErrors, s.Collisions, s.TxAbortedErrors, s.TxFifoErrors, s.TxWindowErrors, s.TxHeartbeatErrors)
}

func writeAddresses(ctx context.Context, _ *scope, r *recorder) error {
	handle, links, err := listLinks(ctx)
	if err != nil {
		return err
	}
	defer handle.Close()
	addresses, err := handle.AddrList(nil, netlink.FAMILY_ALL)
	if complete(err) != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	byLink := map[int][]netlink.Addr{}
	for _, address := range addresses {
		byLink[address.LinkIndex] = append(byLink[address.LinkIndex], address)
	}
	f, err := r.create("addresses.txt", "ip addr")
	if err != nil {
		return err
	}
	byIndex := names(links)
	for _, link := range links {
		a := link.Attrs()
		text := fmt.Sprintf("%s state %s\n    link/%s %s\n",
			linkHead(link, byIndex), strings.ToUpper(a.OperState.String()), a.EncapType, orDash(a.HardwareAddr.String()))
		for _, address := range byLink[a.Index] {
			text += addressText(address)
		}
		if _, err := f.Write([]byte(text)); err != nil {
			return err
		}
	}
	return nil
}

func addressText(a netlink.Addr) string {
	family := "inet6"
	if a.IP.To4() != nil {
		family = "inet"
	}
	text := fmt.Sprintf("    %s %s", family, a.IPNet)
	if a.Peer != nil && !a.Peer.IP.Equal(a.IP) {
		text += " peer " + a.Peer.String()
	}
	if len(a.Broadcast) > 0 {
		text += " brd " + a.Broadcast.String()
	}
	text += " scope " + scopeName(netlink.Scope(a.Scope))
	for _, flag := range []struct {
		bit  int
		name string
	}{
		{unix.IFA_F_SECONDARY, "secondary"}, {unix.IFA_F_NODAD, "nodad"}, {unix.IFA_F_OPTIMISTIC, "optimistic"},
		{unix.IFA_F_DADFAILED, "dadfailed"}, {unix.IFA_F_DEPRECATED, "deprecated"}, {unix.IFA_F_TENTATIVE, "tentative"},
		{unix.IFA_F_MANAGETEMPADDR, "mngtmpaddr"}, {unix.IFA_F_NOPREFIXROUTE, "noprefixroute"},
	} {
		if a.Flags&flag.bit != 0 {
			text += " " + flag.name
		}
	}
	if a.Label != "" {
		text += " " + a.Label
	}
	return text + fmt.Sprintf(" valid_lft %s preferred_lft %s\n", lifetime(a.ValidLft), lifetime(a.PreferedLft))
}

// lifetime is in seconds; all bits set, or nothing, is for ever.
func lifetime(seconds int) string {
	if seconds == 0 || uint32(seconds) == math.MaxUint32 {
		return "forever"
	}
	return strconv.Itoa(seconds) + "sec"
}

func scopeName(s netlink.Scope) string {
	if s == netlink.SCOPE_UNIVERSE {
		return "global"
	}
	return s.String()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func ipText(ip net.IP) string {
	if len(ip) == 0 {
		return "-"
	}
	return ip.String()
}
