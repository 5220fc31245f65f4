//go:build linux

package nodeinfo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func writeRoutes(ctx context.Context, _ *scope, r *recorder) error {
	handle, links, err := listLinks(ctx)
	if err != nil {
		return err
	}
	defer handle.Close()
	f, err := r.create("routes.txt", "ip route show table all; ip -6 route show table all")
	if err != nil {
		return err
	}
	byIndex := names(links)
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		var failed error
		// A table of 0 as filter: of every table.
		err := handle.RouteListFilteredIter(family, &netlink.Route{}, netlink.RT_FILTER_TABLE, func(route netlink.Route) bool {
			_, failed = f.Write([]byte(routeText(&route, byIndex)))
			return failed == nil
		})
		if failed != nil {
			return failed
		}
		if complete(err) != nil {
			return fmt.Errorf("list routes: %w", err)
		}
	}
	return nil
}

// routeText is one line, as of ip route.
func routeText(r *netlink.Route, byIndex linkNames) string {
	var words []string
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	if name := routeType(r.Type); name != "unicast" {
		add("%s", name)
	}
	add("%s", prefix(r.Dst))
	if len(r.Gw) > 0 {
		add("via %s", r.Gw)
	}
	if r.Via != nil {
		add("via %s", r.Via)
	}
	if r.LinkIndex > 0 {
		add("dev %s", byIndex.of(r.LinkIndex))
	}
	add("table %s", tableName(r.Table))
	add("proto %s", r.Protocol)
	add("scope %s", scopeName(r.Scope))
	if len(r.Src) > 0 {
		add("src %s", r.Src)
	}
	if r.Priority != 0 {
		add("metric %d", r.Priority)
	}
	if r.Encap != nil {
		add("encap %s", r.Encap)
	}
	words = append(words, r.ListFlags()...)
	add("%s", details(routeMetrics(r)))
	for _, hop := range r.MultiPath {
		add("\n\tnexthop via %s dev %s weight %d %s", ipText(hop.Gw), byIndex.of(hop.LinkIndex), hop.Hops+1, strings.Join(hop.ListFlags(), " "))
	}
	return strings.TrimRight(strings.Join(words, " "), " ") + "\n"
}

// metrics are those that ip route prints.
type metrics struct {
	Tos, Realm, MTU, Advmss, Hoplimit, Window, Initcwnd, Initrwnd, Cwnd, Ssthresh int
	Congctl                                                                       string
}

func routeMetrics(r *netlink.Route) metrics {
	return metrics{
		Tos: r.Tos, Realm: r.Realm, MTU: r.MTU, Advmss: r.AdvMSS, Hoplimit: r.Hoplimit, Window: r.Window,
		Initcwnd: r.InitCwnd, Initrwnd: r.InitRwnd, Cwnd: r.Cwnd, Ssthresh: r.Ssthresh, Congctl: r.Congctl,
	}
}

func prefix(n *net.IPNet) string {
	if n == nil {
		return "default"
	}
	switch ones, bits := n.Mask.Size(); ones {
	case 0:
		return "default"
	case bits:
		return n.IP.String()
	}
	return n.String()
}

// routeType names an RTN_ value (linux/rtnetlink.h).
func routeType(t int) string {
	known := []string{
		"unspec", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit", "throw", "nat", "xresolve",
	}
	if t >= 0 && t < len(known) {
		return known[t]
	}
	return strconv.Itoa(t)
}

func tableName(table int) string {
	switch table {
	case unix.RT_TABLE_MAIN:
		return "main"
	case unix.RT_TABLE_LOCAL:
		return "local"
	case unix.RT_TABLE_DEFAULT:
		return "default"
	}
	return strconv.Itoa(table)
}

func writeRules(ctx context.Context, _ *scope, r *recorder) error {
	handle, err := route(ctx)
	if err != nil {
		return err
	}
	defer handle.Close()
	f, err := r.create("rules.txt", "ip rule; ip -6 rule")
	if err != nil {
		return err
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rules, err := handle.RuleList(family)
		if complete(err) != nil {
			if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
				continue // no IPv6, or no policy routing in this kernel
			}
			return fmt.Errorf("list rules: %w", err)
		}
		for _, rule := range rules {
			if _, err := f.Write([]byte(ruleText(rule, family))); err != nil {
				return err
			}
		}
	}
	return nil
}

func ruleText(r netlink.Rule, family int) string {
	var words []string
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	if family == netlink.FAMILY_V6 {
		add("inet6")
	} else {
		add("inet")
	}
	add("%d:", max(r.Priority, 0)) // the first one has none
	if r.Invert {
		add("not")
	}
	add("from %s", anywhere(r.Src))
	if r.Dst != nil {
		add("to %s", anywhere(r.Dst))
	}
	if r.Mark != 0 || r.Mask != nil {
		mask := ^uint32(0)
		if r.Mask != nil {
			mask = *r.Mask
		}
		add("fwmark 0x%x/0x%x", r.Mark, mask)
	}
	if r.IifName != "" {
		add("iif %s", r.IifName)
	}
	if r.OifName != "" {
		add("oif %s", r.OifName)
	}
	rest := r
	rest.Priority, rest.Family, rest.Table, rest.Mark, rest.Type, rest.Protocol = 0, 0, 0, 0, 0, 0
	rest.Invert, rest.Src, rest.Dst, rest.Mask, rest.IifName, rest.OifName = false, nil, nil, nil, "", ""
	for _, unset := range []*int{&rest.Goto, &rest.Flow, &rest.SuppressIfgroup, &rest.SuppressPrefixlen} {
		if *unset == -1 {
			*unset = 0
		}
	}
	if text := details(rest); text != "" {
		add("%s", text)
	}
	if r.Table > 0 {
		add("lookup %s", tableName(r.Table))
	} else {
		add("%s", routeType(int(r.Type)))
	}
	if r.Protocol != 0 {
		add("proto %s", netlink.RouteProtocol(r.Protocol))
	}
	return strings.Join(words, " ") + "\n"
}

func anywhere(n *net.IPNet) string {
	if n == nil {
		return "all"
	}
	return n.String()
}
