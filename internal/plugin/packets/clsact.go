//go:build linux

package packets

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/packets"
	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
)

// This file attaches by clsact filters (tc-bpf(8)) on kernels without TCX.
// Unlike links they outlive their process, so each carries its owner in its
// name: whoever finds one whose process has ended may remove it.

// owner names the process that a filter belongs to, and whether the clsact
// qdisc under the filter is ours to remove.
type owner struct {
	pid       int
	startTime uint64 // clock ticks since boot: tells a reused PID apart
	qdisc     bool
}

const ownerPrefix = "kubectl-retina"

func (o owner) String() string {
	name := fmt.Sprintf("%s/%d/%d", ownerPrefix, o.pid, o.startTime)
	if o.qdisc {
		name += "/qdisc"
	}
	return name
}

// parseOwner reads a filter's name; ok is false for one that is not ours.
func parseOwner(name string) (o owner, ok bool) {
	parts := strings.Split(name, "/")
	if len(parts) < 3 || parts[0] != ownerPrefix {
		return owner{}, false
	}
	var err1, err2 error
	o.pid, err1 = strconv.Atoi(parts[1])
	o.startTime, err2 = strconv.ParseUint(parts[2], 10, 64)
	o.qdisc = len(parts) == 4 && parts[3] == "qdisc"
	return o, err1 == nil && err2 == nil
}

// self is this process as an owner.
func self() (owner, error) {
	p, err := readProcess("/proc/self")
	return owner{pid: os.Getpid(), startTime: p.startTime}, err
}

// alive reports whether the owning process still runs.
func (o owner) alive(procfs string) bool {
	p, err := readProcess(procfs + "/" + strconv.Itoa(o.pid))
	return err == nil && p.startTime == o.startTime && !p.exiting
}

// process is what /proc/PID/stat (proc_pid_stat(5)) says of one.
type process struct {
	startTime uint64 // field 22
	// exiting is PF_EXITING (linux/sched.h) in field 9: a process that has been
	// killed keeps its entry until its parent has asked how it ended, and drops
	// its locks and files some time before it even becomes a zombie.
	exiting bool
}

func readProcess(dir string) (process, error) {
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return process{}, err
	}
	// The name in parentheses may hold spaces and parentheses.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return process{}, fmt.Errorf("%s/stat has %d fields after the name", dir, len(fields))
	}
	const pfExiting = 0x4
	flags, err1 := strconv.ParseUint(fields[9-3], 10, 32)
	start, err2 := strconv.ParseUint(fields[22-3], 10, 64)
	return process{startTime: start, exiting: flags&pfExiting != 0}, errors.Join(err1, err2)
}

// clsactFilters are our two filters on one interface.
type clsactFilters struct {
	ns    *hostns.Netns
	index int
	owner owner
	// behind says that filters of others come first in a direction: packets that
	// they decide about do not reach ours.
	behind bool
}

// withNetlink does f while no other collector changes qdiscs and filters in the
// namespace: between looking whether a qdisc is in use and removing it, nobody
// may begin to use it. Handle is of that namespace.
func withNetlink(ns *hostns.Netns, f func(handle *netlink.Handle) error) error {
	// All see one file for a namespace. It is opened anew because a lock belongs
	// to the open file (flock(2)), and ends with it.
	file, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", ns.FD()))
	if err != nil {
		return err
	}
	defer file.Close()
	for {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("lock netns %d: %w", ns.Ino, err)
	}
	handle, err := netlink.NewHandleAt(netns.NsHandle(ns.FD()), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink in netns %d: %w", ns.Ino, err)
	}
	defer handle.Close()
	return f(handle)
}

// attachClsact adds one filter per direction, in front of all others, and the
// clsact qdisc where there is none. The filters and qdiscs of others stay as
// they are.
func attachClsact(ns *hostns.Netns, i hostns.Interface, programs *bpf.PacketsPrograms) (*clsactFilters, error) {
	o, err := self()
	if err != nil {
		return nil, err
	}
	f := &clsactFilters{ns: ns, index: i.Index, owner: o}
	err = withNetlink(ns, func(handle *netlink.Handle) error {
		if err := f.add(handle, programs); err != nil {
			return errors.Join(fmt.Errorf("attach clsact filter to %s: %w", i.Name, err), f.remove(handle))
		}
		return nil
	})
	if err != nil {
		return nil, explain(err)
	}
	return f, nil
}

func (f *clsactFilters) add(handle *netlink.Handle, programs *bpf.PacketsPrograms) (err error) {
	if f.owner.qdisc, err = ensureClsact(handle, f.index); err != nil {
		return fmt.Errorf("add clsact qdisc: %w", err)
	}
	for parent, program := range map[uint32]*ebpf.Program{
		netlink.HANDLE_MIN_INGRESS: programs.PacketsIngress,
		netlink.HANDLE_MIN_EGRESS:  programs.PacketsEgress,
	} {
		behind, err := addFilter(handle, f.index, parent, f.owner.String(), program)
		if err != nil {
			return err
		}
		f.behind = f.behind || behind
	}
	return nil
}

