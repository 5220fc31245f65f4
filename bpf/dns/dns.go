// Package dns is the BPF program of the dns plugin: its C source, the objects
// compiled from it, and the Go bindings that bpf2go generates.
package dns

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -tags linux -target bpfel -type dns_record -type dns_counts -output-stem dns DNS dns.bpf.c -- -O2 -g -Wall -Werror -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
