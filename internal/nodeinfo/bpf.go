//go:build linux

package nodeinfo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// writeBPF writes the programs on interfaces by TCX, netkit and XDP; those of
// clsact are filters and in qdiscs.txt.
func writeBPF(ctx context.Context, _ *scope, r *recorder) error {
	handle, links, err := listLinks(ctx)
	if err != nil {
		return err
	}
	handle.Close()
	f, err := r.create("bpf.txt", "bpftool net (clsact programs: qdiscs.txt)")
	if err != nil {
		return err
	}
	for _, l := range links {
		a := l.Attrs()
		attach := []ebpf.AttachType{ebpf.AttachTCXIngress, ebpf.AttachTCXEgress}
		if l.Type() == "netkit" {
			attach = append(attach, ebpf.AttachNetkitPrimary, ebpf.AttachNetkitPeer)
		}
		for _, at := range attach {
			// Kernels before 6.6 do not know TCX, and refuse; the other hooks tell.
			result, err := link.QueryPrograms(link.QueryOptions{Target: a.Index, Attach: at})
			if err != nil {
				continue
			}
			for _, program := range result.Programs {
				linkID, _ := program.LinkID()
				if err := f.printf("dev %s %s %s link id %d\n", a.Name, at, programText(program.ID), linkID); err != nil {
					return err
				}
			}
		}
		if a.Xdp != nil && a.Xdp.Attached {
			if err := f.printf("dev %s xdp mode %d %s\n", a.Name, a.Xdp.AttachMode, programText(ebpf.ProgramID(a.Xdp.ProgId))); err != nil {
				return err
			}
		}
	}
	return nil
}

// programText is "prog id 12 name cil_from_container type SchedCLS tag 3b1..".
func programText(id ebpf.ProgramID) string {
	text := fmt.Sprintf("prog id %d", id)
	program, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return text
	}
	defer program.Close()
	info, err := program.Info()
	if err != nil {
		return text
	}
	return fmt.Sprintf("%s name %s type %s tag %s", text, orDash(info.Name), info.Type, info.Tag)
}

// maxLinks is how many BPF links are listed.
const maxLinks = 5000

// writeBPFLinks writes the programs that act on sockets of the whole node, and
// all BPF links.
func writeBPFLinks(ctx context.Context, s *scope, r *recorder) error {
	f, err := r.create("bpf-links.txt", "bpftool cgroup show (of the root); bpftool link")
	if err != nil {
		return err
	}
	if err := writeCgroupPrograms(f, filepath.Join(s.options.HostRoot, "sys/fs/cgroup")); err != nil {
		return err
	}
	links := new(link.Iterator)
	defer links.Close()
	for n := 0; n < maxLinks && ctx.Err() == nil && links.Next(); n++ {
		info, err := links.Link.Info()
		if err != nil {
			continue // it has gone
		}
		if err := f.printf("link id %d type %d %s%s\n", info.ID, info.Type, programText(info.Program), linkPlace(info)); err != nil {
			return err
		}
	}
	if err := links.Err(); err != nil && !errors.Is(err, ebpf.ErrNotSupported) {
		return err
	}
	return nil
}

// linkPlace is where a link is, for those that have to do with the network.
func linkPlace(info *link.Info) string {
	for _, place := range []any{info.TCX(), info.Netkit(), info.XDP(), info.Cgroup(), info.NetNs(), info.Netfilter()} {
		if text := details(place); text != "" {
			return " " + text
		}
	}
	return ""
}

func writeCgroupPrograms(f *file, root string) error {
	dir, err := os.Open(root)
	if err != nil {
		return f.printf("# no %s: %v\n", filepath.Base(root), err)
	}
	defer dir.Close()
	for _, at := range []ebpf.AttachType{
		ebpf.AttachCGroupInetIngress, ebpf.AttachCGroupInetEgress, ebpf.AttachCGroupInetSockCreate, ebpf.AttachCGroupSockOps,
		ebpf.AttachCGroupInet4Bind, ebpf.AttachCGroupInet6Bind, ebpf.AttachCGroupInet4Connect, ebpf.AttachCGroupInet6Connect,
		ebpf.AttachCGroupInet4PostBind, ebpf.AttachCGroupInet6PostBind, ebpf.AttachCGroupUDP4Sendmsg, ebpf.AttachCGroupUDP6Sendmsg,
		ebpf.AttachCGroupUDP4Recvmsg, ebpf.AttachCGroupUDP6Recvmsg, ebpf.AttachCgroupInet4GetPeername, ebpf.AttachCgroupInet6GetPeername,
		ebpf.AttachCgroupInet4GetSockname, ebpf.AttachCgroupInet6GetSockname,
	} {
		result, err := link.QueryPrograms(link.QueryOptions{Target: int(dir.Fd()), Attach: at})
		if err != nil {
			continue // no version 2 of cgroups, or too old a kernel
		}
		for _, program := range result.Programs {
			if err := f.printf("cgroup / %s %s\n", at, programText(program.ID)); err != nil {
				return err
			}
		}
	}
	return nil
}
