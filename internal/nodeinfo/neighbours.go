//go:build linux

package nodeinfo

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func writeNeighbours(ctx context.Context, _ *scope, r *recorder) error {
	handle, links, err := listLinks(ctx)
	if err != nil {
		return err
	}
	defer handle.Close()
	byIndex := names(links)
	lists := []struct {
		file, title string
		families    []int
	}{
		{"neighbours.txt", "ip -s neigh; ip -6 -s neigh", []int{netlink.FAMILY_V4, netlink.FAMILY_V6}},
		{"fdb.txt", "bridge fdb", []int{unix.AF_BRIDGE}},
	}
	for _, list := range lists {
		f, err := r.create(list.file, list.title)
		if err != nil {
			return err
		}
		for _, family := range list.families {
			neighbours, err := handle.NeighListExecute(netlink.Ndmsg{Family: uint8(family)})
			if complete(err) != nil {
				if errors.Is(err, unix.EOPNOTSUPP) {
					continue // no bridge in this kernel
				}
				return fmt.Errorf("list neighbours: %w", err)
			}
			for i := range neighbours {
				if _, err := f.Write([]byte(neighbourText(&neighbours[i], byIndex))); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func neighbourText(n *netlink.Neigh, byIndex linkNames) string {
	var words []string
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	if n.Family == unix.AF_BRIDGE {
		add("%s", n.HardwareAddr)
	} else {
		add("%s", ipText(n.IP))
	}
	add("dev %s", byIndex.of(n.LinkIndex))
	if n.Family == unix.AF_BRIDGE {
		if len(n.IP) > 0 {
			add("dst %s", n.IP)
		}
	} else if len(n.HardwareAddr) > 0 {
		add("lladdr %s", n.HardwareAddr)
	}
	if n.Vlan != 0 {
		add("vlan %d", n.Vlan)
	}
	if n.VNI != 0 {
		add("vni %d", n.VNI)
	}
	if n.MasterIndex != 0 {
		add("master %s", byIndex.of(n.MasterIndex))
	}
	// NTF_ flags, linux/neighbour.h.
	for _, flag := range []struct {
		bit  int
		name string
	}{{netlink.NTF_PROXY, "proxy"}, {netlink.NTF_ROUTER, "router"}, {netlink.NTF_SELF, "self"}, {0x10, "extern_learn"}} {
		if n.Flags&flag.bit != 0 {
			add("%s", flag.name)
		}
	}
	if n.Family != unix.AF_BRIDGE {
		add("used %d/%d/%d", n.Used, n.Confirmed, n.Updated)
	}
	add("%s", neighbourState(n.State))
	return strings.Join(words, " ") + "\n"
}

// neighbourState names NUD_ bits (linux/neighbour.h).
func neighbourState(state int) string {
	var set []string
	for i, name := range []string{"INCOMPLETE", "REACHABLE", "STALE", "DELAY", "PROBE", "FAILED", "NOARP", "PERMANENT"} {
		if state&(1<<i) != 0 {
			set = append(set, name)
		}
	}
	if len(set) == 0 {
		return "NONE"
	}
	return strings.Join(set, ",")
}
