#!/bin/sh
# Compiles the BPF programs again and fails when that changes a generated file.
# Each version of clang compiles differently, so only the one that made the
# committed objects can tell.
set -eu
cd "$(dirname "$0")/.."
version=14 # Debian 12

have=$(clang -dumpversion 2>/dev/null | cut -d. -f1 || true)
if [ "$have" != "$version" ]; then
	echo "verify: generated files are not compared: that needs clang $version, and here is ${have:-none}"
	exit 0
fi

sums() { find bpf \( -name '*_bpfe[lb].go' -o -name '*_bpfe[lb].o' \) -exec sha256sum {} + | sort -k2; }
before=$(sums)
go generate ./bpf/...
after=$(sums)
if [ "$before" != "$after" ]; then
	echo "verify: generated files were out of date; they are not any more, commit them:" >&2
	git status --short bpf >&2 || true
	exit 1
fi