// ensureClsact reports whether the clsact qdisc of the interface is ours: made
// now, or inherited from another collector that is still using it.
func ensureClsact(handle *netlink.Handle, index int) (ours bool, err error) {
	err = handle.QdiscAdd(clsactQdisc(index))
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, unix.EEXIST) {
		return false, err
	}
	filters, err := bothFilters(handle, index)
	if err != nil {
		return false, err
	}
	for _, filter := range filters {
		if o, ok := ownerOf(filter); ok && o.qdisc {
			return true, nil
		}
	}
	return false, nil
}

func clsactQdisc(index int) *netlink.Clsact {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
}

// autoPriority is the priority that the kernel itself gives the first filter
// of an interface (net/sched/cls_api.c, tcf_auto_prio).
const autoPriority = 0xC000

// addFilter reports whether a filter of somebody else comes before ours.
func addFilter(handle *netlink.Handle, index int, parent uint32, name string, program *ebpf.Program) (behind bool, err error) {
	existing, err := handle.FilterList(linkOf(index), parent)
	if err != nil {
		return false, err
	}
	priority := uint16(autoPriority)
	for _, filter := range existing {
		// A filter that accepts or drops ends the list, so be before it; at
		// priority 1 the kernel puts the newest BPF filter first.
		priority = max(1, min(priority, filter.Attrs().Priority-1))
	}
	for ; ; priority++ {
		err = handle.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{
				LinkIndex: index, Parent: parent, Priority: priority, Protocol: unix.ETH_P_ALL,
			},
			Fd: program.FD(), Name: name, DirectAction: true,
		})
		// Filters of another kind have this priority to themselves.
		if !errors.Is(err, unix.EINVAL) || int(priority) > len(existing) {
			return behind, err
		}
		behind = true
	}
}

// Close removes the filters, and the qdisc if it is ours and nothing else is
// attached to it. An interface that is gone took them with it.
func (f *clsactFilters) Close() error { return withNetlink(f.ns, f.remove) }

func (f *clsactFilters) remove(handle *netlink.Handle) error {
	return removeFilters(handle, f.index, f.owner.qdisc, func(o owner) bool { return o == f.owner })
}

// removeFilters removes those of our filters on the interface whose owner is
// unwanted, and the qdisc that is then empty if it is ours, as the filters
// themselves may say too.
func removeFilters(handle *netlink.Handle, index int, ours bool, unwanted func(owner) bool) error {
	filters, err := bothFilters(handle, index)
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) {
		return nil // no such interface, or it has no clsact qdisc
	}
	if err != nil {
		return fmt.Errorf("list filters of interface %d: %w", index, err)
	}
	var errs []error
	left := len(filters)
	for _, filter := range filters {
		o, ok := ownerOf(filter)
		if !ok || !unwanted(o) {
			continue
		}
		if err := handle.FilterDel(filter); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("remove filter of interface %d: %w", index, err))
			continue
		}
		left--
		ours = ours || o.qdisc
	}
	if ours && left == 0 {
		// EINVAL: there is none.
		if err := handle.QdiscDel(clsactQdisc(index)); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("remove clsact qdisc of interface %d: %w", index, err))
		}
	}
	return errors.Join(errs...)
}

func bothFilters(handle *netlink.Handle, index int) ([]netlink.Filter, error) {
	var all []netlink.Filter
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		filters, err := handle.FilterList(linkOf(index), parent)
		if err != nil {
			return nil, err
		}
		all = append(all, filters...)
	}
	return all, nil
}

func ownerOf(filter netlink.Filter) (owner, bool) {
	if f, ok := filter.(*netlink.BpfFilter); ok {
		return parseOwner(f.Name)
	}
	return owner{}, false
}

func linkOf(index int) netlink.Link {
	return &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: index}}
}

// Sweep removes the clsact filters that collectors of this node left behind
// when they were killed. It does nothing where TCX is used.
func Sweep(procfs string) error {
	all, err := hostns.All(procfs)
	if err != nil {
		return err
	}
	var errs []error
	for _, ns := range all {
		errs = append(errs, sweepNetns(ns, procfs), ns.Close())
	}
	return errors.Join(errs...)
}

func sweepNetns(ns *hostns.Netns, procfs string) error {
	return withNetlink(ns, func(handle *netlink.Handle) error {
		qdiscs, err := handle.QdiscList(nil)
		if err != nil {
			return fmt.Errorf("list qdiscs of netns %d: %w", ns.Ino, err)
		}
		var errs []error
		for _, qdisc := range qdiscs {
			if qdisc.Type() == "clsact" {
				errs = append(errs, removeFilters(handle, qdisc.Attrs().LinkIndex, false, func(o owner) bool { return !o.alive(procfs) }))
			}
		}
		return errors.Join(errs...)
	})
}
