// Package tcpretrans is the BPF program of the tcpretrans plugin: its C source,
// the objects compiled from it, and the Go bindings that bpf2go generates.
package tcpretrans

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -tags linux -target bpfel -type role -type retransmitted -output-stem tcpretrans Tcpretrans tcpretrans.bpf.c -- -O2 -g -Wall -Werror -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
