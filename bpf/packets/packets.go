// Package packets is the BPF program of the packets plugin: its C source, the
// objects compiled from it, and the Go bindings that bpf2go generates.
package packets

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -tags linux -target bpfel -type record -type interface_counts -type flow -type address -output-stem packets Packets packets.bpf.c -- -O2 -g -Wall -Werror -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
