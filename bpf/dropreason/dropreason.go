// Package dropreason is the BPF program of the dropreason plugin: its C source,
// the objects compiled from it, and the Go bindings that bpf2go generates.
package dropreason

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -tags linux -target bpfel -type drop_key -type drop_count -type drop_lost -type place -type scope_direction -type twin -output-stem dropreason Dropreason dropreason.bpf.c -- -O2 -g -Wall -Werror -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
