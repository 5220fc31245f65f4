//go:build linux

package main

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// wantedModules are what the tests need of a kernel: the interfaces and rules that they
// make, and what answers about sockets. Those that a kernel lacks are passed over:
// a test that needs one fails.
func wantedModules() []string {
	return strings.Fields(`
		veth bridge br_netfilter tun dummy vrf bonding sch_ingress sch_tbf sch_netem cls_u32 cls_bpf
		inet_diag tcp_diag udp_diag raw_diag af_packet_diag netlink_diag
		nf_conntrack nf_conntrack_netlink nf_tables nft_compat nft_ct nft_counter nft_reject nft_reject_inet nft_reject_ipv4 nft_limit nft_log nft_hash nft_fwd_netdev
		ip_tables ip6_tables iptable_filter ip6table_filter iptable_mangle iptable_raw
		xt_tcpudp xt_conntrack xt_comment xt_length xt_statistic xt_u32 xt_bpf xt_mark ipt_REJECT ip6t_REJECT`)
}

// module is one file of a kernel package.
type module struct {
	name    string
	content []byte
}

// modules reads the wanted modules and what they depend on, in the order of
// loading.
func (k kernel) modules(ctx context.Context, wanted []string) ([]module, error) {
	files := map[string]string{}
	err := filepath.WalkDir(k.dir, func(path string, _ fs.DirEntry, err error) error {
		if name, _, ok := strings.Cut(filepath.Base(path), ".ko"); ok {
			files[moduleName(name)] = path
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var all []module
	done := map[string]bool{}
	var add func(names []string) error
	add = func(names []string) error {
		for _, name := range names {
			name = moduleName(name)
			if files[name] == "" || done[name] {
				continue // in the kernel itself, or not there
			}
			done[name] = true
			content, err := readModule(ctx, files[name])
			if err != nil {
				return err
			}
			depends, err := dependsOn(content)
			if err == nil {
				err = add(depends)
			}
			if err != nil {
				return fmt.Errorf("module %s: %w", name, err)
			}
			all = append(all, module{name, content})
		}
		return nil
	}
	return all, add(wanted)
}

// moduleName is the kernel's name of a module: files may have dashes.
func moduleName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// readModule reads a module that may be compressed.
func readModule(ctx context.Context, path string) ([]byte, error) {
	programs := map[string]string{".xz": "xz", ".zst": "zstd", ".gz": "gzip"}
	program := programs[filepath.Ext(path)]
	if program == "" {
		return os.ReadFile(path)
	}
	content, err := exec.CommandContext(ctx, program, "-dc", path).Output()
	if err != nil {
		return nil, fmt.Errorf("decompress %s: %w", path, err)
	}
	return content, nil
}

// dependsOn returns the modules that one needs.
func dependsOn(content []byte) ([]string, error) {
	file, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	section := file.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("no section .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for _, field := range bytes.Split(info, []byte{0}) {
		if list, ok := strings.CutPrefix(string(field), "depends="); ok && list != "" {
			return strings.Split(list, ","), nil
		}
	}
	return nil, nil
}
