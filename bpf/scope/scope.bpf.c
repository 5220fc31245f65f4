//go:build ignore

// scope is the maps that all metrics programs share, without a program.
#include "../include/scope.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";
