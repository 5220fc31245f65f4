// Package scope is the maps that all metrics programs share: their C source, the
// object compiled from it, and the Go types that bpf2go generates.
package scope

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -tags linux -target bpfel -type scope_event -type scope_address -type scope_limit -output-stem scope Scope scope.bpf.c -- -O2 -g -Wall -Werror -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
