// Package packetparser is the BPF program of the packetparser plugin: its C source,
// the objects compiled from it, and the Go bindings that bpf2go generates.
package packetparser

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -tags linux -target bpfel -type side -type times -type histogram -type role -type connect_reason -type reset_reason -output-stem packetparser Packetparser packetparser.bpf.c -- -O2 -g -Wall -Werror -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
