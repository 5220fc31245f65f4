//go:build linux

package nodeinfo

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// rootQdiscs are the names of the root queueing disciplines, by interface.
func rootQdiscs(handle *netlink.Handle) (map[int]string, error) {
	qdiscs, err := handle.QdiscList(nil)
	if complete(err) != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return nil, fmt.Errorf("list qdiscs: %w", err)
	}
	roots := map[int]string{}
	for _, qdisc := range qdiscs {
		if qdisc.Attrs().Parent == netlink.HANDLE_ROOT {
			roots[qdisc.Attrs().LinkIndex] = qdisc.Type()
		}
	}
	return roots, nil
}

// writeQdiscs writes traffic control. Interfaces without any have no entry.
func writeQdiscs(ctx context.Context, _ *scope, r *recorder) error {
	handle, links, err := listLinks(ctx)
	if err != nil {
		return err
	}
	defer handle.Close()
	f, err := r.create("qdiscs.txt", "tc -s qdisc; tc -s class; tc filter")
	if err != nil {
		return err
	}
	var errs []error // of one interface, which may have gone meanwhile
	for _, link := range links {
		text, err := qdiscsText(handle, link)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", link.Attrs().Name, err))
		}
		if _, err := f.Write([]byte(text)); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}

func qdiscsText(handle *netlink.Handle, link netlink.Link) (string, error) {
	qdiscs, err := handle.QdiscList(link)
	if complete(err) != nil {
		return "", err
	}
	name, text := link.Attrs().Name, ""
	parents := map[uint32]bool{}
	for _, q := range qdiscs {
		a := q.Attrs()
		text += fmt.Sprintf("dev %s: qdisc %s %s parent %s refcnt %d %s\n%s", name, q.Type(),
			netlink.HandleStr(a.Handle), netlink.HandleStr(a.Parent), a.Refcnt, details(q, "QdiscAttrs", "QdiscType"), trafficText((*netlink.ClassStatistics)(a.Statistics)))
		switch q.Type() {
		case "clsact":
			parents[netlink.HANDLE_MIN_INGRESS], parents[netlink.HANDLE_MIN_EGRESS] = true, true
		case "ingress":
			parents[netlink.MakeHandle(0xffff, 0)] = true
		case "noqueue":
		default:
			parents[a.Handle] = true
		}
	}
	if len(parents) == 0 {
		return text, nil
	}
	var errs []error
	classes, err := handle.ClassList(link, netlink.HANDLE_NONE)
	errs = append(errs, complete(err))
	for _, c := range classes {
		a := c.Attrs()
		text += fmt.Sprintf("dev %s: class %s %s parent %s leaf %x %s\n%s", name, c.Type(),
			netlink.HandleStr(a.Handle), netlink.HandleStr(a.Parent), a.Leaf, details(c, "ClassAttrs", "ClassType"), trafficText(a.Statistics))
	}
	for parent := range parents {
		if parent == netlink.HANDLE_NONE {
			continue // of a default qdisc, which has no filters
		}
		filters, err := handle.FilterList(link, parent)
		errs = append(errs, complete(err))
		for _, filter := range filters {
			a := filter.Attrs()
			text += fmt.Sprintf("dev %s: filter parent %s %s protocol 0x%04x pref %d handle 0x%x %s\n",
				name, parentName(parent), filter.Type(), a.Protocol, a.Priority, a.Handle, details(filter, "FilterAttrs", "FilterType"))
		}
	}
	return text, errors.Join(errs...)
}

func parentName(parent uint32) string {
	switch parent {
	case netlink.HANDLE_MIN_INGRESS:
		return "clsact ingress"
	case netlink.HANDLE_MIN_EGRESS:
		return "clsact egress"
	}
	return netlink.HandleStr(parent)
}

func trafficText(s *netlink.ClassStatistics) string {
	if s == nil {
		return ""
	}
	text := ""
	if s.Basic != nil {
		text += fmt.Sprintf(" Sent %d bytes %d pkt", s.Basic.Bytes, s.Basic.Packets)
	}
	if s.Queue != nil {
		text += fmt.Sprintf(" (dropped %d, overlimits %d requeues %d) backlog %db %dp", s.Queue.Drops, s.Queue.Overlimits, s.Queue.Requeues, s.Queue.Backlog, s.Queue.Qlen)
	}
	if text == "" {
		return ""
	}
	return text + "\n"
}
