//go:build linux

package nodeinfo

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
)

// Both depend on the namespace of the reading thread; /proc/net would be that of
// the first thread of the process.
const (
	threadNet = "/proc/thread-self/net"
	sysNet    = "/proc/sys/net"
)

// procNet are the files below /proc/net that are kept, as far as they are there.
func procNet() []string {
	return strings.Fields(`
		snmp snmp6 netstat sockstat sockstat6 softnet_stat dev dev_mcast
		tcp tcp6 udp udp6 udplite udplite6 raw raw6 icmp icmp6 unix packet netlink protocols ptype psched
		arp route ipv6_route fib_trie fib_triestat rt6_stats rt_cache rt_acct if_inet6 anycast6
		igmp igmp6 mcfilter mcfilter6 ip_mr_cache ip_mr_vif ip6_mr_cache ip6_mr_vif
		ip_tables_names ip6_tables_names arp_tables_names xfrm_stat tls_stat wireless
		ip_vs ip_vs_stats ip_vs_conn
		stat/nf_conntrack stat/arp_cache stat/ndisc_cache stat/rt_cache stat/synproxy
		netfilter/nf_log netfilter/nfnetlink_queue netfilter/nfnetlink_log nf_conntrack_expect
		sctp/snmp sctp/assocs sctp/eps vlan/config
	`)
}

// writeProcNet copies them as they are.
func writeProcNet(_ context.Context, _ *scope, r *recorder) error {
	names := procNet()
	for _, dir := range []string{"bonding", "dev_snmp6", "vlan"} {
		entries, err := os.ReadDir(filepath.Join(threadNet, dir))
		if err != nil {
			continue // the feature is not in use
		}
		for _, entry := range entries {
			if name := dir + "/" + entry.Name(); name != "vlan/config" {
				names = append(names, name)
			}
		}
	}
	var errs []error
	for _, name := range names {
		err := copyProc(r, filepath.Join(threadNet, name), "proc-net/"+name)
		if errors.Is(err, errAbandoned) || errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		if err != nil && !errors.Is(err, errCut) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// copyProc copies a file of the kernel's, if it exists and is not empty.
func copyProc(r *recorder, from, to string) error {
	in, err := os.Open(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	buffered := bufio.NewReaderSize(in, bufferSize)
	if _, err := buffered.Peek(1); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		return err
	}
	out, err := r.create(to, "")
	if err != nil {
		return err
	}
	defer out.Close()
	_, err = io.Copy(out, buffered)
	return err
}

// isKey tells sysctls that hold a key of the kernel's.
func isKey(path string) bool {
	name := filepath.Base(path)
	return strings.HasSuffix(name, "_key") || strings.Contains(name, "secret")
}

// maxSysctl is more than any sysctl of the network has.
const maxSysctl = 64 << 10

func writeSysctls(_ context.Context, _ *scope, r *recorder) error {
	f, err := r.create("sysctl.txt", "sysctl -a -r ^net (keys of the kernel's are left out)")
	if err != nil {
		return err
	}
	return filepath.WalkDir(sysNet, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // an interface has gone
		}
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil || entry.IsDir() || info.Mode()&0o444 == 0 || isKey(path) {
			return nil
		}
		value, err := readAtMost(path, maxSysctl)
		if err != nil {
			return nil // not every sysctl can be read at any time
		}
		_, err = f.Write([]byte(sysctlText(path, value)))
		return err
	})
}

// sysctlText is "net.ipv4.ip_forward = 1"; a dot in the name of an interface is
// a slash, as for sysctl.
func sysctlText(path string, value []byte) string {
	key := strings.Map(func(r rune) rune {
		switch r {
		case '/':
			return '.'
		case '.':
			return '/'
		}
		return r
	}, strings.TrimPrefix(path, "/proc/sys/"))
	text := ""
	for line := range strings.SplitSeq(strings.TrimSuffix(string(value), "\n"), "\n") {
		text += key + " = " + line + "\n"
	}
	return text
}

func readAtMost(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// maxConntrack is how many entries are read where procfs does not have them: the
// whole list is in memory then.
const maxConntrack = 100_000

// writeConntrack writes nothing where connections are not tracked, so that no
// module is loaded by asking.
func writeConntrack(_ context.Context, _ *scope, r *recorder) error {
	count, err := readAtMost(sysNet+"/netfilter/nf_conntrack_count", 64)
	if errors.Is(err, fs.ErrNotExist) {
		f, err := r.create("conntrack.txt", "conntrack -L")
		if err != nil {
			return err
		}
		return f.printf("# connection tracking is not loaded\n")
	}
	if err != nil {
		return err
	}
	limit, err := readAtMost(sysNet+"/netfilter/nf_conntrack_max", 64)
	if err != nil {
		limit = []byte("unknown")
	}
	title := fmt.Sprintf("conntrack -L\n# %s entries, at most %s", bytes.TrimSpace(count), bytes.TrimSpace(limit))
	entries, err := os.Open(threadNet + "/nf_conntrack")
	if errors.Is(err, fs.ErrNotExist) {
		return dumpConntrack(r, title, string(bytes.TrimSpace(count)))
	}
	if err != nil {
		return err
	}
	defer entries.Close()
	f, err := r.create("conntrack.txt", title)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, entries)
	return err
}

// dumpConntrack is for kernels without CONFIG_NF_CONNTRACK_PROCFS.
func dumpConntrack(r *recorder, title, count string) error {
	var entries int
	if _, err := fmt.Sscan(count, &entries); err != nil {
		return fmt.Errorf("conntrack has %q entries: %w", count, err)
	}
	f, err := r.create("conntrack.txt", title)
	if err != nil {
		return err
	}
	if entries > maxConntrack {
		return fmt.Errorf("%d entries are too many to be read without /proc/net/nf_conntrack", entries)
	}
	for _, family := range []netlink.InetFamily{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, family)
		if complete(err) != nil {
			return fmt.Errorf("list conntrack entries: %w", err)
		}
		for _, flow := range flows {
			state := ""
			if tcp, ok := flow.ProtoInfo.(*netlink.ProtoInfoTCP); ok {
				state = fmt.Sprintf(" tcp_state=%d", tcp.State)
			}
			if err := f.printf("%s%s\n", flow, state); err != nil {
				return err
			}
		}
	}
	return nil
}
